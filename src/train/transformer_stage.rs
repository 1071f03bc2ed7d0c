//! The transformer in training (paper B.2): text and image cross-entropy, each a mean over its own tokens, 1/8 and 7/8.

use super::cached::{Engines, Place, row_bytes};
use super::config::TransformerStage as Config;
use super::stage::{Autoregressive, Batch, Numbers, Sequence, Stage, TokenModel};
use super::state::Files;
use super::trainer::{Sum, Trainer};
use crate::error::{Error, Result};
use crate::kernels::cpu::attention;
use crate::mask::{Layout, Pattern, paper_order};
use crate::models::transformer::{self, Activations, Tokens, Transformer};
use crate::nn::{self, Precision};
use crate::ops::{Backend, Mask, scalar, to_vec};
use crate::shape::{BlockShape, TransformerShape};
use dfdx::prelude::*;
use std::collections::HashMap;
use std::ops::Range;

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

/// One mask a layer; layers of one pattern share it.
pub fn masks(patterns: &[Pattern], layout: Layout) -> Vec<Mask> {
    let mut made: HashMap<Pattern, Mask> = HashMap::new();
    patterns.iter().map(|p| made.entry(*p).or_insert_with(|| Mask::new(*p, layout)).clone()).collect()
}

/// The transformer in training.
pub struct TransformerStage<S: TransformerShape, D: Backend<f32>> {
    config: Config,
    patterns: Vec<Pattern>,
    masks: Vec<Mask>,
    trainer: Trainer<Transformer<S, f32, D>, D>,
    frozen: Transformer<S, f32, D>,
    engines: Engines,
}

impl<S: TransformerShape, D: Backend<f32>> TransformerStage<S, D>
where
    Error: From<D::Err>,
{
    /// A fresh one.
    pub fn new(config: &Config, seed: u64, device: D) -> Result<Self> {
        let layout = Layout { text: S::Text::SIZE, grid: S::Grid::SIZE };
        let patterns = patterns(config, S::DEPTH)?;
        let masks = masks(&patterns, layout);
        let model: Transformer<S, f32, D> = nn::build(&device, seed, transformer::init(S::DEPTH))?;
        let frozen = model.clone();
        let trainer = Trainer::new("transformer", model, device, config.optimizer, config.ema, config.steps)?;
        Ok(TransformerStage { config: config.clone(), patterns, masks, trainer, frozen, engines: Engines::default() })
    }

    /// The weight of each text target: 1 over their number, pads left out where the spec says so.
    fn text_weights(&self, text: &[u32]) -> Vec<f32> {
        let targets = self.text_targets(text);
        let total = targets.iter().filter(|&&target| target).count().max(1) as f32;
        targets.into_iter().map(|target| if target { 1.0 / total } else { 0.0 }).collect()
    }
}

impl<S: TransformerShape, D: Backend<f32>> Stage for TransformerStage<S, D>
where
    Error: From<D::Err>,
{
    fn name(&self) -> &'static str {
        "transformer"
    }

    fn num_parameters(&self) -> usize {
        self.trainer.num_parameters()
    }

    fn step(&mut self, step: u64, batch: &Batch) -> Result<Numbers> {
        let device = self.trainer.device().clone();
        let activations = if self.config.recompute { Activations::Recomputed } else { Activations::Kept };
        let text_share = self.config.text_weight as f32;
        let weights = self.text_weights(&batch.text);
        let (mut sum, mut text_loss, mut image_loss) = (Sum::default(), 0.0, 0.0);
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
            self.trainer.add(step, loss, &mut sum)?;
        }
        let update = self.trainer.update(step, sum)?;
        Ok(vec![
            ("loss", update.loss),
            ("text_loss", text_loss),
            ("image_loss", image_loss),
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
}

impl<S: TransformerShape, D: Backend<f32>> Autoregressive for TransformerStage<S, D>
where
    Error: From<D::Err>,
{
    fn layout(&self) -> Layout {
        Layout { text: S::Text::SIZE, grid: S::Grid::SIZE }
    }

    fn codes(&self) -> usize {
        S::Codes::SIZE
    }

    fn row_bytes(&self) -> usize {
        row_bytes(<S::Block as BlockShape>::Dim::SIZE, &self.masks)
    }

    fn sequence(&self, batch: usize, precision: Precision) -> Result<Box<dyn Sequence + '_>> {
        let gpu = if D::ON_HOST { None } else { Place::gpu(<S::Block as BlockShape>::HeadDim::SIZE) };
        if !D::ON_HOST && gpu.is_none() && precision == Precision::F32 {
            return Ok(Box::new(Uncached { stage: self, batch }));
        }
        let (place, ids) = (gpu.unwrap_or(Place::Host), Transformer::<S, f32, D>::step_ids);
        self.engines.sequence(place, precision, &self.masks, batch, ids, |precision| self.frozen.incremental(precision))
    }
}

