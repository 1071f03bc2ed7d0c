//! Pointwise nonlinearities.

use super::tape::{Keep, Unary, unary};
use crate::kernels::Real;
use crate::kernels::cpu::activation::{self, Activation};
use crate::shape::Ranked;
use dfdx::prelude::{Device, *};

/// y = f(x), elementwise.
pub trait ActivationOp<E: Real>: Device<E> {
    /// Applies `kind`.
    fn activation<S: Ranked, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        kind: Activation,
    ) -> Result<Tensor<S, E, Self, T>, Self::Err> {
        composed(x, kind)
    }
}

/// The composition of dfdx operations that [`ActivationOp::activation`] equals.
pub fn composed<S: Shape, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
    kind: Activation,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let gated = |x: Tensor<S, E, D, T>, slope: f64| {
        let gate = x.with_empty_tape().try_mul(E::of(slope))?.try_sigmoid()?;
        x.try_mul(gate)
    };
    match kind {
        Activation::Relu => x.try_relu(),
        Activation::QuickGelu => gated(x, 1.702),
        Activation::TanhGelu => x.try_fast_gelu(),
        Activation::ErfGelu => erf_gelu(x),
        Activation::Silu => gated(x, 1.0),
    }
}

/// dfdx 0.13's derivative of this function takes 1/√π for the density's 1/√(2π). What is missing to the true one,
/// −k·x·e^(−x²/2) with k = (1 − 1/√2)/√π, is the derivative of k·e^(−x²/2): added with its gradient and subtracted without.
fn erf_gelu<S: Shape, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let k = E::of((1.0 - std::f64::consts::FRAC_1_SQRT_2) / std::f64::consts::PI.sqrt());
    let bump = x.with_empty_tape().try_square()?.try_mul(E::of(-0.5))?.try_exp()?.try_mul(k)?;
    let still = bump.with_empty_tape().split_tape().0.try_add(E::zero())?; // an id of its own: no gradient flows back
    x.try_accurate_gelu()?.try_add(bump.try_sub(still)?)
}

impl<E: Real> ActivationOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn activation<S: Ranked, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        kind: Activation,
    ) -> Result<Tensor<S, E, Self, T>, Self::Err> {
        let shape = *x.shape();
        unary(x, shape, of_kind(kind))
    }
}

fn of_kind<E: Real>(kind: Activation) -> Unary<E> {
    let forward = move |x: &[E], y: &mut [E]| activation::forward(kind, x, y);
    Unary::new(Keep::Input, forward, move |dy, x, dx| activation::backward(kind, dy, x, dx))
}
