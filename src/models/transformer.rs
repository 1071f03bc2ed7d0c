//! The autoregressive transformer over text and image tokens (paper §2.2, B.1).
//!
//! Slots: start-of-text, text 0 … T−2, start-of-image, image 0 … G²−2. Slot j predicts text token j, slot T + i image token i,
//! so row and column embeddings index the position being *predicted* (paper, figure 10). Unused text slots hold pads, each with
//! an embedding of its own and no position embedding. Separate heads for text and image. Parameter names follow ru-dalle's.
//!
//! Legend: B batch, T text slots, G grid side, N slots in the call, Dim width.

use crate::kernels::Real;
use crate::nn::{Block, BlockNames, Incremental, Init, LayerNorm, Linear, Precision};
use crate::ops::{ABSENT, Activation, Backend, Mask, to_vec};
use crate::shape::{BlockShape, TransformerShape};
use dfdx::nn::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::prelude::PutTape;
use dfdx::prelude::{Const, ConstDim, Device, Dim, Dtype, NoneTape, Storage, Tape, Tensor, WithEmptyTape};
use std::ops::Range;

/// ru-dalle's names.
#[derive(Debug, Clone)]
pub struct Names;

impl BlockNames for Names {
    const LN_1: &'static str = "input_layernorm";
    const QKV: [&'static str; 2] = ["attention.query_key_value.weight", "attention.query_key_value.bias"];
    const OUT: &'static str = "attention.dense";
    const LN_2: &'static str = "post_attention_layernorm";
    const UP: &'static str = "mlp.dense_h_to_4h";
    const DOWN: &'static str = "mlp.dense_4h_to_h";
    const ACTIVATION: Activation = Activation::QuickGelu;
}

type Width<S> = <<S as TransformerShape>::Block as BlockShape>::Dim;

/// Embeddings, blocks and two heads.
#[derive(Debug, Clone)]
pub struct Transformer<S: TransformerShape, E: Dtype, D: Storage<E>> {
    text: Tensor<(S::TextRows, Width<S>), E, D>,
    text_position: Tensor<(S::Text, Width<S>), E, D>,
    image: Tensor<(S::ImageRows, Width<S>), E, D>,
    row: Tensor<(S::Grid, Width<S>), E, D>,
    column: Tensor<(S::Grid, Width<S>), E, D>,
    layers: Vec<Block<S::Block, Names, E, D>>,
    norm: LayerNorm<Width<S>, E, D>,
    to_text: Linear<Width<S>, S::TextVocab, E, D>,
    to_image: Linear<Width<S>, S::Codes, E, D>,
}

impl<S: TransformerShape, E: Dtype, D: Device<E>> TensorCollection<E, D> for Transformer<S, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Transformer<S, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let () = S::CHECK;
        let names: Vec<String> = (0..S::DEPTH).map(|i| format!("transformer.layers.{i}")).collect();
        visitor.visit_fields(
            (
                (
                    Self::tensor(
                        "text_embeddings.weight",
                        |s| &s.text,
                        |s| &mut s.text,
                        TensorOptions::reset_to_zeros(),
                    ),
                    Self::tensor(
                        "text_pos_embeddings.weight",
                        |s| &s.text_position,
                        |s| &mut s.text_position,
                        TensorOptions::reset_to_zeros(),
                    ),
                    Self::tensor(
                        "image_embeddings.weight",
                        |s| &s.image,
                        |s| &mut s.image,
                        TensorOptions::reset_to_zeros(),
                    ),
                    Self::tensor(
                        "image_row_embeddings.weight",
                        |s| &s.row,
                        |s| &mut s.row,
                        TensorOptions::reset_to_zeros(),
                    ),
                    Self::tensor(
                        "image_col_embeddings.weight",
                        |s| &s.column,
                        |s| &mut s.column,
                        TensorOptions::reset_to_zeros(),
                    ),
                ),
                names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| Self::module(name, move |s| &s.layers[i], move |s| &mut s.layers[i]))
                    .collect::<Vec<_>>(),
                Self::module("transformer.final_layernorm", |s| &s.norm, |s| &mut s.norm),
                Self::module("to_text_logits", |s| &s.to_text, |s| &mut s.to_text),
                Self::module("to_image_logits", |s| &s.to_image, |s| &mut s.to_image),
            ),
            |((text, text_position, image, row, column), layers, norm, to_text, to_image)| Transformer {
                text,
                text_position,
                image,
                row,
                column,
                layers,
                norm,
                to_text,
                to_image,
            },
        )
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
            tables: vec![
                to_vec(self.text.clone())?,
                to_vec(self.text_position.clone())?,
                to_vec(self.image.clone())?,
                to_vec(self.row.clone())?,
                to_vec(self.column.clone())?,
            ],
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
        let [text, position, image, row, column] = Self::step_ids(batch.size(), tokens, slots);
        let shape = (batch, count, Width::<S>::default());
        let x = D::gather_rows(self.text.clone().put_tape(tape), &text, shape)?;
        let x = add_rows(x, &self.text_position, &position, shape)?;
        let x = add_rows(x, &self.image, &image, shape)?;
        let x = add_rows(x, &self.row, &row, shape)?;
        add_rows(x, &self.column, &column, shape)
    }

    /// The rows of the tables (text, text position, image, row, column) that are summed for `slots` of each sequence: (B, N)
    /// each.
    pub fn step_ids(batch: usize, tokens: Tokens<'_>, slots: Range<usize>) -> [Vec<u32>; 5] {
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

/// x + the rows `ids` of `table`: one summand of an embedding.
#[allow(clippy::type_complexity)]
pub(super) fn add_rows<B: Dim, N: Dim, V: ConstDim, C: ConstDim, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Tensor<(B, N, C), E, D, T>,
    table: &Tensor<(V, C), E, D>,
    ids: &[u32],
    shape: (B, N, C),
) -> Result<Tensor<(B, N, C), E, D, T>, D::Err> {
    D::add_scaled(x, D::gather_rows(table.retaped::<T>(), ids, shape)?, 1.0)
}

/// The initialisation of Child et al. (arXiv 1904.10509), whose kind of transformer the paper's B.1 names: weights 0.125/√n_in,
/// residual outputs scaled by 1/√(2·layers), embeddings 0.125/√d, zero biases, zero logits.
pub fn init(depth: usize) -> impl Fn(&str, &[usize]) -> Init {
    move |name, shape| {
        let fan_in = *shape.last().unwrap_or(&1) as f64;
        let residual = name.ends_with("attention.dense.weight") || name.ends_with("dense_4h_to_h.weight");
        match name {
            _ if name.ends_with("layernorm.weight") => Init::Constant(1.0),
            _ if name.ends_with("bias") || name.contains("logits") => Init::Constant(0.0),
            _ if residual => Init::Normal(0.125 / (fan_in * 2.0 * depth as f64).sqrt()),
            _ => Init::Normal(0.125 / fan_in.sqrt()),
        }
    }
}
