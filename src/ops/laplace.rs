//! The logit-Laplace likelihood of pictures (paper A.3).

use super::tape::{Keep, Unary, unary};
use crate::kernels::{Real, cpu::laplace};
use dfdx::prelude::{Device, *};
use std::sync::Arc;

/// −ln f(x | μ, b) summed over each picture, in nats. Shapes: stats (B, H, W, 2C), the first C maps μ and the last C ln b;
/// x (B·H·W·C) in (0, 1); result (B,).
pub trait LaplaceOp<E: Real>: Device<E> {
    /// ln 2 + ln b + ln x(1−x) + |logit x − μ|·e^{−ln b}; `clamp` bounds |ln b| (training), `None` leaves it free (parity).
    fn logit_laplace<B: Dim, H: Dim, W: Dim, C: Dim, T: Tape<E, Self>>(
        stats: Tensor<(B, H, W, C), E, Self, T>,
        x: Vec<E>,
        clamp: Option<f64>,
    ) -> Result<Tensor<(B,), E, Self, T>, Self::Err> {
        composed(stats, x, clamp)
    }
}

/// The composition of dfdx operations that [`LaplaceOp::logit_laplace`] equals.
pub fn composed<B: Dim, H: Dim, W: Dim, C: Dim, E: Real, D: Device<E>, T: Tape<E, D>>(
    stats: Tensor<(B, H, W, C), E, D, T>,
    x: Vec<E>,
    clamp: Option<f64>,
) -> Result<Tensor<(B,), E, D, T>, D::Err> {
    let device = stats.device().clone();
    let (batch, height, width, maps) = *stats.shape();
    let (pixels, channels) = (batch.size() * height.size() * width.size(), maps.size() / 2);
    let stats = stats.try_reshape_like(&(pixels, 2 * channels))?;
    let log_b = stats.with_empty_tape().try_slice((0..pixels, channels..2 * channels))?;
    let log_b = match clamp {
        Some(bound) => log_b.try_clamp(-bound, bound)?,
        None => log_b,
    };
    let mu = stats.try_slice((0..pixels, 0..channels))?;
    let logit: Vec<E> = x.iter().map(|&x| (x / (E::one() - x)).ln()).collect();
    let constant: Vec<E> = x.iter().map(|&x| E::of(2f64.ln()) + (x * (E::one() - x)).ln()).collect();
    let distance = mu.try_sub(device.try_tensor_from_vec(logit, (pixels, channels))?)?.try_abs()?;
    let precision = log_b.with_empty_tape().try_negate()?.try_exp()?;
    let nll = distance.try_mul(precision)?.try_add(log_b)?;
    let nll = nll.try_add(device.try_tensor_from_vec(constant, (pixels, channels))?)?;
    nll.try_reshape_like(&(batch, height.size() * width.size() * channels))?.try_sum::<(B,), Axis<1>>()
}

impl<E: Real> LaplaceOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn logit_laplace<B: Dim, H: Dim, W: Dim, C: Dim, T: Tape<E, Self>>(
        stats: Tensor<(B, H, W, C), E, Self, T>,
        x: Vec<E>,
        clamp: Option<f64>,
    ) -> Result<Tensor<(B,), E, Self, T>, Self::Err> {
        let (batch, _, _, maps) = *stats.shape();
        let channels = maps.size() / 2;
        let per_picture = x.len() / batch.size().max(1);
        unary(stats, (batch,), per_picture_sums(x, per_picture, channels, clamp))
    }
}

fn per_picture_sums<E: Real>(x: Vec<E>, per_picture: usize, channels: usize, clamp: Option<f64>) -> Unary<E> {
    let target = Arc::new(x);
    let kept = target.clone();
    let forward = move |stats: &[E], sums: &mut [E]| {
        let mut nll = vec![E::zero(); target.len()];
        laplace::forward(&target, stats, channels, clamp, &mut nll);
        for (sum, picture) in sums.iter_mut().zip(nll.chunks(per_picture)) {
            *sum = E::of(picture.iter().map(|v| v.as_f64()).sum());
        }
    };
    Unary::new(Keep::Input, forward, move |dsums, stats, dstats| {
        let dnll: Vec<E> = dsums.iter().flat_map(|&d| std::iter::repeat_n(d, per_picture)).collect();
        laplace::backward(&dnll, &kept, stats, channels, clamp, dstats);
    })
}
