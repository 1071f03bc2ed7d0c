//! CLIP's text tower: a causal transformer over a caption's tokens; the feature is read at the end of text.

use super::{Features, Names, project};
use crate::kernels::Real;
use crate::nn::{Block, LayerNorm};
use crate::ops::{Backend, Mask, scalar};
use crate::shape::{BlockShape, TextTowerShape};
use dfdx::nn::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::prelude::*;

type Dim<S> = <<S as TextTowerShape>::Language as BlockShape>::Dim;

/// The text tower, and the temperature: all that the published checkpoints keep outside `visual.`.
#[derive(Debug, Clone)]
pub struct Text<S: TextTowerShape, E: Dtype, D: Storage<E>> {
    tokens: Tensor<(S::Vocab, Dim<S>), E, D>,
    position: Tensor<(S::Context, Dim<S>), E, D>,
    blocks: Vec<Block<S::Language, Names<S::Gelu>, E, D>>,
    ln_final: LayerNorm<Dim<S>, E, D>,
    projection: Tensor<(Dim<S>, S::Embed), E, D>,
    /// ln of the scale that cosines are multiplied by.
    pub logit_scale: Tensor<(), E, D>,
}

impl<S: TextTowerShape, E: Dtype, D: Device<E>> TensorCollection<E, D> for Text<S, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Text<S, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let names: Vec<String> = (0..S::LANGUAGE_DEPTH).map(|i| format!("transformer.resblocks.{i}")).collect();
        visitor.visit_fields(
            (
                Self::tensor(
                    "token_embedding.weight",
                    |s| &s.tokens,
                    |s| &mut s.tokens,
                    TensorOptions::reset_to_zeros(),
                ),
                Self::tensor(
                    "positional_embedding",
                    |s| &s.position,
                    |s| &mut s.position,
                    TensorOptions::reset_to_zeros(),
                ),
                names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| Self::module(name, move |s| &s.blocks[i], move |s| &mut s.blocks[i]))
                    .collect::<Vec<_>>(),
                Self::module("ln_final", |s| &s.ln_final, |s| &mut s.ln_final),
                Self::tensor(
                    "text_projection",
                    |s| &s.projection,
                    |s| &mut s.projection,
                    TensorOptions::reset_to_zeros(),
                ),
                Self::tensor(
                    "logit_scale",
                    |s| &s.logit_scale,
                    |s| &mut s.logit_scale,
                    TensorOptions::reset_to_zeros(),
                ),
            ),
            |(tokens, position, blocks, ln_final, projection, logit_scale)| Text {
                tokens,
                position,
                blocks,
                ln_final,
                projection,
                logit_scale,
            },
        )
    }
}

impl<S: TextTowerShape, E: Real, D: Backend<E>> Text<S, E, D> {
    /// Features of captions as the tower gives them, not of unit length: (B, Embed). `ids`: B·Context; `ends`: the slot of
    /// each caption that the feature is read at ([`ends_of_text`]).
    pub fn forward<T: Tape<E, D>>(&self, ids: &[u32], ends: &[usize], tape: T) -> Result<Features<S, E, D, T>, D::Err> {
        let (batch, context, width) = (ends.len(), S::Context::SIZE, Dim::<S>::default());
        let x = self.hidden(batch, ids, tape)?;
        let ends: Vec<u32> = ends.iter().enumerate().map(|(b, end)| (b * context + end) as u32).collect();
        project::<_, S, E, D, T>(D::gather_rows(x, &ends, (batch, width))?, &self.projection)
    }

    /// What cosines are multiplied by: exp(logit_scale).
    pub fn scale(&self) -> E {
        scalar(&self.logit_scale).exp()
    }

    /// The states of all slots after the last norm: (B, Context, Dim).
    #[allow(clippy::type_complexity)] // the shape is the documentation
    pub fn hidden<T: Tape<E, D>>(
        &self,
        batch: usize,
        ids: &[u32],
        tape: T,
    ) -> Result<Tensor<(usize, S::Context, Dim<S>), E, D, T>, D::Err> {
        let context = S::Context::SIZE;
        let shape = (batch, S::Context::default(), Dim::<S>::default());
        let x = D::gather_rows(self.tokens.clone().put_tape(tape), ids, shape)?;
        let slots: Vec<u32> = (0..batch).flat_map(|_| 0..context as u32).collect();
        let mut x = D::add_scaled(x, D::gather_rows(self.position.retaped::<T>(), &slots, shape)?, 1.0)?;
        let mask = Mask::causal(context);
        for block in &self.blocks {
            x = block.forward(x, &mask)?;
        }
        self.ln_final.forward(x)
    }
}

/// Where each caption of `context` ids ends: at the first `end`, or else at its first slot; without `end`, at its largest id, the
/// first one on ties (the end of text is the last token of OpenAI's vocabulary).
pub fn ends_of_text(ids: &[u32], context: usize, end: Option<u32>) -> Vec<usize> {
    let at = |row: &[u32]| match end {
        Some(end) => row.iter().position(|&id| id == end).unwrap_or(0),
        None => (0..row.len()).max_by_key(|&i| (row[i], std::cmp::Reverse(i))).unwrap_or(0),
    };
    ids.chunks(context.max(1)).map(at).collect()
}
