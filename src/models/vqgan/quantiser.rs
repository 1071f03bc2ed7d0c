//! From latents to codes: the largest logit (GumbelVQ) or the nearest code (VQModel).

use super::Config;
use crate::kernels::cpu::argmax;
use crate::models::feature_map::{Conv, FeatureMap, Find, take};
use crate::{Error, Result};
use rayon::prelude::*;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantiserKind {
    /// `GumbelVQ`: a 1×1 convolution to logits, relaxed in training.
    Gumbel,
    /// `VQModel`: the code at the least distance.
    Nearest,
}

/// The codebook, and what chooses from it.
#[derive(Debug, Clone)]
pub(super) struct Quantiser {
    /// Latents to logits; none where distances decide.
    projection: Option<Conv>,
    /// (codes, embed)
    codebook: Vec<f32>,
    embed: usize,
}

impl Quantiser {
    pub fn load(find: &mut Find<'_>, config: &Config, kind: QuantiserKind) -> Result<Self> {
        let Config { codes, embed, .. } = *config;
        let (projection, name) = match kind {
            QuantiserKind::Gumbel => (Some(Conv::load(find, "quantize.proj", [config.latent, codes, 1])?), "embed"),
            QuantiserKind::Nearest => (None, "embedding"),
        };
        let codebook = take(find, &format!("quantize.{name}.weight"), &[codes, embed])?;
        Ok(Quantiser { projection, codebook, embed })
    }

    pub fn scores(&self, latents: &FeatureMap) -> FeatureMap {
        match &self.projection {
            Some(projection) => projection.same(latents, false),
            None => self.nearness(latents),
        }
    }

    /// −‖z − e‖² for every latent z and code e.
    fn nearness(&self, latents: &FeatureMap) -> FeatureMap {
        let codes = self.codebook.len() / self.embed;
        let of = |z: &[f32]| -> Vec<f32> {
            let square = |e: &[f32]| -> f32 { z.iter().zip(e).map(|(a, b)| (a - b) * (a - b)).sum() };
            self.codebook.chunks(self.embed).map(|e| -square(e)).collect()
        };
        let values = latents.values.par_chunks(self.embed).flat_map_iter(of).collect();
        FeatureMap { channels: codes, values, ..*latents }
    }

    pub fn lookup(&self, codes: &[u32], sides: [usize; 3]) -> Result<FeatureMap> {
        FeatureMap::of_ids(&self.codebook, self.embed, codes, sides)
    }
}

/// The code of the largest score at each position, in raster order; `noise`, where there is some, is added first (GumbelVQ
/// samples so even in evaluation).
///
/// # Errors
/// [`Error::Usage`] where there is another number of noise values than of scores.
pub fn codes(scores: &FeatureMap, noise: Option<&[f32]>) -> Result<Vec<u32>> {
    let rows = scores.values.par_chunks(scores.channels);
    match noise {
        None => Ok(rows.map(|row| argmax(row) as u32).collect()),
        Some(noise) if noise.len() == scores.values.len() => {
            let noisy = |(row, noise): (&[f32], &[f32])| {
                let sums: Vec<f32> = row.iter().zip(noise).map(|(a, b)| a + b).collect();
                argmax(&sums) as u32
            };
            Ok(rows.zip(noise.par_chunks(scores.channels)).map(noisy).collect())
        }
        Some(noise) => {
            Err(Error::Usage(format!("noise for {} logits: got {} values", scores.values.len(), noise.len())))
        }
    }
}
