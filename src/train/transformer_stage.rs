//! The transformer in training (paper B.2): text and image cross-entropy, each a mean over its own tokens, 1/8 and 7/8.

use super::stage::{Batch, Learns, Stage, StepReport};
use super::state::Files;
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::inference::{FrozenTransformer, TokenModel, masks, text_targets};
use crate::mask::{Layout, Pattern, paper_order};
use crate::models::transformer::{Activations, Tokens, Transformer};
use crate::nn;
use crate::ops::{Backend, Mask, scalar};
use crate::shape::TransformerShape;
use crate::spec::TransformerConfig as Config;
use dfdx::prelude::*;

/// The pattern of each of `depth` layers that the spec asks for.
///
/// # Errors
/// [`Error::Usage`] for an unknown name, or a list that is not as long as the transformer is deep.
pub fn patterns(config: &Config, depth: usize) -> Result<Vec<Pattern>> {
    if config.attention.is_empty() {
        return Ok(paper_order(depth, config.conv_kernel));
    }
    if config.attention.len() != depth {
        let got = config.attention.len();
        return Err(Error::Usage(format!(
            "transformer.attention: expected one pattern for each of {depth} layers, got {got}"
        )));
    }
    let named = |name: &String| match name.as_str() {
        "conv" => Ok(Pattern::Conv { kernel: config.conv_kernel }),
        name => name.parse(),
    };
    config.attention.iter().map(named).collect()
}

/// The transformer in training.
pub struct TransformerTrainer<S: TransformerShape, D: Backend<f32>> {
    config: Config,
    patterns: Vec<Pattern>,
    masks: Vec<Mask>,
    trainer: Trainer<Transformer<S, f32, D>, D>,
}

impl<S: TransformerShape, D: Backend<f32>> TransformerTrainer<S, D>
where
    Error: From<D::Err>,
{
    /// A fresh one.
    pub fn new(config: &Config, seed: u64, device: D) -> Result<Self> {
        let layout = Layout { text: S::Text::SIZE, grid: S::Grid::SIZE };
        let patterns = patterns(config, S::DEPTH)?;
        let masks = masks(&patterns, layout);
        let model: Transformer<S, f32, D> = nn::build(&device, seed)?;
        let trainer = Trainer::new("transformer", model, device, config.optimizer, config.ema, config.steps)?;
        Ok(TransformerTrainer { config: config.clone(), patterns, masks, trainer })
    }

    /// The weight of each text target: 1 over their number, pads left out where the spec says so.
    fn text_weights(&self, text: &[u32]) -> Vec<f32> {
        let targets = text_targets::<S>(text, self.config.pad_loss);
        let total = targets.iter().filter(|&&target| target).count().max(1) as f32;
        targets.into_iter().map(|target| if target { 1.0 / total } else { 0.0 }).collect()
    }
}

impl<S: TransformerShape, D: Backend<f32>> Stage for TransformerTrainer<S, D>
where
    Error: From<D::Err>,
{
    fn name(&self) -> &'static str {
        "transformer"
    }

    fn num_parameters(&self) -> usize {
        self.trainer.num_parameters()
    }

    fn step(&mut self, step: u64, batch: &Batch) -> Result<StepReport> {
        let device = self.trainer.device().clone();
        let activations = if self.config.recompute { Activations::Recomputed } else { Activations::Kept };
        let text_share = self.config.text_weight as f32;
        let weights = self.text_weights(&batch.text);
        let (mut text_loss, mut image_loss) = (0.0, 0.0);
        for part in batch.parts(self.config.accumulate) {
            let slots = part.start * S::Text::SIZE..part.end * S::Text::SIZE;
            let positions = part.start * S::Image::SIZE..part.end * S::Image::SIZE;
            let tokens = Tokens { text: &batch.text[slots.clone()], image: &batch.codes[positions] };
            let tape = OwnedTape::default();
            let (text, image) = self.trainer.model().forward(part.len(), tokens, &self.masks, activations, tape)?;
            let weights = device.try_tensor_from_vec(weights[slots].to_vec(), (tokens.text.len(),))?;
            let share = part.len() as f32 / batch.size as f32;
            let text = D::cross_entropy(text, tokens.text)?.try_mul(weights)?.try_sum::<(), _>()?;
            let image = D::cross_entropy(image, tokens.image)?.try_mean::<(), _>()?.try_mul(share)?;
            text_loss += f64::from(scalar(&text));
            image_loss += f64::from(scalar(&image));
            let loss = image.try_mul(1.0 - text_share)?.try_add(text.try_mul(text_share)?)?;
            self.trainer.add(step, loss)?;
        }
        let update = self.trainer.update(step)?;
        Ok(StepReport {
            loss: update.loss,
            metrics: vec![
                ("text_loss", text_loss),
                ("image_loss", image_loss),
                ("lr", update.lr),
                ("grad_norm", update.grad_norm),
            ],
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

impl<S: TransformerShape, D: Backend<f32>> TransformerTrainer<S, D>
where
    Error: From<D::Err>,
{
    fn with(&self, model: Transformer<S, f32, D>) -> Box<dyn TokenModel> {
        let (patterns, masks) = (self.patterns.clone(), self.masks.clone());
        Box::new(FrozenTransformer::new(model, patterns, masks, self.config.pad_loss))
    }
}

impl<S: TransformerShape, D: Backend<f32>> Learns<dyn TokenModel> for TransformerTrainer<S, D>
where
    Error: From<D::Err>,
{
    fn frozen(&self) -> Result<Box<dyn TokenModel>> {
        Ok(self.with(self.trainer.averaged()?))
    }

    fn frozen_at(&self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<Box<dyn TokenModel>> {
        Ok(self.with(self.trainer.read_averaged(read)?))
    }
}
