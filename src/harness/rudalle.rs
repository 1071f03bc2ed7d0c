//! ru-dalle's transformer as something to sample from.

use crate::error::Result;
use crate::import::Weights;
use crate::mask::Layout;
use crate::models::rudalle::{Caches, Rudalle, Version, masks};
use crate::models::transformer::Tokens;
use crate::nn::{self, Init};
use crate::ops::Mask;
use crate::shape::{BlockShape, RudalleShape};
use crate::train::{Autoregressive, Sequence};
use dfdx::prelude::{ConstDim, Cpu};
use std::ops::Range;

struct Sampled<S: RudalleShape> {
    model: Rudalle<S, f32, Cpu>,
    version: Version,
    masks: Vec<Mask>,
}

/// The transformer of shape `S` with the tensors of an imported file.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) where a tensor is missing or has another shape.
pub fn transformer<S: RudalleShape>(weights: &Weights, version: Version) -> Result<impl Autoregressive + use<S>> {
    weights.fits(&nn::describe::<Rudalle<S, f32, Cpu>, f32, Cpu>())?;
    let mut model: Rudalle<S, f32, Cpu> = nn::build(&Cpu::default(), 0, |_, _| Init::Constant(0.0))?;
    nn::import(&mut model, |name, shape| weights.parameter(name, shape))?;
    let layout = Layout { text: S::Text::SIZE, grid: S::Grid::SIZE };
    Ok(Sampled { model, version, masks: masks(S::DEPTH, layout, version) })
}

impl<S: RudalleShape> Autoregressive for Sampled<S> {
    fn layout(&self) -> Layout {
        Layout { text: S::Text::SIZE, grid: S::Grid::SIZE }
    }

    fn codes(&self) -> usize {
        S::Codes::SIZE
    }

    fn row_bytes(&self) -> usize {
        2 * S::DEPTH * S::Seq::SIZE * <S::Block as BlockShape>::Dim::SIZE * size_of::<f32>()
    }

    fn sequence(&self, batch: usize) -> Result<Box<dyn Sequence + '_>> {
        Ok(Box::new(Cached { of: self, batch, caches: self.model.caches(batch) }))
    }
}

struct Cached<'a, S: RudalleShape> {
    of: &'a Sampled<S>,
    batch: usize,
    caches: Caches<f32>,
}

impl<S: RudalleShape> Sequence for Cached<'_, S> {
    fn advance(&mut self, tokens: Tokens<'_>, slots: Range<usize>) -> Result<Vec<f32>> {
        // Version 3 has no start of text: everything stands one slot earlier.
        let earlier = usize::from(self.of.version == Version::V3);
        let slots = slots.start.saturating_sub(earlier)..slots.end - earlier;
        Ok(self.of.model.decode(self.of.version, self.batch, tokens, slots, &mut self.caches, &self.of.masks)?)
    }

    fn repeat(&mut self, times: usize) {
        self.batch *= times;
        self.caches.iter_mut().for_each(|cache| *cache = cache.repeated(times));
    }
}
