//! The first stage in training: the dVAE (paper A.2) or the VQ-VAE, one step at a time.
//!
//! Both losses are divided by pixels × channels, so that they depend neither on the batch nor on the picture's size, and β is
//! the weight per latent position that the paper's figures mean (A.2). The two differ in their `Losses` only.

mod dvae;
mod vqvae;

use super::stage::{Batch, Learns, Metrics, Stage, StepReport};
use super::state::Files;
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::inference::first_stage::{PictureModel, Pictures, pictures, usage};
use crate::inference::{FrozenFirstStage, ImageTokenizer};
use crate::models::dvae::Dvae;
use crate::models::vqvae::Vqvae;
use crate::nn;
use crate::ops::{Backend, scalar, to_vec};
use crate::shape::DvaeShape;
use crate::spec::{FirstStageConfig, FirstStageKind};
use dfdx::prelude::{ConstDim, OwnedTape, Tensor, Trace, TryAdd, TryDiv};
use std::marker::PhantomData;

/// Builds the stage that the spec names.
pub fn build<S: DvaeShape, D: Backend<f32>>(
    spec: &FirstStageConfig,
    seed: u64,
    device: D,
) -> Result<Box<dyn Learns<dyn ImageTokenizer>>>
where
    Error: From<D::Err>,
{
    Ok(match spec.kind {
        FirstStageKind::Dvae => Box::new(FirstStageTrainer::<S, Dvae<S, f32, D>, D>::new(spec, seed, device)?),
        FirstStageKind::Vqvae => Box::new(FirstStageTrainer::<S, Vqvae<S, f32, D>, D>::new(spec, seed, device)?),
    })
}

type Scalar<D> = Tensor<(), f32, D, OwnedTape<f32, D>>;
type Traced<D> = Pictures<D, OwnedTape<f32, D>>;

/// What a training step needs besides the pictures.
struct Step<'a> {
    spec: &'a FirstStageConfig,
    seed: u64,
    step: u64,
    /// Which picture of the batch is the first here: draws are by picture.
    first: usize,
    /// φ(pixels), B·Side·Side·3.
    target: Vec<f32>,
}

/// What a model makes of a part of a batch, summed over it, in nats.
struct Losses<D: Backend<f32>> {
    /// −ln p(x | z).
    nll: Scalar<D>,
    /// What is added to it, weighted.
    penalty: Scalar<D>,
    /// The codes that the encoder would choose.
    codes: Vec<u32>,
    /// More metrics, each a mean over the pictures.
    metrics: Metrics,
}

/// A model between pictures and codes, in training.
trait Trainable<S: DvaeShape, D: Backend<f32>>: PictureModel<S, D> {
    fn losses(&self, x: Traced<D>, step: Step<'_>) -> std::result::Result<Losses<D>, D::Err>;
}

/// A first stage in training.
struct FirstStageTrainer<S, M, D: Backend<f32>> {
    spec: FirstStageConfig,
    seed: u64,
    trainer: Trainer<M, D>,
    shape: PhantomData<S>,
}

impl<S: DvaeShape, M: Trainable<S, D> + 'static, D: Backend<f32>> FirstStageTrainer<S, M, D>
where
    Error: From<D::Err>,
{
    fn new(spec: &FirstStageConfig, seed: u64, device: D) -> Result<Self> {
        let model: M = nn::build(&device, seed)?;
        let trainer = Trainer::new(M::NAME, model, device, spec.optimizer, spec.ema, spec.steps)?;
        Ok(FirstStageTrainer { spec: spec.clone(), seed, trainer, shape: PhantomData })
    }

    fn with(&self, model: M) -> Box<dyn ImageTokenizer> {
        let (device, spec) = (self.trainer.device().clone(), &self.spec);
        Box::new(FrozenFirstStage::<S, M, D>::new(model, device, spec.clamp_log_b, spec.straight_through))
    }
}

impl<S: DvaeShape, M: Trainable<S, D>, D: Backend<f32>> Stage for FirstStageTrainer<S, M, D>
where
    Error: From<D::Err>,
{
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn num_parameters(&self) -> usize {
        self.trainer.num_parameters()
    }

    fn step(&mut self, step: u64, batch: &Batch) -> Result<StepReport> {
        let values = batch.pixels.len() as f64;
        let each = batch.pixels.len() / batch.size.max(1);
        let (mut nll_value, mut all_codes, mut means) = (0.0, Vec::new(), Metrics::new());
        for part in batch.parts(self.spec.accumulate) {
            let x = pictures::<S, D>(self.trainer.device(), &batch.pixels[part.start * each..part.end * each])?;
            let target = to_vec(x.clone())?;
            let inputs = Step { spec: &self.spec, seed: self.seed, step, first: part.start, target };
            let Losses { nll, penalty, codes, metrics } = self.trainer.model().losses(x.leaky_traced(), inputs)?;
            nll_value += f64::from(scalar(&nll)) / values;
            self.trainer.add(step, nll.try_add(penalty)?.try_div(values as f32)?)?;
            all_codes.extend(codes);
            let share = part.len() as f64 / batch.size as f64;
            means.resize(metrics.len(), ("", 0.0));
            for (mean, (name, value)) in means.iter_mut().zip(metrics) {
                *mean = (name, mean.1 + share * value);
            }
        }
        let update = self.trainer.update(step)?;
        let (used, perplexity) = usage(&all_codes, S::Codes::SIZE);
        let mut metrics = vec![("nll", nll_value)];
        metrics.extend(means);
        metrics.extend([("lr", update.lr), ("grad_norm", update.grad_norm)]);
        metrics.extend([("batch_usage", used as f64), ("batch_perplexity", perplexity)]);
        Ok(StepReport { loss: update.loss, metrics })
    }

    fn checkpoint(&self) -> Result<Files> {
        self.trainer.checkpoint()
    }

    fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        self.trainer.restore(read)
    }

    fn averaged_file(&self) -> Result<Files> {
        self.trainer.averaged_file()
    }

    fn share_of_start(&self) -> f64 {
        self.trainer.share_of_start()
    }
}

impl<S: DvaeShape, M: Trainable<S, D> + 'static, D: Backend<f32>> Learns<dyn ImageTokenizer>
    for FirstStageTrainer<S, M, D>
where
    Error: From<D::Err>,
{
    fn frozen(&self) -> Result<Box<dyn ImageTokenizer>> {
        Ok(self.with(self.trainer.averaged()?))
    }

    fn frozen_at(&self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<Box<dyn ImageTokenizer>> {
        Ok(self.with(self.trainer.read_averaged(read)?))
    }
}
