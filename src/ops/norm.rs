//! Layer normalisation of the last axis.

use super::tape::{erase, slot, typed};
use crate::kernels::{Real, Values, cpu::norm};
use crate::shape::Rows;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// y = (x − mean)/√(var + ε)·gain + bias over the last axis. Shapes: x, y (…, C), gain, bias (C,).
pub trait NormOp<E: Real>: Device<E> {
    /// Normalises each row; the variance is the population's.
    fn layer_norm<S: Rows<C>, C: ConstDim, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        gain: &Tensor<(C,), E, Self>,
        bias: &Tensor<(C,), E, Self>,
        epsilon: f64,
    ) -> Result<Tensor<S, E, Self, T>, Self::Err> {
        composed(x, gain, bias, epsilon)
    }
}

/// The composition of dfdx operations that [`NormOp::layer_norm`] equals.
pub fn composed<S: Rows<C>, C: ConstDim, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
    gain: &Tensor<(C,), E, D>,
    bias: &Tensor<(C,), E, D>,
    epsilon: f64,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let shape = *x.shape();
    let rows = (shape.rows(), C::default());
    let x = x.try_reshape_like(&rows)?.try_normalize::<Axis<1>>(epsilon)?;
    let y = x.try_mul(gain.retaped::<T>().try_broadcast_like(&rows)?)?;
    y.try_add(bias.retaped::<T>().try_broadcast_like(&rows)?)?.try_reshape_like(&shape)
}

impl<E: Real> NormOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn layer_norm<S: Rows<C>, C: ConstDim, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        gain: &Tensor<(C,), E, Self>,
        bias: &Tensor<(C,), E, Self>,
        epsilon: f64,
    ) -> Result<Tensor<S, E, Self, T>, Self::Err> {
        Ok(typed(on_cpu(erase(x), erase(gain.clone()), erase(bias.clone()), epsilon)?))
    }
}

fn on_cpu<S: Shape, E: Real, T: Tape<E, Cpu>>(
    x: Tensor<S, E, Cpu, T>,
    gain: Tensor<[usize; 1], E, Cpu>,
    bias: Tensor<[usize; 1], E, Cpu>,
    epsilon: f64,
) -> Result<Tensor<S, E, Cpu, T>, CpuError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let (xs, gains, biases) = (Values::of(&x), Values::of(&gain), Values::of(&bias));
    let (cols, rows) = (gains.len(), xs.len() / gains.len());
    let mut ys = vec![E::zero(); xs.len()];
    let (mut mean, mut rstd) = (vec![E::zero(); rows], vec![E::zero(); rows]);
    norm::forward(&xs, &gains, &biases, epsilon, &mut ys, &mut mean, &mut rstd);
    let y = device.try_tensor_from_vec(ys, *x.shape())?;
    let (x_slot, gain_slot, bias_slot, y_slot) = (slot(&x), slot(&gain), slot(&bias), slot(&y));
    tape.add_backward_op(move |grads| {
        let dy = y_slot.take(grads)?;
        let (mut dgain, mut dbias) = (vec![E::zero(); cols], vec![E::zero(); cols]);
        x_slot.accumulate(grads, |dx| norm::backward(&dy, &xs, &gains, &mean, &rstd, dx, &mut dgain, &mut dbias))?;
        gain_slot.accumulate(grads, |total| total.iter_mut().zip(&dgain).for_each(|(t, &d)| *t += d))?;
        bias_slot.accumulate(grads, |total| total.iter_mut().zip(&dbias).for_each(|(t, &d)| *t += d))
    });
    Ok(y.put_tape(tape))
}
