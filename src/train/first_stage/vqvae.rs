//! The VQ-VAE's step: −ln p(x | e) with the nearest codes e, the codebook's loss and the commitment loss (arXiv 1711.00937).

use super::{Losses, PictureModel, Pictures, Stats, Step, Traced};
use crate::models::vqvae::{Vqvae, init};
use crate::nn::Init;
use crate::ops::Backend;
use crate::shape::{DvaeShape, Side};
use dfdx::prelude::*;

impl<S: DvaeShape, D: Backend<f32>> PictureModel<S, D> for Vqvae<S, f32, D> {
    const NAME: &'static str = "vqvae";

    fn init(name: &str, shape: &[usize]) -> Init {
        init(name, shape)
    }

    fn losses(&self, x: Traced<S, D>, step: Step<'_>) -> Result<Losses<D>, D::Err> {
        let quantised = self.forward(x)?;
        let nll = D::logit_laplace(quantised.stats, step.target, Some(step.spec.clamp_log_b))?.try_sum::<(), _>()?;
        let commitment = quantised.commitment_loss.try_mul(step.spec.commitment as f32)?;
        let penalty = quantised.codebook_loss.try_add(commitment)?;
        Ok(Losses { nll, penalty, codes: quantised.codes, numbers: Vec::new() })
    }

    fn encode<B: Dim, H: Side, W: Side>(&self, x: Tensor<(B, H, W, Const<3>), f32, D>) -> Result<Vec<u32>, D::Err> {
        Vqvae::encode(self, x)
    }

    fn decode<B: Dim, H: Side, W: Side>(
        &self,
        codes: &[u32],
        grid: (B, H, W),
        _: &D,
    ) -> Result<Stats<S, B, H, W, D>, D::Err> {
        Vqvae::decode(self, codes, grid)
    }

    /// A nearest code has no posterior: all of ln V at each position.
    fn kl(&self, x: Pictures<S, D, NoneTape>) -> Result<Vec<f64>, D::Err> {
        let positions = (S::Grid::SIZE * S::Grid::SIZE) as f64;
        Ok(vec![positions * (S::Codes::SIZE as f64).ln(); x.shape().0])
    }
}
