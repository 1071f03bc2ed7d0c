//! CLIP with its weights fixed: unit features of pictures and captions.

use super::{Embedder, by_chunk};
use crate::error::{Error, Result};
use crate::models::clip::resnet::ResNet;
use crate::models::clip::{Clip, Text, Vision, ends_of_text, normalised, unit};
use crate::ops::{Backend, retyped, to_vec};
use crate::shape::{ClipShape, TextTowerShape};
use dfdx::prelude::{ConstDim, HasErr, NoneTape, Tensor};

/// Pairs that are embedded at once, and pixels: to bound memory.
const CHUNK: usize = 64;
const PIXELS: usize = 16 * 224 * 224;

/// Rows of features.
type FeatureRows<D> = std::result::Result<Tensor<(usize, usize), f32, D>, <D as HasErr>::Err>;

/// The tower of a CLIP that reads pictures.
pub trait PictureTower<D: Backend<f32>> {
    /// Side of the pictures.
    fn side(&self) -> usize;
    /// Features as the tower gives them, not of unit length: (B, embed). `pixels`: normalised, (B, side, side, 3).
    fn features(&self, size: usize, pixels: &[f32], device: &D) -> FeatureRows<D>;
}

impl<S: ClipShape, D: Backend<f32>> PictureTower<D> for Vision<S, f32, D> {
    fn side(&self) -> usize {
        S::SIDE
    }

    fn features(&self, size: usize, pixels: &[f32], device: &D) -> FeatureRows<D> {
        Ok(retyped(self.forward(size, pixels, device, NoneTape)?))
    }
}

impl<D: Backend<f32>> PictureTower<D> for ResNet<f32, D> {
    fn side(&self) -> usize {
        self.sizes().side
    }

    fn features(&self, size: usize, pixels: &[f32], device: &D) -> FeatureRows<D> {
        self.forward(size, pixels.to_vec(), device, NoneTape)
    }
}

/// A CLIP with its weights fixed.
pub struct FrozenClip<V, S: TextTowerShape, D: Backend<f32>> {
    visual: V,
    text: Text<S, f32, D>,
    end: Option<u32>,
    device: D,
}

impl<S: ClipShape, D: Backend<f32>> FrozenClip<Vision<S, f32, D>, S, D> {
    /// `model` on `device`.
    pub fn new(model: Clip<S, f32, D>, device: D) -> Self {
        FrozenClip { visual: model.visual, text: model.text, end: None, device }
    }
}

impl<V: PictureTower<D>, S: TextTowerShape, D: Backend<f32>> FrozenClip<V, S, D> {
    /// Two towers; `end` is the id that ends a text, where that is not its largest one.
    pub fn of_towers(visual: V, text: Text<S, f32, D>, end: Option<u32>, device: D) -> Self {
        FrozenClip { visual, text, end, device }
    }
}

impl<V: PictureTower<D>, S: TextTowerShape, D: Backend<f32>> Embedder for FrozenClip<V, S, D>
where
    Error: From<D::Err>,
{
    fn side(&self) -> usize {
        self.visual.side()
    }

    fn vocabulary(&self) -> usize {
        S::Vocab::SIZE
    }

    fn context(&self) -> usize {
        S::Context::SIZE
    }

    fn scale(&self) -> f32 {
        self.text.scale()
    }

    fn images(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        let side = self.side();
        let chunk = (PIXELS / (side * side)).clamp(1, CHUNK);
        by_chunk(pixels, 3 * side * side, chunk, |pixels, size| {
            Ok(to_vec(unit(self.visual.features(size, &normalised(pixels), &self.device)?)?)?)
        })
    }

    fn texts(&self, ids: &[u32]) -> Result<Vec<f32>> {
        by_chunk(ids, S::Context::SIZE, CHUNK, |ids, _| {
            let ends = ends_of_text(ids, S::Context::SIZE, self.end);
            Ok(to_vec(unit(retyped(self.text.forward(ids, &ends, NoneTape)?))?)?)
        })
    }
}
