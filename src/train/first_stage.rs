//! The first stage in training: the dVAE (paper A.2) or the VQ-VAE, one step at a time.
//!
//! Both losses are divided by pixels × channels, so that they depend neither on the batch nor on the picture's size, and β is
//! the weight per latent position that the paper's figures mean (facts §1.4).

use super::config::{FirstStage, FirstStageKind};
use super::stage::{Batch, Geometry, ImageTokenizer, Numbers, Reconstruction, Stage};
use super::trainer::{Files, Trainer};
use crate::error::{Error, Result};
use crate::models::dvae::{self, Dvae};
use crate::models::vqvae::{self, Vqvae};
use crate::nn;
use crate::ops::{Backend, argmax_rows, scalar, to_vec};
use crate::random::Rng;
use crate::shape::DvaeShape;
use dfdx::prelude::*;
use rayon::prelude::*;

/// Builds the stage that the spec names.
pub fn build<S: DvaeShape, D: Backend<f32>>(spec: &FirstStage, seed: u64, device: D) -> Result<Box<dyn ImageTokenizer>>
where
    Error: From<D::Err>,
{
    Ok(match spec.kind {
        FirstStageKind::Dvae => Box::new(DvaeStage::<S, D>::new(spec, seed, device)?),
        FirstStageKind::Vqvae => Box::new(VqvaeStage::<S, D>::new(spec, seed, device)?),
    })
}

/// Pictures that are coded or decoded at once, to bound memory.
const CHUNK: usize = 32;

fn geometry<S: DvaeShape>() -> Geometry {
    Geometry { side: S::Side::SIZE, grid: S::Grid::SIZE, codes: S::Codes::SIZE }
}

type Pictures<S, D> = Tensor<(usize, <S as DvaeShape>::Side, <S as DvaeShape>::Side, Const<3>), f32, D>;

fn pictures<S: DvaeShape, D: Backend<f32>>(device: &D, pixels: &[f32]) -> Result<Pictures<S, D>>
where
    Error: From<D::Err>,
{
    let size = pixels.len() / (S::Side::SIZE * S::Side::SIZE * 3);
    Ok(device.try_tensor_from_vec(dvae::squash(pixels), (size, S::Side::default(), S::Side::default(), Const))?)
}

/// How many of `codes` occur, and exp of their entropy.
pub fn usage(codes: &[u32], vocabulary: usize) -> (usize, f64) {
    let mut counts = vec![0usize; vocabulary];
    codes.iter().for_each(|&code| counts[code as usize] += 1);
    let total = codes.len().max(1) as f64;
    let entropy: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 / total).map(|p| -p * p.ln()).sum();
    (counts.iter().filter(|&&c| c > 0).count(), entropy.exp())
}

/// The dVAE in training.
pub struct DvaeStage<S: DvaeShape, D: Backend<f32>> {
    spec: FirstStage,
    seed: u64,
    trainer: Trainer<Dvae<S, f32, D>, D>,
    frozen: Dvae<S, f32, D>,
}

impl<S: DvaeShape, D: Backend<f32>> DvaeStage<S, D>
where
    Error: From<D::Err>,
{
    fn new(spec: &FirstStage, seed: u64, device: D) -> Result<Self> {
        let model: Dvae<S, f32, D> = nn::build(&device, seed, dvae::init)?;
        let frozen = model.clone();
        let trainer = Trainer::new("dvae", model, device, spec.optimizer, spec.ema, spec.steps)?;
        Ok(DvaeStage { spec: spec.clone(), seed, trainer, frozen })
    }

    /// Standard Gumbel draws for `size` pictures, each from a stream of its own.
    fn noise(&self, step: u64, size: usize) -> Vec<f32> {
        let each = S::Grid::SIZE * S::Grid::SIZE * S::Codes::SIZE;
        let (seed, mut noise) = (self.seed, vec![0.0; size * each]);
        noise.par_chunks_mut(each).enumerate().for_each(|(index, picture)| {
            let mut rng = Rng::new(seed, "gumbel", step, index as u64);
            picture.iter_mut().for_each(|g| *g = rng.gumbel() as f32);
        });
        noise
    }
}

