//! y = x·wᵀ + b over the rows of a tensor of any rank.

use super::tape::{erase, slot, typed};
use crate::kernels::{Real, Values, cpu::linear};
use crate::shape::Rows;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// Linear maps. Shapes: x (…, I), w (O, I), b (O,), y (…, O).
pub trait LinearOp<E: Real>: Device<E> {
    /// y = x·wᵀ + b.
    ///
    /// # Errors
    /// When the device refuses, as in every operation of this module.
    fn linear<S: Rows<I>, I: ConstDim, O: ConstDim, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        w: &Tensor<(O, I), E, Self>,
        b: Option<&Tensor<(O,), E, Self>>,
    ) -> Result<Tensor<S::With<O>, E, Self, T>, Self::Err> {
        composed(x, w, b)
    }
}

/// The composition of dfdx operations that [`LinearOp::linear`] equals.
pub fn composed<S: Rows<I>, I: ConstDim, O: ConstDim, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
    w: &Tensor<(O, I), E, D>,
    b: Option<&Tensor<(O,), E, D>>,
) -> Result<Tensor<S::With<O>, E, D, T>, D::Err> {
    let shape = x.shape().with(O::default());
    let rows = x.shape().rows();
    let x = x.try_reshape_like(&(rows, I::default()))?;
    let y = x.try_matmul(w.retaped::<T>().try_permute::<(I, O), Axes2<1, 0>>()?)?;
    let y = match b {
        Some(b) => y.try_add(b.retaped::<T>().try_broadcast_like(&(rows, O::default()))?)?,
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
    ) -> Result<Tensor<S::With<O>, E, Self, T>, Self::Err> {
        let shape = x.shape().with(O::default()).concrete();
        Ok(typed(on_cpu(erase(x), erase(w.clone()), b.map(|b| erase(b.clone())), shape)?))
    }
}

fn on_cpu<X: Shape, Y: Shape, E: Real, T: Tape<E, Cpu>>(
    x: Tensor<X, E, Cpu, T>,
    w: Tensor<[usize; 2], E, Cpu>,
    b: Option<Tensor<[usize; 1], E, Cpu>>,
    shape: Y,
) -> Result<Tensor<Y, E, Cpu, T>, CpuError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let [outputs, inputs] = *w.shape();
    let (xs, ws, bs) = (Values::of(&x), Values::of(&w), b.as_ref().map(Values::of));
    let mut ys = vec![E::zero(); shape.num_elements()];
    linear::forward(&xs, &ws, bs.as_deref(), (inputs, outputs), &mut ys);
    let y = device.try_tensor_from_vec(ys, shape)?;
    let (x_slot, w_slot, b_slot, y_slot) = (slot(&x), slot(&w), b.as_ref().map(slot), slot(&y));
    tape.add_backward_op(move |grads| {
        let dy = y_slot.take(grads)?;
        x_slot.accumulate(grads, |dx| linear::backward_input(&dy, &ws, (inputs, outputs), dx))?;
        w_slot.accumulate(grads, |dw| linear::backward_weight(&dy, &xs, (inputs, outputs), dw))?;
        match b_slot {
            Some(b_slot) => b_slot.accumulate(grads, |db| linear::backward_bias(&dy, outputs, db)),
            None => Ok(()),
        }
    });
    Ok(y.put_tape(tape))
}
