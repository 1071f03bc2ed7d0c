//! The first stage in training: the dVAE (paper A.2) or the VQ-VAE, one step at a time.
//!
//! Both losses are divided by pixels × channels, so that they depend neither on the batch nor on the picture's size, and β is
//! the weight per latent position that the paper's figures mean (facts of A.2). The two differ in their `PictureModel` only.

mod coder;
mod dvae;
mod vqvae;

pub use coder::coder;

use super::config::{FirstStage, FirstStageKind};
use super::stage::{Batch, Codec, Geometry, ImageTokenizer, Numbers, Reconstruction, Stage};
use super::state::Files;
use super::trainer::{Sum, Trainer};
use crate::error::{Error, Result};
use crate::models::clip::by_chunk;
use crate::models::dvae::{Dvae, Picture, reconstruction, squash};
use crate::models::vqvae::Vqvae;
use crate::nn::{self, Init};
use crate::objective::discrete::nll_of_values;
use crate::ops::{Backend, scalar, to_vec};
use crate::shape::{DvaeShape, Side};
use coder::Coder;
use dfdx::nn::TensorCollection;
use dfdx::prelude::{Const, ConstDim, Dim, NoneTape, OwnedTape, ReshapeTo, Tensor, Trace, TryAdd, TryDiv};

/// Builds the stage that the spec names.
pub fn build<S: DvaeShape, D: Backend<f32>>(spec: &FirstStage, seed: u64, device: D) -> Result<Box<dyn ImageTokenizer>>
where
    Error: From<D::Err>,
{
    Ok(match spec.kind {
        FirstStageKind::Dvae => Box::new(PictureStage::<S, Dvae<S, f32, D>, D>::new(spec, seed, device)?),
        FirstStageKind::Vqvae => Box::new(PictureStage::<S, Vqvae<S, f32, D>, D>::new(spec, seed, device)?),
    })
}

/// Training pictures: (B, Side, Side, 3), values φ(pixels).
type Pictures<S, D, T> = Tensor<(usize, <S as DvaeShape>::Side, <S as DvaeShape>::Side, Const<3>), f32, D, T>;
/// Statistics of a picture over a grid of sides `H` and `W`.
type Stats<S, B, H, W, D> = Tensor<(B, Picture<S, H>, Picture<S, W>, Const<6>), f32, D>;
/// Those of pictures of the training size.
type Reconstructed<S, D> = Tensor<(usize, <S as DvaeShape>::Side, <S as DvaeShape>::Side, Const<6>), f32, D>;
type Scalar<D> = Tensor<(), f32, D, OwnedTape<f32, D>>;
type Traced<S, D> = Pictures<S, D, OwnedTape<f32, D>>;

/// What a training step of a codec needs besides the pictures.
struct Step<'a> {
    spec: &'a FirstStage,
    seed: u64,
    step: u64,
    /// Which picture of the batch is the first here: draws are by picture.
    first: usize,
    /// φ(pixels), B·Side·Side·3.
    target: Vec<f32>,
}

/// What a codec makes of a part of a batch, summed over it, in nats.
struct Losses<D: Backend<f32>> {
    /// −ln p(x | z).
    nll: Scalar<D>,
    /// What is added to it, weighted.
    penalty: Scalar<D>,
    /// The codes that the encoder would choose.
    codes: Vec<u32>,
    /// More metrics, each a mean over the pictures.
    numbers: Numbers,
}

/// A model between pictures and codes.
trait PictureModel<S: DvaeShape, D: Backend<f32>>: TensorCollection<f32, D, To<f32, D> = Self> + Clone {
    const NAME: &'static str;
    fn init(name: &str, shape: &[usize]) -> Init;
    fn losses(&self, x: Traced<S, D>, step: Step<'_>) -> std::result::Result<Losses<D>, D::Err>;
    fn encode<B: Dim, H: Side, W: Side>(
        &self,
        x: Tensor<(B, H, W, Const<3>), f32, D>,
    ) -> std::result::Result<Vec<u32>, D::Err>;
    fn decode<B: Dim, H: Side, W: Side>(
        &self,
        codes: &[u32],
        grid: (B, H, W),
        device: &D,
    ) -> std::result::Result<Stats<S, B, H, W, D>, D::Err>;
    /// Logits of the posterior over codes, B·grid²·codes, where there is one.
    fn posterior(&self, _: Pictures<S, D, NoneTape>) -> std::result::Result<Option<Vec<f32>>, D::Err> {
        Ok(None)
    }
    /// Statistics of pictures through codes relaxed at `tau` with the noise of `step`, where codes can be relaxed.
    fn relaxed(
        &self,
        _: Pictures<S, D, NoneTape>,
        _: &Step<'_>,
        _tau: f64,
    ) -> std::result::Result<Option<Reconstructed<S, D>>, D::Err> {
        Ok(None)
    }
    /// KL of the posterior to the uniform prior, nats per picture.
    fn kl(&self, x: Pictures<S, D, NoneTape>) -> std::result::Result<Vec<f64>, D::Err>;
}

/// Pictures that are coded or decoded at once, to bound memory.
const CHUNK: usize = 32;

/// How many of `codes` occur, and exp of their entropy.
pub fn usage(codes: &[u32], vocabulary: usize) -> (usize, f64) {
    let mut counts = vec![0usize; vocabulary];
    codes.iter().for_each(|&code| counts[code as usize] += 1);
    let total = codes.len().max(1) as f64;
    let entropy: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 / total).map(|p| -p * p.ln()).sum();
    (counts.iter().filter(|&&c| c > 0).count(), entropy.exp())
}

