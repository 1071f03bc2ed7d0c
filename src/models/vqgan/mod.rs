//! VQGAN ([taming-transformers](https://github.com/CompVis/taming-transformers), commit 3ba01b2; arXiv 2012.09841): the first
//! stage of ruDALL-E, with the quantiser of `GumbelVQ` or of `VQModel`, under the published parameter names.
//!
//! **Inference only**: run-time sides, kernels on slices, no tape and no discriminator. Sizes come from a [`Config`] at run
//! time instead of a preset's types; so a picture of any size that the strides divide goes through, and no size costs
//! build time. Attention stands at the levels that the configuration names, whatever the size of the picture.
//!
//! Pictures are (B, H, W, 3) with values in [−1, 1]; a grid is (B, h, w) codes in raster order. Legend: C channels, V codes.

mod halves;
mod layers;
mod quantiser;

pub use quantiser::{QuantiserKind, codes};

use super::feature_map::{Conv, FeatureMap, Find};
use crate::{Error, Result};
use halves::{Decoder, Encoder};
use quantiser::Quantiser;
use serde_json::Value as Json;

/// The published configurations' `ddconfig`, `n_embed` and `embed_dim`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `ch`: channels before the first level; a multiple of 32, the norms' groups.
    pub channels: usize,
    /// `ch_mult`: the channels of each level, in these units.
    pub multipliers: Vec<usize>,
    /// `num_res_blocks`: residual blocks of an encoder's level.
    pub blocks: usize,
    /// The levels with attention, counted from 0 where the picture enters (see [`attention_levels`]).
    pub attention: Vec<usize>,
    /// `in_channels`
    pub inputs: usize,
    /// `out_ch`
    pub outputs: usize,
    /// `z_channels`
    pub latent: usize,
    /// `double_z`: whether the encoder gives twice as many.
    pub double: bool,
    /// `n_embed`
    pub codes: usize,
    /// `embed_dim`
    pub embed: usize,
}

impl Config {
    /// The published Gumbel VQGAN with 8192 codes at an eighth of the side, which ruDALL-E's is built like.
    pub fn gumbel_f8_8192() -> Self {
        Config {
            channels: 128,
            multipliers: vec![1, 1, 2, 4],
            blocks: 2,
            attention: vec![3],
            inputs: 3,
            outputs: 3,
            latent: 256,
            double: false,
            codes: 8192,
            embed: 256,
        }
    }

    /// From what `experiment import taming-gumbel` found.
    ///
    /// # Errors
    /// [`Error::Data`] where it is not that.
    pub fn parse(json: &Json) -> Result<Self> {
        let bad =
            |key: &str| Error::data("a VQGAN's configuration", format!("{key}: expected numbers, got {}", json[key]));
        // Far more than any has, and few enough that no product of them overflows.
        const MOST: usize = 1 << 20;
        const LEVELS: usize = 16;
        let number = |value: &Json| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= MOST);
        let one = |key: &str| number(&json[key]).ok_or_else(|| bad(key));
        let list = |key: &str| -> Result<Vec<usize>> {
            let list = json[key].as_array().filter(|list| list.len() <= LEVELS);
            list.and_then(|list| list.iter().map(number).collect()).ok_or_else(|| bad(key))
        };
        Ok(Config {
            channels: one("ch")?,
            multipliers: list("ch_mult")
                .and_then(|list| if list.is_empty() { Err(bad("ch_mult")) } else { Ok(list) })?,
            blocks: one("num_res_blocks")?,
            attention: list("attn_levels")?,
            inputs: one("in_channels")?,
            outputs: one("out_ch")?,
            latent: one("z_channels")?,
            double: false, // a Gumbel VQGAN gives logits of codes, no mean and variance
            codes: one("n_embed")?,
            embed: one("embed_dim")?,
        })
    }

    /// How many pixels of a side make one code of the grid's: 2 for every level but one.
    pub fn factor(&self) -> usize {
        1 << self.multipliers.len().saturating_sub(1)
    }

    fn widths(&self) -> Vec<usize> {
        self.multipliers.iter().map(|times| times * self.channels).collect()
    }

    fn attends(&self, level: usize) -> bool {
        self.attention.contains(&level)
    }

    fn check(&self, kind: QuantiserKind) -> Result<()> {
        const LARGEST: usize = 1 << 16;
        let wrong = |what: &str| Err(Error::Usage(format!("a VQGAN's configuration: {what}, got {self:?}")));
        let sizes = [self.channels, self.latent, self.codes, self.embed, self.inputs, self.outputs];
        let mut all = sizes.iter().chain(&self.multipliers);
        if self.multipliers.is_empty() || self.multipliers.len() > 16 {
            return wrong("expected 1 to 16 levels");
        }
        if !all.all(|size| (1..=LARGEST).contains(size)) || self.blocks > LARGEST {
            return wrong("expected sizes from 1 to 65536");
        }
        if !self.channels.is_multiple_of(32) {
            return wrong("expected channels in multiples of 32, the norms' groups");
        }
        if kind == QuantiserKind::Gumbel && self.latent != self.embed {
            return wrong("expected as many latent as embedding channels");
        }
        Ok(())
    }
}

