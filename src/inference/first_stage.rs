//! A dVAE or a VQ-VAE with its weights fixed: pictures to codes and back, and what a picture's codes are worth.

use super::{Codec, Geometry, ImageTokenizer, Reconstruction, by_chunk};
use crate::error::{Error, Result};
use crate::models::dvae::{Dvae, Map, Stats, reconstruction, squash};
use crate::models::vqvae::Vqvae;
use crate::nn::Module;
use crate::objective::discrete::nll_of_values;
use crate::ops::{Backend, to_vec};
use crate::random::Rng;
use crate::shape::DvaeShape;
use dfdx::prelude::{Const, ConstDim, HasErr, HasShape, NoneTape};
use rayon::prelude::*;
use std::marker::PhantomData;

/// Pictures that are coded or decoded at once, and their pixels: to bound memory.
const CHUNK: usize = 32;
const PIXELS: usize = CHUNK * 64 * 64;

/// Pictures (B, H, W, 3), values φ(pixels).
pub type Pictures<D, T> = Map<Const<3>, f32, D, T>;
type Tried<T, D> = std::result::Result<T, <D as HasErr>::Err>;

/// A model between pictures and codes.
pub trait PictureModel<S: DvaeShape, D: Backend<f32>>: Module<f32, D> {
    /// In specs, metrics and checkpoints.
    const NAME: &'static str;
    /// The codes of pictures, B·h·w.
    fn encode(&self, x: Pictures<D, NoneTape>) -> Tried<Vec<u32>, D>;
    /// Statistics (μ, ln b) of the pictures of B·h·w codes.
    fn decode(&self, codes: &[u32], grid: [usize; 3], device: &D) -> Tried<Stats<f32, D, NoneTape>, D>;
    /// Logits of the posterior over codes, B·grid²·codes, where there is one.
    fn posterior(&self, _: Pictures<D, NoneTape>) -> Tried<Option<Vec<f32>>, D> {
        Ok(None)
    }
    /// Statistics of pictures through codes relaxed as `how` says, where codes can be relaxed.
    fn relaxed(&self, _: Pictures<D, NoneTape>, _how: Relaxation) -> Tried<Option<Stats<f32, D, NoneTape>>, D> {
        Ok(None)
    }
    /// KL of the posterior to the uniform prior, nats per picture.
    fn kl(&self, x: Pictures<D, NoneTape>) -> Tried<Vec<f64>, D>;
}

/// How codes are relaxed (Gumbel-softmax, paper §2.1).
pub struct Relaxation {
    /// Standard Gumbel draws, B·grid²·codes ([`gumbel_noise`]).
    pub noise: Vec<f32>,
    /// τ.
    pub temperature: f64,
    /// The hard code forward, the relaxed one's gradient.
    pub straight_through: bool,
}

/// Standard Gumbel draws for `size` pictures, each from a stream of its own: that of the seed, the step and the picture's number in
/// its batch, of which the first here is `first`.
pub fn gumbel_noise<S: DvaeShape>((seed, step): (u64, u64), first: usize, size: usize) -> Vec<f32> {
    let each = S::Grid::SIZE * S::Grid::SIZE * S::Codes::SIZE;
    let mut noise = vec![0.0; size * each];
    noise.par_chunks_mut(each).enumerate().for_each(|(index, picture)| {
        let mut rng = Rng::new(seed, "gumbel", step, (first + index) as u64);
        picture.iter_mut().for_each(|g| *g = rng.gumbel() as f32);
    });
    noise
}

impl<S: DvaeShape, D: Backend<f32>> PictureModel<S, D> for Dvae<S, f32, D> {
    const NAME: &'static str = "dvae";

    fn encode(&self, x: Pictures<D, NoneTape>) -> Tried<Vec<u32>, D> {
        Dvae::encode(self, x)
    }

    fn decode(&self, codes: &[u32], grid: [usize; 3], device: &D) -> Tried<Stats<f32, D, NoneTape>, D> {
        Dvae::decode(self, codes, grid, device)
    }

    fn posterior(&self, x: Pictures<D, NoneTape>) -> Tried<Option<Vec<f32>>, D> {
        to_vec(self.encoder.forward(x)?).map(Some)
    }

