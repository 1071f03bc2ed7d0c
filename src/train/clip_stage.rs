//! CLIP in training: the symmetric contrastive loss over a batch of pairs (arXiv 2103.00020), with the learned temperature
//! held below its bound.

use super::stage::{Batch, Learns, Stage, StepReport};
use super::state::Files;
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::inference::{Embedder, FrozenClip};
use crate::models::clip::{self, Clip};
use crate::nn;
use crate::objective::contrastive;
use crate::ops::{Backend, argmax_rows};
use crate::shape::ClipShape;
use crate::spec::ClipConfig as Config;
use dfdx::prelude::*;

/// CLIP in training.
pub struct ClipTrainer<S: ClipShape, D: Backend<f32>> {
    trainer: Trainer<Clip<S, f32, D>, D>,
}

impl<S: ClipShape, D: Backend<f32>> ClipTrainer<S, D>
where
    Error: From<D::Err>,
{
    /// A fresh one.
    pub fn new(config: &Config, seed: u64, device: D) -> Result<Self> {
        let model: Clip<S, f32, D> = nn::build(&device, seed)?;
        let trainer = Trainer::new("clip", model, device, config.optimizer, config.ema, config.steps)?
            .bounded("logit_scale", config.max_scale.ln() as f32);
        Ok(ClipTrainer { trainer })
    }
}

impl<S: ClipShape, D: Backend<f32>> Stage for ClipTrainer<S, D>
where
    Error: From<D::Err>,
{
    fn name(&self) -> &'static str {
        "clip"
    }

    fn num_parameters(&self) -> usize {
        self.trainer.num_parameters()
    }

    fn step(&mut self, step: u64, batch: &Batch) -> Result<StepReport> {
        let device = self.trainer.device().clone();
        let model = self.trainer.model();
        let pixels = clip::normalised(&batch.pixels);
        let images = model.image(batch.size, &pixels, &device, OwnedTape::default())?;
        let texts = model.text(&batch.text, OwnedTape::default())?;
        let logits = model.logits(images, texts)?;
        let plain = logits.with_empty_tape().split_tape().0;
        let right = argmax_rows(plain)?.iter().enumerate().filter(|&(pair, &best)| pair == best as usize).count();
        // One part: a pair is contrasted with all others of its batch.
        self.trainer.add(step, contrastive(logits)?)?;
        let update = self.trainer.update(step)?;
        let accuracy = right as f64 / batch.size as f64;
        Ok(StepReport {
            loss: update.loss,
            metrics: vec![("accuracy", accuracy), ("lr", update.lr), ("grad_norm", update.grad_norm)],
        })
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

impl<S: ClipShape, D: Backend<f32>> Learns<dyn Embedder> for ClipTrainer<S, D>
where
    Error: From<D::Err>,
{
    fn frozen(&self) -> Result<Box<dyn Embedder>> {
        Ok(Box::new(FrozenClip::new(self.trainer.averaged()?, self.trainer.device().clone())))
    }

    fn frozen_at(&self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<Box<dyn Embedder>> {
        Ok(Box::new(FrozenClip::new(self.trainer.read_averaged(read)?, self.trainer.device().clone())))
    }
}
