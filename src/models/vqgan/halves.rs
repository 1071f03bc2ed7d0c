//! Encoder and decoder.

use super::Config;
use super::layers::{Middle, Norm, Stage};
use crate::Result;
use crate::models::feature_map::{Conv, FeatureMap, Find};

/// Pictures to latents: levels of residual blocks, each but the last ending in a halving of both sides.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    conv_in: Conv,
    down: Vec<(Vec<Stage>, Option<Conv>)>,
    middle: Middle,
    norm_out: Norm,
    conv_out: Conv,
}

impl Encoder {
    pub fn load(find: &mut Find<'_>, config: &Config) -> Result<Self> {
        let widths = config.widths();
        let conv_in = Conv::load(find, "encoder.conv_in", [config.inputs, config.channels, 3])?;
        let mut channels = config.channels;
        let mut down = Vec::new();
        for (level, &width) in widths.iter().enumerate() {
            let name = format!("encoder.down.{level}");
            let mut stages = Vec::new();
            for index in 0..config.blocks {
                stages.push(Stage::load(find, &name, index, (channels, width), config.attends(level))?);
                channels = width;
            }
            let halving = match level + 1 < widths.len() {
                true => Some(Conv::load(find, &format!("{name}.downsample.conv"), [channels, channels, 3])?),
                false => None,
            };
            down.push((stages, halving));
        }
        let latent = if config.double { 2 * config.latent } else { config.latent };
        Ok(Encoder {
            conv_in,
            down,
            middle: Middle::load(find, "encoder.mid", channels)?,
            norm_out: Norm::load(find, "encoder.norm_out", channels)?,
            conv_out: Conv::load(find, "encoder.conv_out", [channels, latent, 3])?,
        })
    }

    pub fn forward(&self, pictures: &FeatureMap) -> FeatureMap {
        let mut x = self.conv_in.same(pictures, false);
        for (stages, halving) in &self.down {
            x = stages.iter().fold(x, |x, stage| stage.forward(&x));
            if let Some(halving) = halving {
                x = halving.strided(&x, 2, (0, 1)); // zeros on the right and below alone
            }
        }
        self.conv_out.same(&self.norm_out.swish(&self.middle.forward(&x)), false)
    }
}

/// Latents to pictures: the levels from the last to the first, each but the first ending in a doubling of both sides. A
/// level has one block more than the encoder's.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    conv_in: Conv,
    middle: Middle,
    up: Vec<(Vec<Stage>, Option<Conv>)>,
    norm_out: Norm,
    conv_out: Conv,
}

impl Decoder {
    pub fn load(find: &mut Find<'_>, config: &Config) -> Result<Self> {
        let widths = config.widths();
        let mut channels = widths.last().copied().unwrap_or(config.channels);
        let conv_in = Conv::load(find, "decoder.conv_in", [config.latent, channels, 3])?;
        let middle = Middle::load(find, "decoder.mid", channels)?;
        let mut up = Vec::new();
        for (level, &width) in widths.iter().enumerate().rev() {
            let name = format!("decoder.up.{level}");
            let mut stages = Vec::new();
            for index in 0..=config.blocks {
                stages.push(Stage::load(find, &name, index, (channels, width), config.attends(level))?);
                channels = width;
            }
            let doubling = match level {
                0 => None,
                _ => Some(Conv::load(find, &format!("{name}.upsample.conv"), [channels, channels, 3])?),
            };
            up.push((stages, doubling));
        }
        let norm_out = Norm::load(find, "decoder.norm_out", channels)?;
        let conv_out = Conv::load(find, "decoder.conv_out", [channels, config.outputs, 3])?;
        Ok(Decoder { conv_in, middle, up, norm_out, conv_out })
    }

    pub fn forward(&self, latents: &FeatureMap) -> FeatureMap {
        let mut x = self.middle.forward(&self.conv_in.same(latents, false));
        for (stages, doubling) in &self.up {
            x = stages.iter().fold(x, |x, stage| stage.forward(&x));
            if let Some(doubling) = doubling {
                x = doubling.same(&x.doubled(), false);
            }
        }
        self.conv_out.same(&self.norm_out.swish(&x), false)
    }
}
