//! The most likely image of a text, token by token, with the caches or without them.

use super::{Rudalle, Version};
use crate::kernels::Real;
use crate::kernels::cpu::argmax;
use crate::models::transformer::Tokens;
use crate::nn::Precision;
use crate::ops::{Backend, Mask, to_vec};
use crate::shape::RudalleShape;
use dfdx::prelude::{ConstDim, NoneTape};

/// What was generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated<E> {
    /// B·G² codes.
    pub codes: Vec<u32>,
    /// The logits that each was taken from: (B, G², Codes).
    pub logits: Vec<E>,
}

impl<S: RudalleShape, E: Real, D: Backend<E>> Rudalle<S, E, D> {
    /// The code of the largest logit at each position, given `text` (B·T ids, 0 for pads); the first one on ties.
    /// With `cached` each slot runs once; without, each step runs whole sequences, which only a comparison wants.
    pub fn greedy(&self, version: Version, text: &[u32], masks: &[Mask], cached: bool) -> Result<Generated<E>, D::Err> {
        let (slots, image, codes) = (S::Text::SIZE, S::Grid::SIZE * S::Grid::SIZE, S::Codes::SIZE);
        let batch = text.len() / slots;
        // The slot that predicts the first image token.
        let first = match version {
            Version::V2 => slots,
            Version::V3 => slots - 1,
        };
        let engine = cached.then(|| self.incremental(Precision::F32)).transpose()?;
        let mut engine = engine.map(|engine| (engine.caches(batch, masks), engine));
        let mut out = Generated { codes: vec![0; batch * image], logits: vec![E::zero(); batch * image * codes] };
        for position in 0..image {
            let tokens = Tokens { text, image: &out.codes };
            let logits = if let Some((caches, engine)) = &mut engine {
                let fresh = if position == 0 { 0 } else { first + position }..first + position + 1;
                engine.step(batch, &Self::step_ids(version, batch, tokens, fresh), caches)
            } else {
                let all = to_vec(self.forward(version, batch, tokens, masks, NoneTape)?)?;
                let row = |b: usize| &all[(b * S::Seq::SIZE + first + position) * S::Classes::SIZE..];
                (0..batch).flat_map(|b| &row(b)[S::TextVocab::SIZE..S::Classes::SIZE]).copied().collect()
            };
            for (b, row) in logits.chunks(codes).enumerate() {
                let at = b * image + position;
                out.codes[at] = argmax(row) as u32;
                out.logits[at * codes..(at + 1) * codes].copy_from_slice(row);
            }
        }
        Ok(out)
    }
}
