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

use super::transformer::{Tokens, add_rows};
use crate::kernels::Real;
use crate::nn::{Block, BlockNames, Incremental, Init, LayerNorm, Linear, Packed, Precision};
use crate::ops::{ABSENT, Activation, Backend, Mask, to_vec};
use crate::shape::{BlockShape, RudalleShape};
use dfdx::nn::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// The parameters' names.
#[derive(Debug, Clone)]
pub struct Names<S>(PhantomData<S>);

impl<S: RudalleShape> BlockNames for Names<S> {
    const LN_1: &'static str = "input_layernorm";
    const QKV: [&'static str; 2] = ["attention.query_key_value.weight", "attention.query_key_value.bias"];
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

/// Embeddings, blocks, two norms and a head.
#[derive(Debug, Clone)]
pub struct Rudalle<S: RudalleShape, E: Dtype, D: Storage<E>> {
    text: Tensor<(S::TextVocab, Width<S>), E, D>,
    text_position: Tensor<(S::TextPositions, Width<S>), E, D>,
    image: Tensor<(S::Codes, Width<S>), E, D>,
    row: Tensor<(S::Grid, Width<S>), E, D>,
    column: Tensor<(S::Grid, Width<S>), E, D>,
    layers: Vec<Layer<S, E, D>>,
    norm: LayerNorm<Width<S>, E, D>,
    head_norm: LayerNorm<Width<S>, E, D>,
    head: Linear<Width<S>, S::Classes, E, D>,
}

impl<S: RudalleShape, E: Dtype, D: Device<E>> TensorCollection<E, D> for Rudalle<S, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Rudalle<S, E2, D2>;

    #[rustfmt::skip] // a table of names and fields
    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let () = S::CHECK;
        let names: Vec<String> = (0..S::DEPTH).map(|i| format!("transformer.layers.{i}")).collect();
        visitor.visit_fields(
            (
                (
                    Self::tensor("text_embeddings.weight", |s| &s.text, |s| &mut s.text, TensorOptions::reset_to_zeros()),
                    Self::tensor("text_pos_embeddings.weight", |s| &s.text_position, |s| &mut s.text_position, TensorOptions::reset_to_zeros()),
                    Self::tensor("image_embeddings.weight", |s| &s.image, |s| &mut s.image, TensorOptions::reset_to_zeros()),
                    Self::tensor("image_row_embeddings.weight", |s| &s.row, |s| &mut s.row, TensorOptions::reset_to_zeros()),
                    Self::tensor("image_col_embeddings.weight", |s| &s.column, |s| &mut s.column, TensorOptions::reset_to_zeros()),
                ),
                names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| Self::module(name, move |s| &s.layers[i], move |s| &mut s.layers[i]))
                    .collect::<Vec<_>>(),
                Self::module("transformer.final_layernorm", |s| &s.norm, |s| &mut s.norm),
                Self::module("to_logits.0", |s| &s.head_norm, |s| &mut s.head_norm),
                Self::module("to_logits.1", |s| &s.head, |s| &mut s.head),
            ),
            |((text, text_position, image, row, column), layers, norm, head_norm, head)| Rudalle {
                text, text_position, image, row, column, layers, norm, head_norm, head,
            },
        )
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
            tables: vec![
                to_vec(self.text.clone())?,
                to_vec(self.text_position.clone())?,
                to_vec(self.image.clone())?,
                to_vec(self.row.clone())?,
                to_vec(self.column.clone())?,
            ],
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
        let [text, position, image, row, column] = Self::step_ids(version, batch.size(), tokens, slots);
        let shape = (batch, count, Width::<S>::default());
        let x = D::gather_rows(self.text.clone().put_tape(tape), &text, shape)?;
        let x = add_rows(x, &self.text_position, &position, shape)?;
        let x = add_rows(x, &self.image, &image, shape)?;
        let x = add_rows(x, &self.row, &row, shape)?;
        add_rows(x, &self.column, &column, shape)
    }

    /// The rows of the tables (text, text position, image, row, column) that are summed for `slots` of each sequence: (B, N)
    /// each.
    pub fn step_ids(version: Version, batch: usize, tokens: Tokens<'_>, slots: Range<usize>) -> [Vec<u32>; 5] {
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

type Rows<B, N, C> = (B, N, C);

/// 0.1·x + 0.9·x without a gradient through the second, as the reference sums them: the value of x (B, N, C), a tenth of its
/// gradient.
pub fn scaled_gradient<B: Dim, N: Dim, C: ConstDim, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Tensor<Rows<B, N, C>, E, D, T>,
) -> Result<Tensor<Rows<B, N, C>, E, D, T>, D::Err> {
    let (device, shape) = (x.device().clone(), *x.shape());
    let mut still = to_vec(x.with_empty_tape().split_tape().0)?;
    still.iter_mut().for_each(|value| *value *= E::of(1.0 - EMBEDDING_GRADIENT));
    let still = device.try_tensor_from_vec(still, shape)?;
    D::add_scaled(still.retaped::<T>(), x, EMBEDDING_GRADIENT)
}

/// The reference's initialisation: weights and embeddings normal with a standard deviation of 0.02, biases 0, gains 1.
pub fn init(name: &str, _: &[usize]) -> Init {
    match name {
        _ if name.ends_with("layernorm.weight") || name == "to_logits.0.weight" => Init::Constant(1.0),
        _ if name.ends_with("bias") => Init::Constant(0.0),
        _ => Init::Normal(0.02),
    }
}
