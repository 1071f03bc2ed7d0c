//! The dVAE's step: −ln p(x | z) with relaxed codes z, and β times the analytic KL to the uniform prior (paper A.2).

use super::{Losses, Step, Traced, Trainable};
use crate::inference::first_stage::gumbel_noise;
use crate::models::dvae::Dvae;
use crate::ops::{Backend, argmax_rows, scalar};
use crate::shape::DvaeShape;
use dfdx::prelude::*;

impl<S: DvaeShape, D: Backend<f32>> Trainable<S, D> for Dvae<S, f32, D> {
    fn losses(&self, x: Traced<D>, step: Step<'_>) -> Result<Losses<D>, D::Err> {
        let spec = step.spec;
        let (tau, beta) = (spec.temperature.at(step.step, spec.steps), spec.kl_weight.at(step.step, spec.steps));
        let size = x.shape().0;
        let values = step.target.len() as f64;
        let logits = self.encoder.forward(x)?;
        let codes = argmax_rows(logits.with_empty_tape().split_tape().0)?;
        let noise = gumbel_noise::<S>((step.seed, step.step), step.first, size);
        let (z, kl) = D::relax(logits, noise, tau, spec.straight_through)?;
        let kl = kl.try_sum::<(), _>()?;
        let stats = self.decoder.forward(z)?;
        let nll = D::logit_laplace(stats, step.target, Some(spec.clamp_log_b))?.try_sum::<(), _>()?;
        let (nll_value, kl_value) = (f64::from(scalar(&nll)), f64::from(scalar(&kl)));
        let metrics = vec![
            ("kl", kl_value / (size * S::Grid::SIZE * S::Grid::SIZE) as f64),
            ("elbo", -(nll_value + kl_value) / values),
            ("temperature", tau),
            ("kl_weight", beta),
        ];
        Ok(Losses { nll, penalty: kl.try_mul(beta as f32)?, codes, metrics })
    }
}
