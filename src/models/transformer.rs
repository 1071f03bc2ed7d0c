//! The autoregressive transformer over text and image tokens (paper §2.2, B.1).
//!
//! Slots: start-of-text, text 0 … T−2, start-of-image, image 0 … G²−2. Slot j predicts text token j, slot T + i image token i,
//! so row and column embeddings index the position being *predicted* (paper, figure 10). Unused text slots hold pads, each with
//! an embedding of its own and no position embedding. Separate heads for text and image. Parameter names follow ru-dalle's.
//!
//! Legend: B batch, T text slots, G grid side, N slots in the call, Dim width.

use super::token_embeddings::{TableRows, TokenEmbeddings};
use crate::kernels::Real;
use crate::nn::{Block, BlockInit, BlockNames, Incremental, Init, LayerNorm, Linear, Precision};
use crate::ops::{ABSENT, Activation, Backend, Mask, to_vec};
use crate::shape::{BlockShape, TransformerShape};
use dfdx::prelude::{Const, ConstDim, Dim, NoneTape, Tape, Tensor, WithEmptyTape};
use std::ops::Range;

/// ru-dalle's names.
#[derive(Debug, Clone)]
pub struct Names;

impl BlockNames for Names {
    const LN_1: &'static str = "input_layernorm";
    const QKV: &'static str = "attention.query_key_value";
    const OUT: &'static str = "attention.dense";
    const LN_2: &'static str = "post_attention_layernorm";
    const UP: &'static str = "mlp.dense_h_to_4h";
    const DOWN: &'static str = "mlp.dense_4h_to_h";
    const ACTIVATION: Activation = Activation::QuickGelu;
}

type Width<S> = <<S as TransformerShape>::Block as BlockShape>::Dim;

/// The initialisation of Child et al. (arXiv 1904.10509), whose kind of transformer the paper's B.1 names: weights 0.125/√n_in,
/// and 1/√(2·layers) of that where they add to the stream.
fn block_init<S: TransformerShape>() -> BlockInit {
    let std = |fan_in: usize| 0.125 / (fan_in as f64).sqrt();
    let residual = |fan_in: usize| 0.125 / (fan_in as f64 * 2.0 * S::DEPTH as f64).sqrt();
    let (width, wide) = (Width::<S>::SIZE, <S::Block as BlockShape>::Mlp::SIZE);
    BlockInit { qkv: std(width), out: residual(width), up: std(width), down: residual(wide) }
}

type Embeddings<S, E, D> = TokenEmbeddings<
    <S as TransformerShape>::TextRows,
    <S as TransformerShape>::Text,
    <S as TransformerShape>::ImageRows,
    <S as TransformerShape>::Grid,
    Width<S>,
    E,
    D,
>;

crate::module! {
    /// Embeddings, blocks and two heads, whose logits are 0 at the start.
    pub struct Transformer<S: TransformerShape> check S::CHECK, {
        embeddings: Embeddings<S, E, D> = "", Init::Normal(0.125 / (Width::<S>::SIZE as f64).sqrt());
        layers: Vec<Block<S::Block, Names, E, D>> =>
            (0..S::DEPTH).map(|i| format!("transformer.layers.{i}")), block_init::<S>();
        norm: LayerNorm<Width<S>, E, D> = "transformer.final_layernorm";
        to_text: Linear<Width<S>, S::TextVocab, E, D> = "to_text_logits", Init::Constant(0.0);
        to_image: Linear<Width<S>, S::Codes, E, D> = "to_image_logits", Init::Constant(0.0);
    }
}

/// The tokens of a batch: text B·T ids (pads filled in), image B·G² codes, of which a sampler may know only the first.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// B·T ids below TextVocab.
    pub text: &'a [u32],
    /// B·G² codes.
    pub image: &'a [u32],
}

/// What a training step keeps of each block for its backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// All that it reads.
    Kept,
    /// The block's input, from which the block is run again.
    Recomputed,
}

type Logits<B, N, V, E, D, T> = Tensor<(B, N, V), E, D, T>;

