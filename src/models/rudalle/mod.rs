//! ru-dalle's transformer (`DalleModel` of [ru-dalle](https://github.com/ai-forever/ru-dalle), commit 0255cec): the model of
//! the published ruDALL-E checkpoints, for their weights and with their parameters' names.
//!
//! Beside the paper's [`transformer`](super::transformer) it has one head over text and image classes behind two norms, a
//! sandwich of norms in each block, the tanh form of GELU, and embeddings whose gradient is a tenth. What is left out is
//! without effect in f32: the reference's relaxed softmax (scores divided, shifted by their maximum and multiplied again)
//! and its clamp of attention's output to ±65504. Masked scores are −10⁴ there and excluded here; both give a weight of 0.
//!
//! **Version 2** puts a start of text before the text, so slot j reads token j − 1. **Version 3** has none: slot j reads
//! token j, nothing predicts token 0, and slot T − 1 predicts the first image token.
//!
//! Legend: B batch, T text slots, G grid side, N slots in the call, Dim width, V text classes.

mod masks;
mod presets;

pub use masks::{KERNEL, masks, order};
pub use presets::{Malevich, malevich};

use super::token_embeddings::{TableRows, TokenEmbeddings};
use super::transformer::Tokens;
use crate::kernels::Real;
use crate::nn::{Block, BlockInit, BlockNames, Incremental, Init, LayerNorm, Linear, Packed, Precision};
use crate::ops::{ABSENT, Activation, Backend, Mask, to_vec};
use crate::shape::{BlockShape, RudalleShape};
use dfdx::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// The parameters' names.
#[derive(Debug, Clone)]
pub struct Names<S>(PhantomData<S>);

impl<S: RudalleShape> BlockNames for Names<S> {
    const LN_1: &'static str = "input_layernorm";
    const QKV: &'static str = "attention.query_key_value";
    const OUT: &'static str = "attention.dense";
    const LN_2: &'static str = "post_attention_layernorm";
    const UP: &'static str = "mlp.dense_h_to_4h";
    const DOWN: &'static str = "mlp.dense_4h_to_h";
    const ACTIVATION: Activation = Activation::TanhGelu;
    const AFTER: &'static [&'static str] =
        if S::SANDWICH { &["before_first_addition_layernorm", "before_second_addition_layernorm"] } else { &[] };
}

/// `hf_version` of the published configurations: where the start of text is, and how the convolution's mask ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A start of text.
    V2,
    /// No start of text.
    V3,
}

/// The id that version 2 puts before the text.
const START: u32 = 2;
/// The share of the embeddings' gradient that reaches their tables.
const EMBEDDING_GRADIENT: f64 = 0.1;

type Width<S> = <<S as RudalleShape>::Block as BlockShape>::Dim;
type Layer<S, E, D> = Block<<S as RudalleShape>::Block, Names<S>, E, D>;
type Stream<B, N, S, E, D, T> = Tensor<(B, N, Width<S>), E, D, T>;

/// The reference's initialisation: weights and embeddings normal with this standard deviation, biases 0, gains 1.
const STD: f64 = 0.02;

type Embeddings<S, E, D> = TokenEmbeddings<
    <S as RudalleShape>::TextVocab,
    <S as RudalleShape>::TextPositions,
    <S as RudalleShape>::Codes,
    <S as RudalleShape>::Grid,
    Width<S>,
    E,
    D,
>;

crate::module! {
    /// Embeddings, blocks, two norms and a head.
    pub struct Rudalle<S: RudalleShape> check S::CHECK, {
        embeddings: Embeddings<S, E, D> = "", Init::Normal(STD);
        layers: Vec<Layer<S, E, D>> =>
            (0..S::DEPTH).map(|i| format!("transformer.layers.{i}")),
            BlockInit { qkv: STD, out: STD, up: STD, down: STD };
        norm: LayerNorm<Width<S>, E, D> = "transformer.final_layernorm";
        head_norm: LayerNorm<Width<S>, E, D> = "to_logits.0";
        head: Linear<Width<S>, S::Classes, E, D> = "to_logits.1", Init::Normal(STD);
    }
}