    fn relaxed(&self, x: Pictures<D, NoneTape>, how: Relaxation) -> Tried<Option<Stats<f32, D, NoneTape>>, D> {
        let (z, _) = D::relax(self.encoder.forward(x)?, how.noise, how.temperature, how.straight_through)?;
        self.decoder.forward(z).map(Some)
    }

    fn kl(&self, x: Pictures<D, NoneTape>) -> Tried<Vec<f64>, D> {
        let rows = to_vec(D::kl_uniform(self.encoder.forward(x)?)?)?;
        let positions = S::Grid::SIZE * S::Grid::SIZE;
        Ok(rows.chunks(positions).map(|rows| rows.iter().map(|&v| f64::from(v)).sum()).collect())
    }
}

impl<S: DvaeShape, D: Backend<f32>> PictureModel<S, D> for Vqvae<S, f32, D> {
    const NAME: &'static str = "vqvae";

    fn encode(&self, x: Pictures<D, NoneTape>) -> Tried<Vec<u32>, D> {
        Vqvae::encode(self, x)
    }

    fn decode(&self, codes: &[u32], grid: [usize; 3], _: &D) -> Tried<Stats<f32, D, NoneTape>, D> {
        Vqvae::decode(self, codes, grid)
    }

    /// A nearest code has no posterior: all of ln V at each position.
    fn kl(&self, x: Pictures<D, NoneTape>) -> Tried<Vec<f64>, D> {
        let positions = (S::Grid::SIZE * S::Grid::SIZE) as f64;
        Ok(vec![positions * (S::Codes::SIZE as f64).ln(); x.shape().0])
    }
}

/// A first stage with its weights fixed.
pub struct FrozenFirstStage<S: DvaeShape, M, D> {
    model: M,
    device: D,
    clamp_log_b: f64,
    straight_through: bool,
    shape: PhantomData<S>,
}

impl<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>> FrozenFirstStage<S, M, D>
where
    Error: From<D::Err>,
{
    /// `clamp_log_b` bounds |ln b| of the likelihood, `straight_through` says how codes are relaxed: both as in training.
    pub fn new(model: M, device: D, clamp_log_b: f64, straight_through: bool) -> Self {
        FrozenFirstStage { model, device, clamp_log_b, straight_through, shape: PhantomData }
    }

    fn pictures(&self, pixels: &[f32]) -> Result<Pictures<D, NoneTape>> {
        pictures::<S, D>(&self.device, pixels)
    }

    /// Codes, likelihood and pictures, decoded as `decode` says.
    fn through(&self, size: usize, pixels: &[f32], decode: Decode<'_, D>) -> Result<Reconstruction> {
        let mut out = Reconstruction::default();
        let values = 3 * S::Side::SIZE * S::Side::SIZE;
        for (chunk, pixels) in pixels.chunks((CHUNK * (pixels.len() / size.max(1))).max(1)).enumerate() {
            let x = self.pictures(pixels)?;
            let target = to_vec(x.clone())?;
            let codes = self.model.encode(x.clone())?;
            let stats = decode(chunk * CHUNK, x.clone(), &codes)?;
            let nll = D::logit_laplace(stats.clone(), target, Some(self.clamp_log_b))?;
            out.nll.extend(to_vec(nll)?.iter().map(|&v| f64::from(v)));
            out.kl.extend(self.model.kl(x)?);
            let stats = to_vec(stats)?;
            let pairs = pixels.chunks(values).zip(stats.chunks(2 * values));
            out.nll_of_8_bits.extend(pairs.map(|(pixels, stats)| nll_of_values(pixels, stats, self.clamp_log_b)));
            out.pixels.extend(reconstruction(&stats));
            out.codes.extend(codes);
        }
        Ok(out)
    }
}

/// From (number of the first picture, pictures, their codes) to statistics.
type Decode<'a, D> = &'a dyn Fn(usize, Pictures<D, NoneTape>, &[u32]) -> Result<Stats<f32, D, NoneTape>>;

/// Values in [0, 1] of pictures of the preset's size as the model reads them.
///
/// # Errors
/// What the device says.
pub fn pictures<S: DvaeShape, D: Backend<f32>>(device: &D, pixels: &[f32]) -> Result<Pictures<D, NoneTape>>
where
    Error: From<D::Err>,
{
    let size = pixels.len() / (S::Side::SIZE * S::Side::SIZE * 3);
    let shape = (size, S::Side::SIZE, S::Side::SIZE, Const);
    Ok(device.try_tensor_from_vec(squash(pixels), shape)?)
}