/// The levels that a `ddconfig` gives attention: of `levels` whose sides are `resolution` halved again and again, those whose
/// side `attn_resolutions` names.
pub fn attention_levels(levels: usize, resolution: usize, attn_resolutions: &[usize]) -> Vec<usize> {
    (0..levels).filter(|&level| attn_resolutions.contains(&(resolution >> level.min(63)))).collect()
}

/// Encoder, quantiser and decoder.
#[derive(Debug, Clone)]
pub struct Vqgan {
    encoder: Encoder,
    quant_conv: Conv,
    quantiser: Quantiser,
    post_quant_conv: Conv,
    decoder: Decoder,
    inputs: usize,
    factor: usize,
}

impl Vqgan {
    /// Takes every parameter from `find(name, shape)`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a configuration that makes no model, what `find` says, and [`Error::Data`] where it gives another
    /// number of values.
    pub fn load(config: &Config, kind: QuantiserKind, find: &mut Find<'_>) -> Result<Self> {
        config.check(kind)?;
        let latent = if config.double { 2 * config.latent } else { config.latent };
        Ok(Vqgan {
            encoder: Encoder::load(find, config)?,
            quant_conv: Conv::load(find, "quant_conv", [latent, config.embed, 1])?,
            quantiser: Quantiser::load(find, config, kind)?,
            post_quant_conv: Conv::load(find, "post_quant_conv", [config.embed, config.latent, 1])?,
            decoder: Decoder::load(find, config)?,
            inputs: config.inputs,
            factor: config.factor(),
        })
    }

    /// What the quantiser sees of pictures: (B, h, w, embed).
    ///
    /// # Errors
    /// [`Error::Usage`] for sides that the strides do not divide, or other channels than the configuration's.
    pub fn latents(&self, pictures: &FeatureMap) -> Result<FeatureMap> {
        let FeatureMap { height, width, channels, .. } = *pictures;
        if height % self.factor != 0 || width % self.factor != 0 || channels != self.inputs {
            return Err(Error::Usage(format!(
                "a picture of {width}×{height} with {channels} channels: expected sides that are multiples of {} and {} \
                 channels",
                self.factor, self.inputs
            )));
        }
        Ok(self.quant_conv.same(&self.encoder.forward(pictures), false))
    }

    /// A score for each code at each position, (B, h, w, V): the logits of GumbelVQ, or minus the squared distance. The
    /// largest is chosen, by [`codes`].
    pub fn scores(&self, latents: &FeatureMap) -> FeatureMap {
        self.quantiser.scores(latents)
    }

    /// The codes of pictures, without noise: B·h·w ids.
    ///
    /// # Errors
    /// As [`Vqgan::latents`].
    pub fn encode(&self, pictures: &FeatureMap) -> Result<Vec<u32>> {
        codes(&self.scores(&self.latents(pictures)?), None)
    }

    /// The codebook's vectors of a grid of sides [B, h, w]: (B, h, w, embed).
    ///
    /// # Errors
    /// [`Error::Usage`] for a code that there is not, or another number of codes than B·h·w.
    pub fn lookup(&self, codes: &[u32], sides: [usize; 3]) -> Result<FeatureMap> {
        self.quantiser.lookup(codes, sides)
    }

    /// The pictures of a grid of codes: values around [−1, 1], for [`picture`] to clamp.
    ///
    /// # Errors
    /// As [`Vqgan::lookup`].
    pub fn decode(&self, codes: &[u32], sides: [usize; 3]) -> Result<FeatureMap> {
        Ok(self.decoder.forward(&self.post_quant_conv.same(&self.lookup(codes, sides)?, false)))
    }
}

/// Values in [0, 1] of what the decoder gives.
pub fn picture(decoded: FeatureMap) -> FeatureMap {
    decoded.map(|x| (x.clamp(-1.0, 1.0) + 1.0) / 2.0)
}

/// What the encoder takes of values in [0, 1].
pub fn mapped(pictures: FeatureMap) -> FeatureMap {
    pictures.map(|x| 2.0 * x - 1.0)
}
