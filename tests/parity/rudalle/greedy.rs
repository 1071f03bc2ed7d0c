//! The most likely image of a text, token by token, with the caches or without them.

use dalle::kernels::cpu::argmax;
use dalle::models::rudalle::{Rudalle, Version};
use dalle::models::transformer::Tokens;
use dalle::nn::Precision;
use dalle::ops::{Backend, Mask, to_vec};
use dalle::shape::RudalleShape;
use dfdx::prelude::{ConstDim, NoneTape};

/// What was generated.
pub struct Generated {
    /// B·G² codes.
    pub codes: Vec<u32>,
    /// The logits that each was taken from: (B, G², Codes).
    pub logits: Vec<f32>,
}

/// The code of the largest logit at each position, given `text` (B·T ids, 0 for pads); the first one on ties.
/// With `cached` each slot runs once; without, each step runs whole sequences.
pub fn greedy<S: RudalleShape, D: Backend<f32>>(
    model: &Rudalle<S, f32, D>,
    version: Version,
    text: &[u32],
    masks: &[Mask],
    cached: bool,
) -> Result<Generated, D::Err> {
    let (slots, image, codes) = (S::Text::SIZE, S::Grid::SIZE * S::Grid::SIZE, S::Codes::SIZE);
    let batch = text.len() / slots;
    // The slot that predicts the first image token.
    let first = match version {
        Version::V2 => slots,
        Version::V3 => slots - 1,
    };
    let engine = cached.then(|| model.incremental(Precision::F32)).transpose()?;
    let mut engine = engine.map(|engine| (engine.caches(batch, masks), engine));
    let mut out = Generated { codes: vec![0; batch * image], logits: vec![0.0; batch * image * codes] };
    for position in 0..image {
        let tokens = Tokens { text, image: &out.codes };
        let logits = if let Some((caches, engine)) = &mut engine {
            let fresh = if position == 0 { 0 } else { first + position }..first + position + 1;
            engine.step(batch, &Rudalle::<S, f32, D>::step_ids(version, batch, tokens, fresh), caches)
        } else {
            let all = to_vec(model.forward(version, batch, tokens, masks, NoneTape)?)?;
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