impl<S: DvaeShape, D: Backend<f32>> Stage for DvaeStage<S, D>
where
    Error: From<D::Err>,
{
    fn name(&self) -> &'static str {
        "dvae"
    }

    fn num_parameters(&self) -> usize {
        self.trainer.num_parameters()
    }

    fn step(&mut self, step: u64, batch: &Batch) -> Result<Numbers> {
        let spec = &self.spec;
        let (tau, beta) = (spec.temperature.at(step, spec.steps), spec.kl_weight.at(step, spec.steps));
        let noise = self.noise(step, batch.size);
        let x: Pictures<S, D> = pictures::<S, D>(self.trainer.device(), &batch.pixels)?;
        let target = to_vec(x.clone())?;
        let model = self.trainer.model();

        let logits = model.encoder.forward(x.leaky_traced())?;
        let kl = D::kl_uniform(logits.with_empty_tape())?.try_sum::<(), _>()?; // Σ over batch and positions
        let codes = argmax_rows(logits.with_empty_tape().split_tape().0)?;
        let z = D::relax(logits, noise, tau, spec.straight_through)?;
        let stats = model.decoder.forward(z)?;
        let nll = D::logit_laplace(stats, target, Some(spec.clamp_log_b))?.try_sum::<(), _>()?;

        let values = (batch.pixels.len()) as f64;
        let (nll_value, kl_value) = (scalar(&nll), scalar(&kl));
        let (nll_value, kl_value) = (f64::from(nll_value), f64::from(kl_value));
        let positions = (batch.size * S::Grid::SIZE * S::Grid::SIZE) as f64;
        let loss = nll.try_add(kl.try_mul(beta as f32)?)?.try_div(values as f32)?;
        let update = self.trainer.update(step, loss)?;
        let (used, perplexity) = usage(&codes, S::Codes::SIZE);
        Ok(vec![
            ("loss", update.loss),
            ("nll", nll_value / values),
            ("kl", kl_value / positions),
            ("elbo", -(nll_value + kl_value) / values),
            ("temperature", tau),
            ("kl_weight", beta),
            ("lr", update.lr),
            ("grad_norm", update.grad_norm),
            ("batch_usage", used as f64),
            ("batch_perplexity", perplexity),
        ])
    }

    fn checkpoint(&self) -> Result<Files> {
        self.trainer.checkpoint()
    }

    fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        self.trainer.restore(read)?;
        self.freeze()
    }
}

