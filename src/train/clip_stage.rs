//! CLIP in training: the symmetric contrastive loss over a batch of pairs (arXiv 2103.00020), with the learned temperature
//! held below its bound.

use super::config::ClipStage as Config;
use super::stage::{Batch, Numbers, Ranker, Stage};
use super::state::Files;
use super::trainer::{Sum, Trainer};
use crate::error::{Error, Result};
use crate::models::clip::{self, Clip, Embedder, by_chunk};
use crate::nn;
use crate::objective::contrastive;
use crate::ops::{Backend, argmax_rows, to_vec};
use crate::shape::ClipShape;
use dfdx::prelude::*;

/// Pairs that are embedded at once after training, to bound memory.
const CHUNK: usize = 64;

/// CLIP in training.
pub struct ClipStage<S: ClipShape, D: Backend<f32>> {
    trainer: Trainer<Clip<S, f32, D>, D>,
    frozen: Clip<S, f32, D>,
}

impl<S: ClipShape, D: Backend<f32>> ClipStage<S, D>
where
    Error: From<D::Err>,
{
    /// A fresh one.
    pub fn new(config: &Config, seed: u64, device: D) -> Result<Self> {
        let model: Clip<S, f32, D> = nn::build(&device, seed, clip::init::<S>())?;
        let frozen = model.clone();
        let trainer = Trainer::new("clip", model, device, config.optimizer, config.ema, config.steps)?
            .bounded("logit_scale", config.max_scale.ln() as f32);
        Ok(ClipStage { trainer, frozen })
    }
}

impl<S: ClipShape, D: Backend<f32>> Stage for ClipStage<S, D>
where
    Error: From<D::Err>,
{
    fn name(&self) -> &'static str {
        "clip"
    }

    fn num_parameters(&self) -> usize {
        self.trainer.num_parameters()
    }

    fn step(&mut self, step: u64, batch: &Batch) -> Result<Numbers> {
        let device = self.trainer.device().clone();
        let model = self.trainer.model();
        let pixels = clip::normalised(&batch.pixels);
        let images = model.image(batch.size, &pixels, &device, OwnedTape::default())?;
        let texts = model.text(&batch.text, OwnedTape::default())?;
        let logits = model.logits(images, texts)?;
        let plain = logits.with_empty_tape().split_tape().0;
        let right = argmax_rows(plain)?.iter().enumerate().filter(|&(pair, &best)| pair == best as usize).count();
        // One part: a pair is contrasted with all others of its batch.
        let mut sum = Sum::default();
        self.trainer.add(step, contrastive(logits)?, &mut sum)?;
        let update = self.trainer.update(step, sum)?;
        Ok(vec![
            ("loss", update.loss),
            ("accuracy", right as f64 / batch.size as f64),
            ("lr", update.lr),
            ("grad_norm", update.grad_norm),
        ])
    }

    fn checkpoint(&self) -> Result<Files> {
        self.trainer.checkpoint()
    }

    fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        self.trainer.restore(read)?;
        self.freeze()
    }

    fn freeze(&mut self) -> Result<()> {
        self.frozen = self.trainer.averaged()?;
        Ok(())
    }

    fn averaged_file(&self) -> Result<Files> {
        self.trainer.averaged_file()
    }

    fn freeze_at(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        self.frozen = self.trainer.read_averaged(read)?;
        Ok(())
    }

    fn share_of_start(&self) -> f64 {
        self.trainer.share_of_start()
    }
}

impl<S: ClipShape, D: Backend<f32>> Ranker for ClipStage<S, D> where Error: From<D::Err> {}

impl<S: ClipShape, D: Backend<f32>> Embedder for ClipStage<S, D>
where
    Error: From<D::Err>,
{
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
        self.frozen.text.scale()
    }

    fn images(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        by_chunk(pixels, 3 * S::SIDE * S::SIDE, CHUNK, |pixels, batch| {
            let pixels = clip::normalised(pixels);
            Ok(to_vec(self.frozen.image(batch, &pixels, self.trainer.device(), NoneTape)?)?)
        })
    }

    fn texts(&self, ids: &[u32]) -> Result<Vec<f32>> {
        by_chunk(ids, S::Context::SIZE, CHUNK, |ids, _| Ok(to_vec(self.frozen.text(ids, NoneTape)?)?))
    }
}