/// A codec in training.
struct PictureStage<S: DvaeShape, M, D: Backend<f32>> {
    spec: FirstStage,
    seed: u64,
    trainer: Trainer<M, D>,
    frozen: Coder<S, M, D>,
}

impl<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>> PictureStage<S, M, D>
where
    Error: From<D::Err>,
{
    fn new(spec: &FirstStage, seed: u64, device: D) -> Result<Self> {
        let model: M = nn::build(&device, seed, M::init)?;
        let frozen = Coder::new(model.clone(), device.clone());
        let trainer = Trainer::new(M::NAME, model, device, spec.optimizer, spec.ema, spec.steps)?;
        Ok(PictureStage { spec: spec.clone(), seed, trainer, frozen })
    }

    fn pictures(&self, pixels: &[f32]) -> Result<Pictures<S, D, NoneTape>> {
        let size = pixels.len() / (S::Side::SIZE * S::Side::SIZE * 3);
        let shape = (size, S::Side::default(), S::Side::default(), Const);
        Ok(self.trainer.device().try_tensor_from_vec(squash(pixels), shape)?)
    }
}

impl<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>> Stage for PictureStage<S, M, D>
where
    Error: From<D::Err>,
{
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn num_parameters(&self) -> usize {
        self.trainer.num_parameters()
    }

    fn step(&mut self, step: u64, batch: &Batch) -> Result<Numbers> {
        let values = batch.pixels.len() as f64;
        let each = batch.pixels.len() / batch.size.max(1);
        let (mut sum, mut nll_value, mut all_codes, mut means) = (Sum::default(), 0.0, Vec::new(), Numbers::new());
        for part in batch.parts(self.spec.accumulate) {
            let x = self.pictures(&batch.pixels[part.start * each..part.end * each])?;
            let target = to_vec(x.clone())?;
            let inputs = Step { spec: &self.spec, seed: self.seed, step, first: part.start, target };
            let Losses { nll, penalty, codes, numbers } = self.trainer.model().losses(x.leaky_traced(), inputs)?;
            nll_value += f64::from(scalar(&nll)) / values;
            self.trainer.add(step, nll.try_add(penalty)?.try_div(values as f32)?, &mut sum)?;
            all_codes.extend(codes);
            let share = part.len() as f64 / batch.size as f64;
            means.resize(numbers.len(), ("", 0.0));
            for (mean, (name, value)) in means.iter_mut().zip(numbers) {
                *mean = (name, mean.1 + share * value);
            }
        }
        let update = self.trainer.update(step, sum)?;
        let (used, perplexity) = usage(&all_codes, S::Codes::SIZE);
        let mut all = vec![("loss", update.loss), ("nll", nll_value)];
        all.extend(means);
        all.extend([("lr", update.lr), ("grad_norm", update.grad_norm)]);
        all.extend([("batch_usage", used as f64), ("batch_perplexity", perplexity)]);
        Ok(all)
    }

    fn checkpoint(&self) -> Result<Files> {
        self.trainer.checkpoint()
    }

    fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        self.trainer.restore(read)?;
        self.freeze()
    }
}

impl<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>> Codec for PictureStage<S, M, D>
where
    Error: From<D::Err>,
{
    fn stride(&self) -> usize {
        self.frozen.stride()
    }

    fn vocabulary(&self) -> usize {
        self.frozen.vocabulary()
    }

    fn encode_any(&self, height: usize, width: usize, pixels: &[f32]) -> Result<(usize, usize, Vec<u32>)> {
        self.frozen.encode_any(height, width, pixels)
    }

    fn decode_any(&self, height: usize, width: usize, codes: &[u32]) -> Result<(usize, usize, Vec<f32>)> {
        self.frozen.decode_any(height, width, codes)
    }
}