impl<S: DvaeShape, D: Backend<f32>> ImageTokenizer for DvaeStage<S, D>
where
    Error: From<D::Err>,
{
    fn geometry(&self) -> Geometry {
        geometry::<S>()
    }

    fn freeze(&mut self) -> Result<()> {
        self.frozen = self.trainer.averaged()?;
        Ok(())
    }

    fn encode(&self, size: usize, pixels: &[f32]) -> Result<Vec<u32>> {
        chunked(pixels, size, |pixels| Ok(self.frozen.encode(pictures::<S, D>(self.trainer.device(), pixels)?)?))
    }

    fn decode(&self, codes: &[u32]) -> Result<Vec<f32>> {
        let positions = S::Grid::SIZE * S::Grid::SIZE;
        chunked(codes, codes.len() / positions, |codes| {
            let grid = (codes.len() / positions, S::Grid::default(), S::Grid::default());
            Ok(dvae::reconstruction(&to_vec(self.frozen.decode(codes, grid, self.trainer.device())?)?))
        })
    }

    fn encode_any(&self, height: usize, width: usize, pixels: &[f32]) -> Result<(usize, usize, Vec<u32>)> {
        let x = self.trainer.device().try_tensor_from_vec(dvae::squash(pixels), (1usize, height, width, Const))?;
        let shrink = S::Side::SIZE / S::Grid::SIZE;
        Ok((height / shrink, width / shrink, self.frozen.encode(x)?))
    }

    fn decode_any(&self, height: usize, width: usize, codes: &[u32]) -> Result<(usize, usize, Vec<f32>)> {
        let stats = self.frozen.decode(codes, (1usize, height, width), self.trainer.device())?;
        let grow = S::Side::SIZE / S::Grid::SIZE;
        Ok((height * grow, width * grow, dvae::reconstruction(&to_vec(stats)?)))
    }

    fn reconstruct(&self, size: usize, pixels: &[f32]) -> Result<Reconstruction> {
        let mut out = Reconstruction::default();
        for pixels in pixels.chunks(CHUNK * (pixels.len() / size.max(1)).max(1)) {
            let x = pictures::<S, D>(self.trainer.device(), pixels)?;
            let target = to_vec(x.clone())?;
            let count = x.shape().0;
            let logits = self.frozen.encoder.forward(x)?;
            let kl = to_vec(D::kl_uniform(logits.clone())?)?;
            let codes = argmax_rows(logits)?;
            let grid = (count, S::Grid::default(), S::Grid::default());
            let stats = self.frozen.decode(&codes, grid, self.trainer.device())?;
            let nll = D::logit_laplace(stats.clone(), target, Some(self.spec.clamp_log_b))?;
            out.nll.extend(to_vec(nll)?.iter().map(|&v| f64::from(v)));
            out.kl.extend(kl.chunks(kl.len() / count).map(|rows| rows.iter().map(|&v| f64::from(v)).sum::<f64>()));
            out.pixels.extend(dvae::reconstruction(&to_vec(stats)?));
            out.codes.extend(codes);
        }
        Ok(out)
    }
}

/// The VQ-VAE in training.
pub struct VqvaeStage<S: DvaeShape, D: Backend<f32>> {
    spec: FirstStage,
    trainer: Trainer<Vqvae<S, f32, D>, D>,
    frozen: Vqvae<S, f32, D>,
}

impl<S: DvaeShape, D: Backend<f32>> VqvaeStage<S, D>
where
    Error: From<D::Err>,
{
    fn new(spec: &FirstStage, seed: u64, device: D) -> Result<Self> {
        let model: Vqvae<S, f32, D> = nn::build(&device, seed, vqvae::init)?;
        let frozen = model.clone();
        let trainer = Trainer::new("vqvae", model, device, spec.optimizer, spec.ema, spec.steps)?;
        Ok(VqvaeStage { spec: spec.clone(), trainer, frozen })
    }
}

impl<S: DvaeShape, D: Backend<f32>> Stage for VqvaeStage<S, D>
where
    Error: From<D::Err>,
{
    fn name(&self) -> &'static str {
        "vqvae"
    }

    fn num_parameters(&self) -> usize {
        self.trainer.num_parameters()
    }

    fn step(&mut self, step: u64, batch: &Batch) -> Result<Numbers> {
        let x: Pictures<S, D> = pictures::<S, D>(self.trainer.device(), &batch.pixels)?;
        let target = to_vec(x.clone())?;
        let quantised = self.trainer.model().forward(x.leaky_traced())?;
        let codes = quantised.codes;
        let nll = D::logit_laplace(quantised.stats, target, Some(self.spec.clamp_log_b))?.try_sum::<(), _>()?;
        let values = batch.pixels.len() as f64;
        let nll_value = f64::from(scalar(&nll));
        let commitment = quantised.commitment_loss.try_mul(self.spec.commitment as f32)?;
        let loss = nll.try_add(quantised.codebook_loss)?.try_add(commitment)?.try_div(values as f32)?;
        let update = self.trainer.update(step, loss)?;
        let (used, perplexity) = usage(&codes, S::Codes::SIZE);
        Ok(vec![
            ("loss", update.loss),
            ("nll", nll_value / values),
            ("lr", update.lr),
            ("grad_norm", update.grad_norm),
            ("batch_usage", used as f64),
            ("batch_perplexity", perplexity),
        ])
    }

    fn checkpoint(&self) -> Result<Files> {
        self.trainer.checkpoint()
    }

    fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        self.trainer.restore(read)?;
        self.freeze()
    }
}