impl<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>> Codec for FrozenFirstStage<S, M, D>
where
    Error: From<D::Err>,
{
    fn stride(&self) -> usize {
        S::Side::SIZE / S::Grid::SIZE
    }

    fn vocabulary(&self) -> usize {
        S::Codes::SIZE
    }

    fn encode_any(&self, [_, height, width]: [usize; 3], pixels: &[f32]) -> Result<Vec<u32>> {
        by_chunk(pixels, 3 * height * width, chunk(height * width), |pixels, size| {
            Ok(self.model.encode(self.device.try_tensor_from_vec(squash(pixels), (size, height, width, Const))?)?)
        })
    }

    fn decode_any(&self, [_, height, width]: [usize; 3], codes: &[u32]) -> Result<Vec<f32>> {
        by_chunk(codes, height * width, chunk(height * width * self.stride().pow(2)), |codes, size| {
            let stats = self.model.decode(codes, [size, height, width], &self.device)?;
            Ok(reconstruction(&to_vec(stats)?))
        })
    }
}

impl<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>> ImageTokenizer for FrozenFirstStage<S, M, D>
where
    Error: From<D::Err>,
{
    fn geometry(&self) -> Geometry {
        Geometry { side: S::Side::SIZE, grid: S::Grid::SIZE, codes: S::Codes::SIZE }
    }

    fn encode(&self, size: usize, pixels: &[f32]) -> Result<Vec<u32>> {
        by_chunk(pixels, pixels.len() / size.max(1), CHUNK, |pixels, _| {
            Ok(self.model.encode(self.pictures(pixels)?)?)
        })
    }

    fn decode(&self, codes: &[u32]) -> Result<Vec<f32>> {
        let positions = S::Grid::SIZE * S::Grid::SIZE;
        by_chunk(codes, positions, CHUNK, |codes, size| {
            let grid = [size, S::Grid::SIZE, S::Grid::SIZE];
            Ok(reconstruction(&to_vec(self.model.decode(codes, grid, &self.device)?)?))
        })
    }

    fn reconstruct(&self, size: usize, pixels: &[f32]) -> Result<Reconstruction> {
        self.through(size, pixels, &|_, _, codes| {
            let size = codes.len() / (S::Grid::SIZE * S::Grid::SIZE);
            Ok(self.model.decode(codes, [size, S::Grid::SIZE, S::Grid::SIZE], &self.device)?)
        })
    }

    fn posterior(&self, size: usize, pixels: &[f32]) -> Result<Vec<f32>> {
        by_chunk(pixels, pixels.len() / size.max(1), CHUNK, |pixels, _| {
            self.model.posterior(self.pictures(pixels)?)?.ok_or_else(no_posterior::<S, M, D>)
        })
    }

    fn relaxed(&self, size: usize, pixels: &[f32], temperature: f64, seed: u64) -> Result<Reconstruction> {
        self.through(size, pixels, &|first, x, _| {
            let noise = gumbel_noise::<S>((seed, 0), first, x.shape().0);
            let how = Relaxation { noise, temperature, straight_through: self.straight_through };
            self.model.relaxed(x, how)?.ok_or_else(no_posterior::<S, M, D>)
        })
    }
}

/// How many pictures of so many pixels are coded or decoded at once.
fn chunk(pixels: usize) -> usize {
    (PIXELS / pixels.max(1)).clamp(1, CHUNK)
}

fn no_posterior<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>>() -> Error {
    Error::Usage(format!("stage {}: its codes are the nearest ones; only the dVAE has a posterior to relax", M::NAME))
}

/// How many of `vocabulary` codes occur among `codes`, and exp of their entropy (the perplexity).
pub fn usage(codes: &[u32], vocabulary: usize) -> (usize, f64) {
    let mut counts = vec![0usize; vocabulary];
    codes.iter().for_each(|&code| counts[code as usize] += 1);
    let total = codes.len().max(1) as f64;
    let entropy: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 / total).map(|p| -p * p.ln()).sum();
    (counts.iter().filter(|&&c| c > 0).count(), entropy.exp())
}
