//! The transformer with its weights fixed: the likelihood of tokens, and sequences that grow.

use super::decoder::{DecoderCache, DecoderDevice, row_bytes};
use super::{Autoregressive, Sequence, TokenModel};
use crate::error::{Error, Result};
use crate::kernels::cpu::attention;
use crate::mask::{Layout, Pattern};
use crate::models::transformer::{Activations, Tokens, Transformer};
use crate::nn::Precision;
use crate::ops::{Backend, Mask, to_vec};
use crate::shape::{BlockShape, TransformerShape};
use dfdx::prelude::{ConstDim, NoneTape};
use std::collections::HashMap;
use std::ops::Range;

/// One mask a layer; layers of one pattern share it.
pub fn masks(patterns: &[Pattern], layout: Layout) -> Vec<Mask> {
    let mut made: HashMap<Pattern, Mask> = HashMap::new();
    patterns.iter().map(|p| made.entry(*p).or_insert_with(|| Mask::new(*p, layout)).clone()).collect()
}

/// Which of some text slots are targets of the loss: all, or all but pads, whose ids come after all words (paper §2.2).
pub fn text_targets<S: TransformerShape>(text: &[u32], pad_loss: bool) -> Vec<bool> {
    let first_pad = (S::TextVocab::SIZE - S::Text::SIZE) as u32;
    text.iter().map(|&id| pad_loss || id < first_pad).collect()
}

/// The transformer with its weights fixed.
pub struct FrozenTransformer<S: TransformerShape, D: Backend<f32>> {
    model: Transformer<S, f32, D>,
    patterns: Vec<Pattern>,
    masks: Vec<Mask>,
    pad_loss: bool,
    decoders: DecoderCache,
}

impl<S: TransformerShape, D: Backend<f32>> FrozenTransformer<S, D> {
    /// `model` with a pattern and a mask for each layer; `pad_loss` says whether its figures of text count pads.
    pub fn new(model: Transformer<S, f32, D>, patterns: Vec<Pattern>, masks: Vec<Mask>, pad_loss: bool) -> Self {
        FrozenTransformer { model, patterns, masks, pad_loss, decoders: DecoderCache::default() }
    }
}

impl<S: TransformerShape, D: Backend<f32>> Autoregressive for FrozenTransformer<S, D>
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
        let gpu = if D::ON_HOST { None } else { DecoderDevice::gpu(<S::Block as BlockShape>::HeadDim::SIZE) };
        if !D::ON_HOST && gpu.is_none() && precision == Precision::F32 {
            return Ok(Box::new(Uncached { model: self, batch }));
        }
        let (device, ids) = (gpu.unwrap_or(DecoderDevice::Host), Transformer::<S, f32, D>::step_ids);
        self.decoders
            .sequence(device, precision, &self.masks, batch, ids, |precision| self.model.incremental(precision))
    }
}

/// Rows of tokens that grow together on a device without caches: each step runs whole sequences, of which a causal mask lets
/// no token see what is not known yet.
struct Uncached<'a, S: TransformerShape, D: Backend<f32>> {
    model: &'a FrozenTransformer<S, D>,
    batch: usize,
}

impl<S: TransformerShape, D: Backend<f32>> Sequence for Uncached<'_, S, D>
where
    Error: From<D::Err>,
{
    fn advance(&mut self, tokens: Tokens<'_>, slots: Range<usize>) -> Result<Vec<f32>> {
        let logits = self.model.logits(self.batch, tokens)?;
        let (codes, positions) = (S::Codes::SIZE, S::Image::SIZE);
        let next = slots.end - 1 - S::Text::SIZE;
        Ok(logits.chunks(positions * codes).flat_map(|row| &row[next * codes..(next + 1) * codes]).copied().collect())
    }

    fn repeat(&mut self, times: usize) -> Result<()> {
        self.batch *= times;
        Ok(())
    }
}

impl<S: TransformerShape, D: Backend<f32>> TokenModel for FrozenTransformer<S, D>
where
    Error: From<D::Err>,
{
    fn patterns(&self) -> Vec<Pattern> {
        self.patterns.clone()
    }

    fn text_targets(&self, text: &[u32]) -> Vec<bool> {
        text_targets::<S>(text, self.pad_loss)
    }

    fn nll(&self, size: usize, tokens: Tokens<'_>) -> Result<(Vec<f64>, Vec<f64>)> {
        let (text, image) = self.model.forward(size, tokens, &self.masks, Activations::Kept, NoneTape)?;
        let widen = |nll: Vec<f32>| nll.into_iter().map(f64::from).collect();
        let text = to_vec(D::cross_entropy(text, tokens.text)?)?;
        let image = to_vec(D::cross_entropy(image, tokens.image)?)?;
        Ok((widen(text), widen(image)))
    }

    fn logits(&self, size: usize, tokens: Tokens<'_>) -> Result<Vec<f32>> {
        let (_, image) = self.model.forward(size, tokens, &self.masks, Activations::Kept, NoneTape)?;
        Ok(to_vec(image)?)
    }

    fn attention(&self, tokens: Tokens<'_>, layer: usize) -> Result<Vec<f32>> {
        let Some(pattern) = self.patterns.get(layer) else {
            return Err(Error::Usage(format!("layer {layer}: the transformer has {}, counted from 0", S::DEPTH)));
        };
        let qkv = self.model.qkv(tokens, &self.masks[..layer])?;
        Ok(attention::weights(&qkv, <S::Block as BlockShape>::Heads::SIZE, &pattern.dense(self.layout())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::paper_order;
    use crate::models::presets::tiny;
    use crate::nn;
    use dfdx::prelude::Cpu;

    type Small = FrozenTransformer<tiny::Transformer, Cpu>;

    fn small(pad_loss: bool) -> Small {
        let depth = <tiny::Transformer as TransformerShape>::DEPTH;
        let patterns = paper_order(depth, 3);
        let masks = masks(&patterns, Layout { text: 12, grid: 4 });
        Small::new(nn::build(&Cpu::default(), 3).unwrap(), patterns, masks, pad_loss)
    }

    #[test]
    fn pads_are_targets_where_the_spec_says_so() {
        let targets = |pad_loss| small(pad_loss).text_targets(&[5, 63, 64, 75]);
        assert_eq!((targets(true), targets(false)), (vec![true; 4], vec![true, true, false, false]));
    }

    #[test]
    fn a_sequence_without_caches_has_the_logits_of_one_with_them() {
        let model = small(true);
        let (text, image): (Vec<u32>, Vec<u32>) =
            ((0..24).map(|i| i % 64).collect(), (0..32).map(|i| i * 7 % 32).collect());
        let tokens = Tokens { text: &text, image: &image };
        let mut cached = model.sequence(2, Precision::F32).unwrap();
        let mut uncached = Uncached { model: &model, batch: 2 };
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
