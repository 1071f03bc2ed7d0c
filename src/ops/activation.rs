//! Pointwise nonlinearities.

use super::tape::{Keep, unary};
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
        Activation::ErfGelu => x.try_accurate_gelu(),
        Activation::Silu => gated(x, 1.0),
    }
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
        unary(
            x,
            shape,
            Keep::Input,
            move |x, y| activation::forward(kind, x, y),
            move |dy, x, dx| activation::backward(kind, dy, x, dx),
        )
    }
}
