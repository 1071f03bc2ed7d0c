//! y = x·wᵀ + b over the rows of a tensor of any rank, and f(y) for a nonlinearity f.

use super::activation;
use super::tape::{erase, slot, typed};
use crate::kernels::cpu::activation::{Activation, backward_in_place};
use crate::kernels::{Real, Values, cpu::linear};
use crate::shape::Rows;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// Linear maps. Shapes: x (…, I), w (O, I), b (O,), y (…, O).
pub trait LinearOp<E: Real>: Device<E> {
    /// y = x·wᵀ + b, or f(x·wᵀ + b).
    ///
    /// # Errors
    /// When the device refuses, as in every operation of this module.
    fn linear<S: Rows<I>, I: ConstDim, O: ConstDim, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        w: &Tensor<(O, I), E, Self>,
        b: Option<&Tensor<(O,), E, Self>>,
        f: Option<Activation>,
    ) -> Result<Tensor<S::With<O>, E, Self, T>, Self::Err> {
        composed(x, w, b, f)
    }
}

/// The composition of dfdx operations that [`LinearOp::linear`] equals.
pub fn composed<S: Rows<I>, I: ConstDim, O: ConstDim, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
    w: &Tensor<(O, I), E, D>,
    b: Option<&Tensor<(O,), E, D>>,
    f: Option<Activation>,
) -> Result<Tensor<S::With<O>, E, D, T>, D::Err> {
    let shape = x.shape().with(O::default());
    let rows = x.shape().rows();
    let x = x.try_reshape_like(&(rows, I::default()))?;
    let y = x.try_matmul(w.retaped::<T>().try_permute::<(I, O), Axes2<1, 0>>()?)?;
    let y = match b {
        Some(b) => y.try_add(b.retaped::<T>().try_broadcast_like(&(rows, O::default()))?)?,
        None => y,
    };
    let y = match f {
        Some(f) => activation::composed(y, f)?,
        None => y,
    };
    y.try_reshape_like(&shape)
}

impl<E: Real> LinearOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn linear<S: Rows<I>, I: ConstDim, O: ConstDim, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        w: &Tensor<(O, I), E, Self>,
        b: Option<&Tensor<(O,), E, Self>>,
        f: Option<Activation>,
    ) -> Result<Tensor<S::With<O>, E, Self, T>, Self::Err> {
        let shape = x.shape().with(O::default()).concrete();
        Ok(typed(on_cpu(erase(x), erase(w.clone()), b.map(|b| erase(b.clone())), f, shape)?))
    }
}

fn on_cpu<X: Shape, Y: Shape, E: Real, T: Tape<E, Cpu>>(
    x: Tensor<X, E, Cpu, T>,
    w: Tensor<[usize; 2], E, Cpu>,
    b: Option<Tensor<[usize; 1], E, Cpu>>,
    f: Option<Activation>,
    shape: Y,
) -> Result<Tensor<Y, E, Cpu, T>, CpuError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let [outputs, inputs] = *w.shape();
    let (xs, ws, bs) = (Values::of(&x), Values::of(&w), b.as_ref().map(Values::of));
    let mut ys = vec![E::zero(); shape.num_elements()];
    // What the nonlinearity is taken of, for its derivative.
    let mut before = vec![E::zero(); if f.is_some() { ys.len() } else { 0 }];
    let (sizes, bias) = ((inputs, outputs), bs.as_deref());
    match f {
        Some(f) => linear::forward_activated(&xs, &ws, bias, sizes, f, (&mut before, &mut ys)),
        None => linear::forward(&xs, &ws, bias, sizes, &mut ys),
    }
    let y = device.try_tensor_from_vec(ys, shape)?;
    let (x_slot, w_slot, b_slot, y_slot) = (slot(&x), slot(&w), b.as_ref().map(slot), slot(&y));
    tape.add_backward_op(move |grads| {
        let mut dy = y_slot.take(grads)?;
        if let Some(f) = f {
            backward_in_place(f, &before, &mut dy);
        }
        x_slot.accumulate(grads, |dx| linear::backward_input(&dy, &ws, sizes, dx))?;
        w_slot.accumulate(grads, |dw| linear::backward_weight(&dy, &xs, sizes, dw))?;
        match b_slot {
            Some(b_slot) => b_slot.accumulate(grads, |db| linear::backward_bias(&dy, outputs, db)),
            None => Ok(()),
        }
    });
    Ok(y.put_tape(tape))
}