/// Rows of tokens that grow together on a device without caches: each step runs whole sequences, of which a causal mask lets
/// no token see what is not known yet.
struct Uncached<'a, S: TransformerShape, D: Backend<f32>> {
    stage: &'a TransformerStage<S, D>,
    batch: usize,
}

impl<S: TransformerShape, D: Backend<f32>> Sequence for Uncached<'_, S, D>
where
    Error: From<D::Err>,
{
    fn advance(&mut self, tokens: Tokens<'_>, slots: Range<usize>) -> Result<Vec<f32>> {
        let logits = self.stage.logits(self.batch, tokens)?;
        let (codes, positions) = (S::Codes::SIZE, S::Image::SIZE);
        let next = slots.end - 1 - S::Text::SIZE;
        Ok(logits.chunks(positions * codes).flat_map(|row| &row[next * codes..(next + 1) * codes]).copied().collect())
    }

    fn repeat(&mut self, times: usize) -> Result<()> {
        self.batch *= times;
        Ok(())
    }
}

impl<S: TransformerShape, D: Backend<f32>> TokenModel for TransformerStage<S, D>
where
    Error: From<D::Err>,
{
    fn patterns(&self) -> Vec<Pattern> {
        self.patterns.clone()
    }

    fn freeze(&mut self) -> Result<()> {
        self.frozen = self.trainer.averaged()?;
        self.engines = Engines::default();
        Ok(())
    }

    fn text_targets(&self, text: &[u32]) -> Vec<bool> {
        let first_pad = (S::TextVocab::SIZE - S::Text::SIZE) as u32;
        text.iter().map(|&id| self.config.pad_loss || id < first_pad).collect()
    }

    fn nll(&self, size: usize, tokens: Tokens<'_>) -> Result<(Vec<f64>, Vec<f64>)> {
        let (text, image) = self.frozen.forward(size, tokens, &self.masks, Activations::Kept, NoneTape)?;
        let widen = |nll: Vec<f32>| nll.into_iter().map(f64::from).collect();
        let text = to_vec(D::cross_entropy(text, tokens.text)?)?;
        let image = to_vec(D::cross_entropy(image, tokens.image)?)?;
        Ok((widen(text), widen(image)))
    }

    fn logits(&self, size: usize, tokens: Tokens<'_>) -> Result<Vec<f32>> {
        let (_, image) = self.frozen.forward(size, tokens, &self.masks, Activations::Kept, NoneTape)?;
        Ok(to_vec(image)?)
    }

    fn attention(&self, tokens: Tokens<'_>, layer: usize) -> Result<Vec<f32>> {
        let Some(pattern) = self.patterns.get(layer) else {
            return Err(Error::Usage(format!("layer {layer}: the transformer has {}, counted from 0", S::DEPTH)));
        };
        let qkv = self.frozen.qkv(tokens, &self.masks[..layer])?;
        Ok(attention::weights(&qkv, <S::Block as BlockShape>::Heads::SIZE, &pattern.dense(self.layout())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::presets::tiny;

    #[test]
    fn pads_are_targets_where_the_spec_says_so() {
        type Small = TransformerStage<tiny::Transformer, Cpu>;
        let targets = |pad_loss| {
            let config = Config { pad_loss, ..Config::default() };
            Small::new(&config, 3, Cpu::default()).unwrap().text_targets(&[5, 63, 64, 75])
        };
        assert_eq!((targets(true), targets(false)), (vec![true; 4], vec![true, true, false, false]));
    }

    #[test]
    fn a_sequence_without_caches_has_the_logits_of_one_with_them() {
        type Small = TransformerStage<tiny::Transformer, Cpu>;
        let stage = Small::new(&Config::default(), 3, Cpu::default()).unwrap();
        let (text, image): (Vec<u32>, Vec<u32>) =
            ((0..24).map(|i| i % 64).collect(), (0..32).map(|i| i * 7 % 32).collect());
        let tokens = Tokens { text: &text, image: &image };
        let mut cached = stage.sequence(2, Precision::F32).unwrap();
        let mut uncached = Uncached { stage: &stage, batch: 2 };
        for slots in std::iter::once(0..13).chain((13..28).map(|slot| slot..slot + 1)) {
            let (ours, theirs) =
                (uncached.advance(tokens, slots.clone()).unwrap(), cached.advance(tokens, slots).unwrap());
            assert_eq!(ours.len(), 2 * 32);
            assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-4), "{ours:?} {theirs:?}");
        }
        uncached.repeat(3).unwrap();
        assert_eq!(uncached.batch, 6);
    }
}
