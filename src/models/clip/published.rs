//! CLIP's published sizes (arXiv 2103.00020, tables 19 and 20) as types, and one boundary where a file's sizes become one of
//! them. Heads are width/64 everywhere.

use super::resnet::{self, ResNet};
use super::{Clip, Embedder, Sizes, Text, by_chunk, hf, normalised, unit};
use crate::error::{Error, Result};
use crate::nn::{self, Init};
use crate::ops::{retyped, to_vec};
use crate::shape::{ClipShape, TextTowerShape};
use crate::{block, clip, text_tower};
use dfdx::nn::TensorCollection;
use dfdx::prelude::{ConstDim, Cpu, NoneTape};

block!(
    /// The text tower's blocks beside ViT-B.
    Text512: dim 512, heads 8);
block!(
    /// The text tower's blocks beside ViT-L, and ViT-B's own.
    Wide768: dim 768, heads 12);
block!(
    /// ViT-L's blocks.
    Wide1024: dim 1024, heads 16);

clip!(
    /// ViT-B/32.
    VitB32: side 224, patch 32, vision Wide768 x 12; context 77, vocab 49408, language Text512 x 12, embed 512);
clip!(
    /// ViT-B/16.
    VitB16: side 224, patch 16, vision Wide768 x 12; context 77, vocab 49408, language Text512 x 12, embed 512);
clip!(
    /// ViT-L/14.
    VitL14: side 224, patch 14, vision Wide1024 x 24; context 77, vocab 49408, language Wide768 x 12, embed 768);
text_tower!(
    /// RN50's text tower, beside the picture tower [`Sizes::RN50`](super::resnet::Sizes::RN50).
    Rn50: context 77, vocab 49408, language Text512 x 12, embed 1024);

/// The parameter of a name and shape, by OpenAI's names ([`hf::read`] brings others to them).
pub type Find<'f> = &'f mut dyn FnMut(&str, &[usize]) -> Result<Vec<f32>>;

/// A vision transformer of one of the published sizes; `end` as in [`hf::Config`], `None` for OpenAI's own files.
///
/// # Errors
/// [`Error::Data`] for other sizes; what `find` says.
pub fn vision_transformer(sizes: Sizes, end: Option<u32>, find: Find<'_>) -> Result<Box<dyn Embedder>> {
    match sizes {
        _ if sizes == Sizes::of::<VitB32>() => Transformer::<VitB32>::load(end, find),
        _ if sizes == Sizes::of::<VitB16>() => Transformer::<VitB16>::load(end, find),
        _ if sizes == Sizes::of::<VitL14>() => Transformer::<VitL14>::load(end, find),
        _ => Err(Error::data("CLIP", format!("expected the sizes of ViT-B/32, ViT-B/16 or ViT-L/14, got {sizes:?}"))),
    }
}

/// RN50.
///
/// # Errors
/// [`Error::Data`] for other sizes; what `find` says.
pub fn resnet(sizes: resnet::Sizes, find: Find<'_>) -> Result<Box<dyn Embedder>> {
    if sizes != resnet::Sizes::RN50 {
        return Err(Error::data("CLIP", format!("expected the sizes of RN50, got {sizes:?}")));
    }
    let visual = ResNet::load(sizes, &Cpu::default(), &mut *find)?;
    Ok(Box::new(Convolutional { visual, text: filled(find)? }))
}

/// Inputs that are embedded at once, to bound memory.
const CHUNK: usize = 16;

struct Transformer<S: ClipShape> {
    model: Clip<S, f32, Cpu>,
    end: Option<u32>,
}

impl<S: ClipShape> Transformer<S> {
    fn load(end: Option<u32>, find: Find<'_>) -> Result<Box<dyn Embedder>> {
        Ok(Box::new(Transformer::<S> { model: filled(find)?, end }))
    }
}

impl<S: ClipShape> Embedder for Transformer<S> {
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
            let pixels = normalised(pixels);
            Ok(to_vec(self.model.image(batch, &pixels, &Cpu::default(), NoneTape)?)?)
        })
    }

    fn texts(&self, ids: &[u32]) -> Result<Vec<f32>> {
        texts(&self.model.text, ids, self.end)
    }
}

struct Convolutional {
    visual: ResNet<f32, Cpu>,
    text: Text<Rn50, f32, Cpu>,
}

impl Embedder for Convolutional {
    fn side(&self) -> usize {
        self.visual.sizes().side
    }

    fn vocabulary(&self) -> usize {
        <Rn50 as TextTowerShape>::Vocab::SIZE
    }

    fn context(&self) -> usize {
        <Rn50 as TextTowerShape>::Context::SIZE
    }

    fn scale(&self) -> f32 {
        self.text.scale()
    }

    fn images(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        by_chunk(pixels, 3 * self.side() * self.side(), CHUNK, |pixels, batch| {
            let features = self.visual.forward(batch, normalised(pixels), &Cpu::default(), NoneTape)?;
            Ok(to_vec(unit(features)?)?)
        })
    }

    fn texts(&self, ids: &[u32]) -> Result<Vec<f32>> {
        texts(&self.text, ids, None)
    }
}

/// A model built empty and filled by `find`.
fn filled<M: TensorCollection<f32, Cpu, To<f32, Cpu> = M>>(find: Find<'_>) -> Result<M> {
    let mut model: M = nn::build(&Cpu::default(), 0, |_, _| Init::Constant(0.0))?;
    nn::import(&mut model, find)?;
    Ok(model)
}

fn texts<S: TextTowerShape>(text: &Text<S, f32, Cpu>, ids: &[u32], end: Option<u32>) -> Result<Vec<f32>> {
    let context = S::Context::SIZE;
    by_chunk(ids, context, CHUNK, |ids, _| {
        let features = text.forward(ids, &hf::ends_of_text(ids, context, end), NoneTape)?;
        Ok(to_vec(unit(retyped(features))?)?)
    })
}