impl<S: DvaeShape, D: Backend<f32>> ImageTokenizer for VqvaeStage<S, D>
where
    Error: From<D::Err>,
{
    fn geometry(&self) -> Geometry {
        geometry::<S>()
    }

    fn freeze(&mut self) -> Result<()> {
        self.frozen = self.trainer.averaged()?;
        Ok(())
    }

    fn encode(&self, size: usize, pixels: &[f32]) -> Result<Vec<u32>> {
        chunked(pixels, size, |pixels| Ok(self.frozen.encode(pictures::<S, D>(self.trainer.device(), pixels)?)?))
    }

    fn decode(&self, codes: &[u32]) -> Result<Vec<f32>> {
        let positions = S::Grid::SIZE * S::Grid::SIZE;
        chunked(codes, codes.len() / positions, |codes| {
            let grid = (codes.len() / positions, S::Grid::default(), S::Grid::default());
            Ok(dvae::reconstruction(&to_vec(self.frozen.decode(codes, grid)?)?))
        })
    }

    fn encode_any(&self, height: usize, width: usize, pixels: &[f32]) -> Result<(usize, usize, Vec<u32>)> {
        let x = self.trainer.device().try_tensor_from_vec(dvae::squash(pixels), (1usize, height, width, Const))?;
        let shrink = S::Side::SIZE / S::Grid::SIZE;
        Ok((height / shrink, width / shrink, self.frozen.encode(x)?))
    }

    fn decode_any(&self, height: usize, width: usize, codes: &[u32]) -> Result<(usize, usize, Vec<f32>)> {
        let stats = self.frozen.decode(codes, (1usize, height, width))?;
        let grow = S::Side::SIZE / S::Grid::SIZE;
        Ok((height * grow, width * grow, dvae::reconstruction(&to_vec(stats)?)))
    }

    fn reconstruct(&self, size: usize, pixels: &[f32]) -> Result<Reconstruction> {
        let codes = self.encode(size, pixels)?;
        let positions = S::Grid::SIZE * S::Grid::SIZE;
        let mut out =
            Reconstruction { kl: vec![positions as f64 * (S::Codes::SIZE as f64).ln(); size], ..Default::default() };
        let per_picture = pixels.len() / size.max(1);
        for (codes, pixels) in codes.chunks(CHUNK * positions).zip(pixels.chunks(CHUNK * per_picture)) {
            let grid = (codes.len() / positions, S::Grid::default(), S::Grid::default());
            let stats = self.frozen.decode(codes, grid)?;
            let nll = D::logit_laplace(stats.clone(), dvae::squash(pixels), Some(self.spec.clamp_log_b))?;
            out.nll.extend(to_vec(nll)?.iter().map(|&v| f64::from(v)));
            out.pixels.extend(dvae::reconstruction(&to_vec(stats)?));
        }
        out.codes = codes;
        Ok(out)
    }
}

/// `f` over groups of at most [`CHUNK`] of the `size` items that `values` holds.
fn chunked<X, Y>(values: &[X], size: usize, f: impl Fn(&[X]) -> Result<Vec<Y>>) -> Result<Vec<Y>> {
    let each = values.len() / size.max(1);
    let mut out = Vec::new();
    for chunk in values.chunks((CHUNK * each).max(1)) {
        out.extend(f(chunk)?);
    }
    Ok(out)
}
