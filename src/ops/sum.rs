//! x + gain·y: the residual connection.

use super::tape::{erase, slot, typed};
use crate::kernels::{Real, Values, cpu::sum};
use crate::shape::Ranked;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// Sums of two tensors of one shape.
pub trait SumOp<E: Real>: Device<E> {
    /// x + gain·y. The gain is a constant: 1 in a transformer, the post-gain of the dVAE's blocks (paper §2.1).
    fn add_scaled<S: Ranked, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        y: Tensor<S, E, Self, T>,
        gain: f64,
    ) -> Result<Tensor<S, E, Self, T>, Self::Err> {
        composed(x, y, gain)
    }
}

/// The composition of dfdx operations that [`SumOp::add_scaled`] equals.
pub fn composed<S: Shape, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
    y: Tensor<S, E, D, T>,
    gain: f64,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    y.try_mul(E::of(gain))?.try_add(x)
}

impl<E: Real> SumOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn add_scaled<S: Ranked, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        y: Tensor<S, E, Self, T>,
        gain: f64,
    ) -> Result<Tensor<S, E, Self, T>, Self::Err> {
        Ok(typed(on_cpu(erase(x), erase(y), gain)?))
    }
}

fn on_cpu<S: Shape, E: Real, T: Tape<E, Cpu>>(
    x: Tensor<S, E, Cpu, T>,
    y: Tensor<S, E, Cpu, T>,
    gain: f64,
) -> Result<Tensor<S, E, Cpu, T>, CpuError> {
    let (x, x_tape) = x.try_contiguous()?.split_tape();
    let (y, y_tape) = y.try_contiguous()?.split_tape();
    let mut tape = x_tape.merge(y_tape);
    let device = x.device().clone();
    let (mut zs, ys) = (Values::of(&x).to_vec(), Values::of(&y));
    sum::add_scaled(&mut zs, &ys, gain);
    let z = device.try_tensor_from_vec(zs, *x.shape())?;
    let (x_slot, y_slot, z_slot) = (slot(&x), slot(&y), slot(&z));
    tape.add_backward_op(move |grads| {
        let dz = z_slot.take(grads)?;
        x_slot.accumulate(grads, |dx| sum::add_scaled(dx, &dz, 1.0))?;
        y_slot.accumulate(grads, |dy| sum::add_scaled(dy, &dz, gain))
    });
    Ok(z.put_tape(tape))
}