impl<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>> ImageTokenizer for PictureStage<S, M, D>
where
    Error: From<D::Err>,
{
    fn geometry(&self) -> Geometry {
        Geometry { side: S::Side::SIZE, grid: S::Grid::SIZE, codes: S::Codes::SIZE }
    }

    fn freeze(&mut self) -> Result<()> {
        self.frozen = Coder::new(self.trainer.averaged()?, self.trainer.device().clone());
        Ok(())
    }

    fn encode(&self, size: usize, pixels: &[f32]) -> Result<Vec<u32>> {
        by_chunk(pixels, pixels.len() / size.max(1), CHUNK, |pixels, _| {
            Ok(self.frozen.model.encode(self.pictures(pixels)?)?)
        })
    }

    fn decode(&self, codes: &[u32]) -> Result<Vec<f32>> {
        let positions = S::Grid::SIZE * S::Grid::SIZE;
        by_chunk(codes, positions, CHUNK, |codes, size| {
            let grid = (size, S::Grid::default(), S::Grid::default());
            Ok(reconstruction(&to_vec(self.frozen.model.decode(codes, grid, self.trainer.device())?)?))
        })
    }

    fn reconstruct(&self, size: usize, pixels: &[f32]) -> Result<Reconstruction> {
        self.through(size, pixels, &|_, _, codes| {
            let size = codes.len() / (S::Grid::SIZE * S::Grid::SIZE);
            let grid = (size, S::Grid::default(), S::Grid::default());
            let stats = self.frozen.model.decode(codes, grid, self.trainer.device())?;
            Ok(stats.try_reshape_like(&(size, S::Side::default(), S::Side::default(), Const))?)
        })
    }

    fn posterior(&self, size: usize, pixels: &[f32]) -> Result<Vec<f32>> {
        by_chunk(pixels, pixels.len() / size.max(1), CHUNK, |pixels, _| {
            self.frozen.model.posterior(self.pictures(pixels)?)?.ok_or_else(no_posterior::<S, M, D>)
        })
    }

    fn relaxed(&self, size: usize, pixels: &[f32], temperature: f64, seed: u64) -> Result<Reconstruction> {
        self.through(size, pixels, &|first, x, _| {
            let step = Step { spec: &self.spec, seed, step: 0, first, target: Vec::new() };
            self.frozen.model.relaxed(x, &step, temperature)?.ok_or_else(no_posterior::<S, M, D>)
        })
    }
}

fn no_posterior<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>>() -> Error {
    Error::Usage(format!("stage {}: its codes are the nearest ones; only the dVAE has a posterior to relax", M::NAME))
}

/// From (number of the first picture, pictures, their codes) to statistics.
type Decode<'a, S, D> = &'a dyn Fn(usize, Pictures<S, D, NoneTape>, &[u32]) -> Result<Reconstructed<S, D>>;

impl<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>> PictureStage<S, M, D>
where
    Error: From<D::Err>,
{
    /// Codes, likelihood and pictures, decoded as `decode` says.
    fn through(&self, size: usize, pixels: &[f32], decode: Decode<'_, S, D>) -> Result<Reconstruction> {
        let mut out = Reconstruction::default();
        let values = 3 * S::Side::SIZE * S::Side::SIZE;
        for (chunk, pixels) in pixels.chunks((CHUNK * (pixels.len() / size.max(1))).max(1)).enumerate() {
            let x = self.pictures(pixels)?;
            let target = to_vec(x.clone())?;
            let codes = self.frozen.model.encode(x.clone())?;
            let stats = decode(chunk * CHUNK, x.clone(), &codes)?;
            let nll = D::logit_laplace(stats.clone(), target, Some(self.spec.clamp_log_b))?;
            out.nll.extend(to_vec(nll)?.iter().map(|&v| f64::from(v)));
            out.kl.extend(self.frozen.model.kl(x)?);
            let stats = to_vec(stats)?;
            let pairs = pixels.chunks(values).zip(stats.chunks(2 * values));
            out.nll_of_8_bits.extend(pairs.map(|(pixels, stats)| nll_of_values(pixels, stats, self.spec.clamp_log_b)));
            out.pixels.extend(reconstruction(&stats));
            out.codes.extend(codes);
        }
        Ok(out)
    }
}
