//! A first stage to encode and decode pictures with: that of a run, or a published one from an imported file.

use super::device::Device;
use super::models::{Source, Which, missing};
use crate::error::{Error, Result};
use crate::import::{Kind, Weights};
use crate::inference::{Codec, FrozenFirstStage};
use crate::models::dvae::Dvae;
use crate::models::feature_map::FeatureMap;
use crate::models::presets::paper;
use crate::models::vqgan::{self, Config, Vqgan};
use crate::nn::{self, Init};
use crate::shape::DvaeShape;

use dfdx::prelude::Cpu;
use std::path::Path;

/// The first stage of the run at `path`, on `device`, or of the file there that `experiment import` wrote: OpenAI's dVAE or a Gumbel
/// VQGAN.
///
/// # Errors
/// [`Error::Data`] where there is neither, or the file holds another model; [`Error::Usage`] for a file on a GPU.
pub fn open(path: &Path, device: Device, which: Which) -> Result<Box<dyn Codec>> {
    if !path.is_file() {
        let mut source = Source::open(path, device)?;
        let stage = source.loaded().spec.first_stage.kind.name();
        let found = source.told(which, |source, older| Ok(source.first_stage(older)?.1))?;
        return found.map_or_else(|| Err(missing(path, stage)), |model| Ok(model as Box<dyn Codec>));
    }
    device.only_cpu(path)?;
    let weights = Weights::open(path)?;
    match weights.kind() {
        Some(Kind::OpenaiDvae) => Ok(Box::new(dvae::<paper::Dvae>(&weights)?)), // the released one has the paper's sizes
        Some(Kind::TamingGumbel) => Ok(Box::new(vqgan(&weights)?)),
        other => Err(unexpected(path, &[Kind::OpenaiDvae, Kind::TamingGumbel], other)),
    }
}

/// The file at `path` holds another kind of model than one of `expected`.
pub(super) fn unexpected(path: &Path, expected: &[Kind], got: Option<Kind>) -> Error {
    let names: Vec<&str> = expected.iter().map(|kind| kind.name()).collect();
    let got = got.map_or("none", Kind::name);
    Error::data(path, format!("expected a file of experiment import {}, its kind is {got}", names.join(" or ")))
}

/// The dVAE of shape `S` with the tensors of an imported file.
///
/// # Errors
/// [`Error::Data`] where a tensor is missing or has another shape.
pub fn dvae<S: DvaeShape>(weights: &Weights) -> Result<impl Codec + use<S>> {
    weights.fits(&nn::describe::<Dvae<S, f32, Cpu>, f32, Cpu>())?;
    let device = Cpu::default();
    let mut model: Dvae<S, f32, Cpu> = nn::build(&device, 0, |_, _| Init::Constant(0.0))?;
    nn::import(&mut model, |name, shape| weights.parameter(name, shape))?;
    // What is only asked for codes and pictures has no use for a likelihood.
    Ok(FrozenFirstStage::<S, _, Cpu>::new(model, device, 0.0, false))
}

/// The VQGAN of an imported file, of any size.
///
/// # Errors
/// [`Error::Data`] where a tensor is missing or has another shape.
pub fn vqgan(weights: &Weights) -> Result<impl Codec + use<>> {
    let config = Config::parse(&weights.config()?)?;
    let model = Vqgan::load(&config, vqgan::Kind::Gumbel, &mut |name, shape| weights.parameter(name, shape))?;
    Ok(Published { model, config })
}

struct Published {
    model: Vqgan,
    config: Config,
}

impl Codec for Published {
    fn stride(&self) -> usize {
        self.config.factor()
    }

    fn vocabulary(&self) -> usize {
        self.config.codes
    }

    fn encode_any(&self, height: usize, width: usize, pixels: &[f32]) -> Result<(usize, usize, Vec<u32>)> {
        let picture = vqgan::mapped(FeatureMap::new([1, height, width, 3], pixels.to_vec())?);
        Ok((height / self.stride(), width / self.stride(), self.model.encode(&picture)?))
    }

    fn decode_any(&self, height: usize, width: usize, codes: &[u32]) -> Result<(usize, usize, Vec<f32>)> {
        let decoded = vqgan::picture(self.model.decode(codes, [1, height, width])?);
        Ok((decoded.height, decoded.width, decoded.values))
    }
}
