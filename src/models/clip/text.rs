//! CLIP's text tower: a causal transformer over a caption's tokens; the feature is read at the end of text.

use super::{Features, Names, block_init, project};
use crate::kernels::Real;
use crate::nn::{Block, Init, LayerNorm, Role};
use crate::ops::{Backend, Mask, scalar};
use crate::shape::{BlockShape, TextTowerShape};
use dfdx::prelude::*;

type Dim<S> = <<S as TextTowerShape>::Language as BlockShape>::Dim;

crate::module! {
    /// The text tower, and the temperature: all that the published checkpoints keep outside `visual.`.
    pub struct Text<S: TextTowerShape> {
        tokens: Tensor<(S::Vocab, Dim<S>), E, D> =
            "token_embedding.weight", (Role::Embedding, Init::Normal(0.02));
        position: Tensor<(S::Context, Dim<S>), E, D> =
            "positional_embedding", (Role::Embedding, Init::Normal(0.01));
        blocks: Vec<Block<S::Language, Names<S::Gelu>, E, D>> =>
            (0..S::LANGUAGE_DEPTH).map(|i| format!("transformer.resblocks.{i}")),
            block_init(Dim::<S>::SIZE, S::LANGUAGE_DEPTH);
        ln_final: LayerNorm<Dim<S>, E, D> = "ln_final";
        projection: Tensor<(Dim<S>, S::Embed), E, D> =
            "text_projection", (Role::Matrix, Init::Normal((Dim::<S>::SIZE as f64).powf(-0.5)));
        /// ln of the scale that cosines are multiplied by.
        pub logit_scale: Tensor<(), E, D> = "logit_scale", (Role::Gain, Init::Constant((1.0f64 / 0.07).ln()));
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