impl<S: RudalleShape, E: Real, D: Backend<E>> Rudalle<S, E, D> {
    /// Logits of whole sequences: (B, N, V + Codes), classes of text first. Text ids of 0 are pads; one mask a layer. On
    /// a tape the embeddings get a tenth of their gradient.
    #[allow(clippy::type_complexity)] // the shape is the documentation
    pub fn forward<B: Dim, T: Tape<E, D>>(
        &self,
        version: Version,
        batch: B,
        tokens: Tokens<'_>,
        masks: &[Mask],
        tape: T,
    ) -> Result<Tensor<(B, S::Seq, S::Classes), E, D, T>, D::Err> {
        let x = self.embed(version, batch, S::Seq::default(), tokens, 0..S::Seq::SIZE, tape)?;
        let mut x = scaled_gradient(x)?;
        for (layer, mask) in self.layers.iter().zip(masks) {
            x = layer.forward(x, mask)?;
        }
        self.head.forward(self.head_norm.forward(self.norm.forward(x)?)?)
    }

    /// As sampling reads it: of the head the image's classes alone. [`step_ids`](Rudalle::step_ids) says which rows of its
    /// tables a step sums.
    pub fn incremental(&self, precision: Precision) -> Result<Incremental<E>, D::Err> {
        let (width, text) = (Width::<S>::SIZE, S::TextVocab::SIZE);
        let (weight, bias) = (to_vec(self.head.weight.clone())?, to_vec(self.head.bias.clone())?);
        Ok(Incremental {
            tables: self.embeddings.tables()?,
            blocks: self.layers.iter().map(|layer| layer.incremental(precision)).collect::<Result<_, _>>()?,
            norms: vec![self.norm.packed()?, self.head_norm.packed()?],
            head: Packed::new(weight[text * width..].to_vec(), bias[text..].to_vec(), width, precision),
        })
    }

    /// The sum of each slot's embeddings: (B, N, Dim).
    fn embed<B: Dim, N: Dim, T: Tape<E, D>>(
        &self,
        version: Version,
        batch: B,
        count: N,
        tokens: Tokens<'_>,
        slots: Range<usize>,
        tape: T,
    ) -> Result<Stream<B, N, S, E, D, T>, D::Err> {
        self.embeddings.forward(&Self::step_ids(version, batch.size(), tokens, slots), (batch, count), tape)
    }

    /// The rows of the tables (text, text position, image, row, column) that are summed for `slots` of each sequence: (B, N)
    /// each.
    pub fn step_ids(version: Version, batch: usize, tokens: Tokens<'_>, slots: Range<usize>) -> TableRows {
        let (text, grid) = (S::Text::SIZE, S::Grid::SIZE);
        let starts = usize::from(version == Version::V2);
        let each = |id: &dyn Fn(usize, usize) -> u32| -> Vec<u32> {
            (0..batch).flat_map(|b| slots.clone().map(move |slot| id(b, slot))).collect()
        };
        let in_text = |slot: usize| slot < text + starts;
        let at_text = |b: usize, slot: usize| match slot {
            slot if !in_text(slot) => ABSENT,
            0 if starts == 1 => START,
            slot => filled::<S>(tokens.text, b, slot - starts),
        };
        let in_grid = |slot: usize, id: &dyn Fn(usize) -> u32| {
            if in_text(slot) { ABSENT } else { id(slot - text - starts) }
        };
        let at_image = |b: usize, slot: usize| in_grid(slot, &|i| tokens.image[b * grid * grid + i]);
        [
            each(&at_text),
            each(&|_, slot| if in_text(slot) { slot as u32 } else { ABSENT }),
            each(&at_image),
            each(&|_, slot| in_grid(slot, &|i| (i / grid) as u32)),
            each(&|_, slot| in_grid(slot, &|i| (i % grid) as u32)),
        ]
    }
}

/// Text token `at` of sequence `b`, a pad's 0 replaced by the id that the vocabulary keeps for a pad at that place.
fn filled<S: RudalleShape>(text: &[u32], b: usize, at: usize) -> u32 {
    match text[b * S::Text::SIZE + at] {
        0 => (S::TextVocab::SIZE - S::Text::SIZE + at) as u32,
        id => id,
    }
}

/// 0.1·x + 0.9·x without a gradient through the second, as the reference sums them: the value of x (B, N, C), a tenth of its
/// gradient.
pub fn scaled_gradient<B: Dim, N: Dim, C: ConstDim, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Tensor<(B, N, C), E, D, T>,
) -> Result<Tensor<(B, N, C), E, D, T>, D::Err> {
    let (device, shape) = (x.device().clone(), *x.shape());
    let mut still = to_vec(x.with_empty_tape().split_tape().0)?;
    still.iter_mut().for_each(|value| *value *= E::of(1.0 - EMBEDDING_GRADIENT));
    let still = device.try_tensor_from_vec(still, shape)?;
    D::add_scaled(still.retaped::<T>(), x, EMBEDDING_GRADIENT)
}
