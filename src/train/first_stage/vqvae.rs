//! The VQ-VAE's step: −ln p(x | e) with the nearest codes e, the codebook's loss and the commitment loss (arXiv 1711.00937).

use super::{Losses, Step, Traced, Trainable};
use crate::models::vqvae::Vqvae;
use crate::ops::Backend;
use crate::shape::DvaeShape;
use dfdx::prelude::*;

impl<S: DvaeShape, D: Backend<f32>> Trainable<S, D> for Vqvae<S, f32, D> {
    fn losses(&self, x: Traced<D>, step: Step<'_>) -> Result<Losses<D>, D::Err> {
        let quantised = self.forward(x)?;
        let nll = D::logit_laplace(quantised.stats, step.target, Some(step.spec.clamp_log_b))?.try_sum::<(), _>()?;
        let commitment = quantised.commitment_loss.try_mul(step.spec.commitment as f32)?;
        let penalty = quantised.codebook_loss.try_add(commitment)?;
        Ok(Losses { nll, penalty, codes: quantised.codes, metrics: Vec::new() })
    }
}
