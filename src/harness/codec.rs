//! A first stage to encode and decode pictures with: that of a run, or OpenAI's from an imported file.

use super::models::Models;
use crate::error::{Error, Result};
use crate::import::{Kind, Weights};
use crate::models::dvae::{Dvae, reconstruction, squash};
use crate::models::presets::paper;
use crate::nn::{self, Init};
use crate::ops::to_vec;
use crate::shape::DvaeShape;
use crate::train::{Geometry, ImageTokenizer};
use dfdx::prelude::{Const, ConstDim, Cpu, TensorFromVec};
use std::path::Path;

/// Pictures of any size that the strides allow, to codes and back.
pub trait Codec {
    /// Sizes; those of pictures and grids are what it was trained with.
    fn geometry(&self) -> Geometry;
    /// The codes of a picture, values in [0, 1], channels last: (height, width) → their grid.
    fn encode(&self, height: usize, width: usize, pixels: &[f32]) -> Result<(usize, usize, Vec<u32>)>;
    /// The picture of a grid of codes: → (height, width, values).
    fn decode(&self, height: usize, width: usize, codes: &[u32]) -> Result<(usize, usize, Vec<f32>)>;
}

/// The first stage of the run at `path`, or of the file there that `experiment import openai-dvae` wrote.
///
/// # Errors
/// [`Error::Data`] where there is neither, or the file holds another model.
pub fn open(path: &Path) -> Result<Box<dyn Codec>> {
    if !path.is_file() {
        let (_, _, models, _) = Models::open(path)?;
        return Ok(Box::new(Trained(models.first)));
    }
    let weights = Weights::open(path)?;
    let kind = weights.attribute("kind").and_then(|kind| kind.as_str()).unwrap_or("none");
    if kind != Kind::OpenaiDvae.name() {
        let what = format!("expected a file of experiment import {}, its kind is {kind}", Kind::OpenaiDvae.name());
        return Err(Error::data(path, what));
    }
    Ok(Box::new(imported::<paper::Dvae>(&weights)?)) // the released model has the paper's sizes
}

/// The dVAE of shape `S` with the tensors of an imported file.
///
/// # Errors
/// [`Error::Data`] where a tensor is missing or has another shape.
pub fn imported<S: DvaeShape>(weights: &Weights) -> Result<impl Codec + use<S>> {
    let device = Cpu::default();
    let mut model: Dvae<S, f32, Cpu> = nn::build(&device, 0, |_, _| Init::Constant(0.0))?;
    nn::import(&mut model, |name, shape| weights.parameter(name, shape))?;
    Ok(Imported { model, device })
}

struct Trained(Box<dyn ImageTokenizer>);

impl Codec for Trained {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn encode(&self, height: usize, width: usize, pixels: &[f32]) -> Result<(usize, usize, Vec<u32>)> {
        self.0.encode_any(height, width, pixels)
    }

    fn decode(&self, height: usize, width: usize, codes: &[u32]) -> Result<(usize, usize, Vec<f32>)> {
        self.0.decode_any(height, width, codes)
    }
}

struct Imported<S: DvaeShape> {
    model: Dvae<S, f32, Cpu>,
    device: Cpu,
}

impl<S: DvaeShape> Imported<S> {
    /// Pixels per code, along each side.
    const STRIDE: usize = <S::Side as ConstDim>::SIZE / <S::Grid as ConstDim>::SIZE;
}

impl<S: DvaeShape> Codec for Imported<S> {
    fn geometry(&self) -> Geometry {
        Geometry { side: S::Side::SIZE, grid: S::Grid::SIZE, codes: S::Codes::SIZE }
    }

    fn encode(&self, height: usize, width: usize, pixels: &[f32]) -> Result<(usize, usize, Vec<u32>)> {
        let x = self.device.try_tensor_from_vec(squash(pixels), (1usize, height, width, Const))?;
        Ok((height / Self::STRIDE, width / Self::STRIDE, self.model.encode(x)?))
    }

    fn decode(&self, height: usize, width: usize, codes: &[u32]) -> Result<(usize, usize, Vec<f32>)> {
        let stats = self.model.decode(codes, (1usize, height, width), &self.device)?;
        Ok((height * Self::STRIDE, width * Self::STRIDE, reconstruction(&to_vec(stats)?)))
    }
}
