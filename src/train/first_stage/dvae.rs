//! The dVAE's step: −ln p(x | z) with relaxed codes z, and β times the analytic KL to the uniform prior (paper A.2).

use super::{Losses, PictureModel, Pictures, Reconstructed, Stats, Step, Traced};
use crate::models::dvae::{Dvae, init};
use crate::nn::Init;
use crate::ops::{Backend, argmax_rows, scalar, to_vec};
use crate::random::Rng;
use crate::shape::{DvaeShape, Side};
use dfdx::prelude::*;
use rayon::prelude::*;

impl<S: DvaeShape, D: Backend<f32>> PictureModel<S, D> for Dvae<S, f32, D> {
    const NAME: &'static str = "dvae";

    fn init(name: &str, shape: &[usize]) -> Init {
        init(name, shape)
    }

    fn losses(&self, x: Traced<S, D>, step: Step<'_>) -> Result<Losses<D>, D::Err> {
        let spec = step.spec;
        let (tau, beta) = (spec.temperature.at(step.step, spec.steps), spec.kl_weight.at(step.step, spec.steps));
        let size = x.shape().0;
        let values = step.target.len() as f64;
        let logits = self.encoder.forward(x)?;
        let codes = argmax_rows(logits.with_empty_tape().split_tape().0)?;
        let (z, kl) = D::relax(logits, noise::<S>(&step, size), tau, spec.straight_through)?;
        let kl = kl.try_sum::<(), _>()?;
        let stats = self.decoder.forward(z)?;
        let nll = D::logit_laplace(stats, step.target, Some(spec.clamp_log_b))?.try_sum::<(), _>()?;
        let (nll_value, kl_value) = (f64::from(scalar(&nll)), f64::from(scalar(&kl)));
        let numbers = vec![
            ("kl", kl_value / (size * S::Grid::SIZE * S::Grid::SIZE) as f64),
            ("elbo", -(nll_value + kl_value) / values),
            ("temperature", tau),
            ("kl_weight", beta),
        ];
        Ok(Losses { nll, penalty: kl.try_mul(beta as f32)?, codes, numbers })
    }

    fn encode<B: Dim, H: Side, W: Side>(&self, x: Tensor<(B, H, W, Const<3>), f32, D>) -> Result<Vec<u32>, D::Err> {
        Dvae::encode(self, x)
    }

    fn decode<B: Dim, H: Side, W: Side>(
        &self,
        codes: &[u32],
        grid: (B, H, W),
        device: &D,
    ) -> Result<Stats<S, B, H, W, D>, D::Err> {
        Dvae::decode(self, codes, grid, device)
    }

    fn posterior(&self, x: Pictures<S, D, NoneTape>) -> Result<Option<Vec<f32>>, D::Err> {
        to_vec(self.encoder.forward(x)?).map(Some)
    }

    fn relaxed(
        &self,
        x: Pictures<S, D, NoneTape>,
        step: &Step<'_>,
        tau: f64,
    ) -> Result<Option<Reconstructed<S, D>>, D::Err> {
        let size = x.shape().0;
        let noise = noise::<S>(step, size);
        let (z, _) = D::relax(self.encoder.forward(x)?, noise, tau, step.spec.straight_through)?;
        let stats = self.decoder.forward(z)?;
        stats.try_reshape_like(&(size, S::Side::default(), S::Side::default(), Const)).map(Some)
    }

    fn kl(&self, x: Pictures<S, D, NoneTape>) -> Result<Vec<f64>, D::Err> {
        let rows = to_vec(D::kl_uniform(self.encoder.forward(x)?)?)?;
        let positions = S::Grid::SIZE * S::Grid::SIZE;
        Ok(rows.chunks(positions).map(|rows| rows.iter().map(|&v| f64::from(v)).sum()).collect())
    }
}

/// Standard Gumbel draws for `size` pictures, each from a stream of its own.
fn noise<S: DvaeShape>(step: &Step<'_>, size: usize) -> Vec<f32> {
    let each = S::Grid::SIZE * S::Grid::SIZE * S::Codes::SIZE;
    let mut noise = vec![0.0; size * each];
    noise.par_chunks_mut(each).enumerate().for_each(|(index, picture)| {
        let mut rng = Rng::new(step.seed, "gumbel", step.step, (step.first + index) as u64);
        picture.iter_mut().for_each(|g| *g = rng.gumbel() as f32);
    });
    noise
}