impl<S: TransformerShape, E: Real, D: Backend<E>> Transformer<S, E, D> {
    /// Logits of every text and image token of whole sequences: (B, T, TextVocab) and (B, G², Codes). One mask a layer.
    #[allow(clippy::type_complexity)] // the shapes are the documentation
    pub fn forward<B: Dim, T: Tape<E, D>>(
        &self,
        batch: B,
        tokens: Tokens<'_>,
        masks: &[Mask],
        activations: Activations,
        tape: T,
    ) -> Result<(Logits<B, S::Text, S::TextVocab, E, D, T>, Logits<B, S::Image, S::Codes, E, D, T>), D::Err> {
        let mut x = self.embed(batch, S::Seq::default(), tokens, 0..S::Seq::SIZE, tape)?;
        for (layer, mask) in self.layers.iter().zip(masks) {
            x = match activations {
                Activations::Kept => layer.forward(x, mask)?,
                Activations::Recomputed => layer.recomputed(x, mask)?,
            };
        }
        let x = self.norm.forward(x)?;
        let slots = |range: Range<usize>| -> Vec<u32> {
            let row = |b: usize| range.clone().map(move |slot| (b * S::Seq::SIZE + slot) as u32);
            (0..batch.size()).flat_map(row).collect()
        };
        let text = D::gather_rows(
            x.with_empty_tape(),
            &slots(0..S::Text::SIZE),
            (batch, S::Text::default(), Width::<S>::default()),
        )?;
        let image = slots(S::Text::SIZE..S::Seq::SIZE);
        let image = D::gather_rows(x, &image, (batch, S::Image::default(), Width::<S>::default()))?;
        Ok((self.to_text.forward(text)?, self.to_image.forward(image)?))
    }

    /// Queries, keys and values of one sequence in the layer after those of `masks`: S·3·Dim.
    pub fn qkv(&self, tokens: Tokens<'_>, masks: &[Mask]) -> Result<Vec<E>, D::Err> {
        let mut x = self.embed(Const::<1>, S::Seq::default(), tokens, 0..S::Seq::SIZE, NoneTape)?;
        for (layer, mask) in self.layers.iter().zip(masks) {
            x = layer.forward(x, mask)?;
        }
        let layer = &self.layers[masks.len()];
        to_vec(layer.qkv.forward(layer.ln_1.forward(x)?)?)
    }

    /// As sampling reads it; [`step_ids`](Transformer::step_ids) says which rows of its tables a step sums.
    pub fn incremental(&self, precision: Precision) -> Result<Incremental<E>, D::Err> {
        Ok(Incremental {
            tables: self.embeddings.tables()?,
            blocks: self.layers.iter().map(|layer| layer.incremental(precision)).collect::<Result<_, _>>()?,
            norms: vec![self.norm.packed()?],
            head: self.to_image.packed(precision)?,
        })
    }

    /// The sum of each slot's embeddings: (B, N, Dim).
    #[allow(clippy::type_complexity)]
    fn embed<B: Dim, N: Dim, T: Tape<E, D>>(
        &self,
        batch: B,
        count: N,
        tokens: Tokens<'_>,
        slots: Range<usize>,
        tape: T,
    ) -> Result<Tensor<(B, N, Width<S>), E, D, T>, D::Err> {
        self.embeddings.forward(&Self::step_ids(batch.size(), tokens, slots), (batch, count), tape)
    }

    /// The rows of the tables (text, text position, image, row, column) that are summed for `slots` of each sequence: (B, N)
    /// each.
    pub fn step_ids(batch: usize, tokens: Tokens<'_>, slots: Range<usize>) -> TableRows {
        let (text, grid, image) = (S::Text::SIZE, S::Grid::SIZE, S::Image::SIZE);
        let words = S::TextVocab::SIZE - text; // ids from here on are pads
        let each = |id: &dyn Fn(usize, usize) -> u32| -> Vec<u32> {
            (0..batch).flat_map(|b| slots.clone().map(move |slot| id(b, slot))).collect()
        };
        let at_text = |b: usize, slot: usize| match slot {
            0 => S::TextVocab::SIZE as u32, // start of text
            slot if slot < text => tokens.text[b * text + slot - 1],
            _ => ABSENT,
        };
        let at_image = |b: usize, slot: usize| match slot {
            slot if slot < text => ABSENT,
            slot if slot == text => S::Codes::SIZE as u32, // start of image
            slot => tokens.image[b * image + slot - text - 1],
        };
        let in_text = |b, slot| match at_text(b, slot) {
            ABSENT => ABSENT,
            id if (words..words + text).contains(&(id as usize)) => ABSENT, // a pad's embedding says where it is
            _ => slot as u32,
        };
        let in_grid =
            |slot: usize, f: &dyn Fn(usize) -> usize| if slot < text { ABSENT } else { f(slot - text) as u32 };
        [
            each(&at_text),
            each(&in_text),
            each(&at_image),
            each(&|_, slot| in_grid(slot, &|i| i / grid)),
            each(&|_, slot| in_grid(slot, &|i| i % grid)),
        ]
    }
}
