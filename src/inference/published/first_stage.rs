//! Published first stages: OpenAI's dVAE and a Gumbel VQGAN.

use super::unexpected;
use crate::error::{Error, Result};
use crate::import::{Kind, Weights};
use crate::inference::{Codec, FrozenFirstStage, Geometry, ImageTokenizer, Reconstruction};
use crate::models::dvae::Dvae;
use crate::models::feature_map::FeatureMap;
use crate::models::presets::paper;
use crate::models::vqgan::{self, Config, Vqgan};
use crate::nn;
use crate::shape::DvaeShape;
use dfdx::prelude::Cpu;
use std::path::Path;

/// The model of the file at `path`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) where there is none, or the file holds another kind of model.
pub fn open(path: &Path) -> Result<Box<dyn Codec>> {
    let weights = Weights::open(path)?;
    match weights.kind() {
        Some(Kind::OpenaiDvae) => Ok(Box::new(dvae::<paper::Dvae>(&weights)?)), // the released one has the paper's sizes
        Some(Kind::TamingGumbel) => Ok(Box::new(vqgan(&weights)?)),
        other => Err(unexpected(path, &[Kind::OpenaiDvae, Kind::TamingGumbel], other)),
    }
}

/// The dVAE of shape `S` with the tensors of an imported file.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) where a tensor is missing or has another shape.
pub fn dvae<S: DvaeShape>(weights: &Weights) -> Result<impl Codec + use<S>> {
    weights.fits(&nn::describe::<Dvae<S, f32, Cpu>, f32, Cpu>())?;
    let device = Cpu::default();
    let model: Dvae<S, f32, Cpu> =
        nn::filled(&device, |parameter| weights.parameter(&parameter.name, &parameter.shape))?;
    // What is only asked for codes and pictures has no use for a likelihood.
    Ok(FrozenFirstStage::<S, _, Cpu>::new(model, device, 0.0, false))
}

/// The VQGAN of an imported file, of any size.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) where a tensor is missing or has another shape.
pub fn vqgan(weights: &Weights) -> Result<impl Codec + use<>> {
    let config = Config::parse(&weights.config()?)?;
    let model = Vqgan::load(&config, vqgan::QuantiserKind::Gumbel, &mut |name, shape| weights.parameter(name, shape))?;
    Ok(FrozenVqgan { model, config })
}

/// The model of the file at `path`, for pictures of one size.
///
/// # Errors
/// Those of [`open`]; [`Error::Data`] where it does not turn such pictures into such a grid of so many codes.
pub fn of_size(path: &Path, geometry: Geometry) -> Result<impl ImageTokenizer + use<>> {
    let codec = open(path)?;
    let Geometry { side, grid, codes } = geometry;
    if codec.stride() * grid != side || codec.vocabulary() != codes {
        let what = format!(
            "expected a first stage that takes {side}×{side} pixels to {grid}×{grid} of {codes} codes, got one of stride {} and {} codes",
            codec.stride(),
            codec.vocabulary()
        );
        return Err(Error::data(path, what));
    }
    Ok(OfSize { codec, geometry })
}

struct OfSize {
    codec: Box<dyn Codec>,
    geometry: Geometry,
}

impl Codec for OfSize {
    fn stride(&self) -> usize {
        self.codec.stride()
    }

    fn vocabulary(&self) -> usize {
        self.codec.vocabulary()
    }

    fn encode_any(&self, pictures: [usize; 3], pixels: &[f32]) -> Result<Vec<u32>> {
        self.codec.encode_any(pictures, pixels)
    }

    fn decode_any(&self, grids: [usize; 3], codes: &[u32]) -> Result<Vec<f32>> {
        self.codec.decode_any(grids, codes)
    }
}

impl OfSize {
    fn no_posterior(&self) -> Error {
        Error::Usage("a published first stage is asked for codes and pictures alone: it has no posterior here".into())
    }
}

impl ImageTokenizer for OfSize {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn encode(&self, size: usize, pixels: &[f32]) -> Result<Vec<u32>> {
        self.codec.encode_any([size, self.geometry.side, self.geometry.side], pixels)
    }

    fn decode(&self, codes: &[u32]) -> Result<Vec<f32>> {
        let grid = self.geometry.grid;
        self.codec.decode_any([codes.len() / (grid * grid), grid, grid], codes)
    }

    fn reconstruct(&self, size: usize, pixels: &[f32]) -> Result<Reconstruction> {
        let codes = self.encode(size, pixels)?;
        let positions = (self.geometry.grid * self.geometry.grid) as f64;
        let kl = vec![positions * (self.geometry.codes as f64).ln(); size];
        Ok(Reconstruction { pixels: self.decode(&codes)?, codes, kl, ..Reconstruction::default() })
    }

    fn posterior(&self, _: usize, _: &[f32]) -> Result<Vec<f32>> {
        Err(self.no_posterior())
    }

    fn relaxed(&self, _: usize, _: &[f32], _: f64, _: u64) -> Result<Reconstruction> {
        Err(self.no_posterior())
    }
}

struct FrozenVqgan {
    model: Vqgan,
    config: Config,
}

/// One picture at a time: at 256 × 256 each layer holds tens of megabytes of it.
impl Codec for FrozenVqgan {
    fn stride(&self) -> usize {
        self.config.factor()
    }

    fn vocabulary(&self) -> usize {
        self.config.codes
    }

    fn encode_any(&self, [_, height, width]: [usize; 3], pixels: &[f32]) -> Result<Vec<u32>> {
        let mut codes = Vec::new();
        for pixels in pixels.chunks((3 * height * width).max(1)) {
            let picture = vqgan::mapped(FeatureMap::new([1, height, width, 3], pixels.to_vec())?);
            codes.extend(self.model.encode(&picture)?);
        }
        Ok(codes)
    }

    fn decode_any(&self, [_, height, width]: [usize; 3], codes: &[u32]) -> Result<Vec<f32>> {
        let mut pixels = Vec::new();
        for codes in codes.chunks((height * width).max(1)) {
            pixels.extend(vqgan::picture(self.model.decode(codes, [1, height, width])?).values);
        }
        Ok(pixels)
    }
}
