//! The published training loss. In version 3 it has two quirks, which are kept: the text's part counts slot T − 1 with the first
//! image token's code read as a *text* class, and the image's part leaves that token out.

use dalle::models::rudalle::{Rudalle, Version};
use dalle::models::transformer::Tokens;
use dalle::ops::{Backend, Mask, scalar};
use dalle::shape::RudalleShape;
use dfdx::prelude::*;
use std::ops::Range;

/// The loss of a batch, in nats.
pub struct Losses<D: Storage<f32>, T> {
    /// (text + weight·image)/(1 + weight), on the tape.
    pub total: Tensor<(), f32, D, T>,
    /// The mean over the text's slots.
    pub text: f32,
    /// The mean over the image's slots.
    pub image: f32,
}

/// Those of `batch` sequences; `weight` (7 in the published models) is the image's against the text's 1.
pub fn losses<S: RudalleShape, D: Backend<f32>, T: Tape<f32, D>>(
    model: &Rudalle<S, f32, D>,
    version: Version,
    (batch, tokens): (usize, Tokens<'_>),
    masks: &[Mask],
    weight: f32,
    tape: T,
) -> Result<Losses<D, T>, D::Err> {
    let logits = model.forward(version, batch, tokens, masks, tape)?;
    let (text, image) = (S::Text::SIZE, S::Grid::SIZE * S::Grid::SIZE);
    // What each slot predicts: the next token, or its own where a start of text comes first.
    let (shift, last) = match version {
        Version::V2 => (0, S::Seq::SIZE),
        Version::V3 => (1, S::Seq::SIZE - 1),
    };
    let label = |b: usize, slot: usize| match slot + shift {
        at if at < text => match tokens.text[b * text + at] {
            0 => (S::TextVocab::SIZE - text + at) as u32, // the pad of that slot
            id => id,
        },
        at => tokens.image[b * image + at - text],
    };
    let labels = |slots: Range<usize>| -> Vec<u32> {
        (0..batch).flat_map(|b| slots.clone().map(move |slot| label(b, slot))).collect()
    };
    let words = S::TextVocab::SIZE;
    let wide = logits.try_reshape_like(&(batch, S::Seq::SIZE, S::Classes::SIZE))?;
    let of_text = wide.with_empty_tape().try_slice((0..batch, 0..text, 0..words))?;
    let of_image = wide.try_slice((0..batch, text..last, words..S::Classes::SIZE))?;
    let of_text = D::cross_entropy(of_text, &labels(0..text))?.try_mean()?;
    let of_image = D::cross_entropy(of_image, &labels(text..last))?.try_mean()?;
    let (text, image) = (scalar(&of_text), scalar(&of_image));
    let total = of_image.try_mul(weight)?.try_add(of_text)?.try_div(1.0 + weight)?;
    Ok(Losses { total, text, image })
}
