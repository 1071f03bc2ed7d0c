//! CLIP with its weights fixed: unit features of pictures and captions.

use super::Embedder;
use crate::error::{Error, Result};
use crate::models::clip::{self, Clip, by_chunk};
use crate::ops::{Backend, to_vec};
use crate::shape::ClipShape;
use dfdx::prelude::{ConstDim, NoneTape};

/// Pairs that are embedded at once, to bound memory.
const CHUNK: usize = 64;

/// A CLIP that was trained here, with its weights fixed.
pub struct FrozenClip<S: ClipShape, D: Backend<f32>> {
    model: Clip<S, f32, D>,
    device: D,
}

impl<S: ClipShape, D: Backend<f32>> FrozenClip<S, D> {
    /// `model` on `device`.
    pub fn new(model: Clip<S, f32, D>, device: D) -> Self {
        FrozenClip { model, device }
    }
}

impl<S: ClipShape, D: Backend<f32>> Embedder for FrozenClip<S, D>
where
    Error: From<D::Err>,
{
    fn side(&self) -> usize {
        S::SIDE
    }

    fn vocabulary(&self) -> usize {
        S::Vocab::SIZE
    }

    fn context(&self) -> usize {
        S::Context::SIZE
    }

    fn scale(&self) -> f32 {
        self.model.text.scale()
    }

    fn images(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        by_chunk(pixels, 3 * S::SIDE * S::SIDE, CHUNK, |pixels, batch| {
            let pixels = clip::normalised(pixels);
            Ok(to_vec(self.model.image(batch, &pixels, &self.device, NoneTape)?)?)
        })
    }

    fn texts(&self, ids: &[u32]) -> Result<Vec<f32>> {
        by_chunk(ids, S::Context::SIZE, CHUNK, |ids, _| Ok(to_vec(self.model.text(ids, NoneTape)?)?))
    }
}
