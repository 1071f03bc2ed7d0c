//! y = x·wᵀ + b over the rows of a tensor of any rank, and f(y) for a nonlinearity f.

use super::activation;
use super::products::{rounds, single as of, single_mut as of_mut};
use super::tape::{erase, slot, typed};
use crate::kernels::cpu::activation::{Activation, backward_in_place};
use crate::kernels::cpu::bf16::Rows as Rounded;
use crate::kernels::cpu::linear::{self, rounded};
use crate::kernels::{Real, Values};
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
    let (kept, ws, bs) = (Kept::of(Values::of(&x), inputs), Values::of(&w), b.as_ref().map(Values::of));
    let mut ys = vec![E::zero(); shape.num_elements()];
    // What the nonlinearity is taken of, for its derivative.
    let mut before = vec![E::zero(); if f.is_some() { ys.len() } else { 0 }];
    let (sizes, bias) = ((inputs, outputs), bs.as_deref());
    match f {
        Some(f) => kept.forward_activated(&ws, bias, sizes, f, (&mut before, &mut ys)),
        None => kept.forward(&ws, bias, sizes, &mut ys),
    }
    let y = device.try_tensor_from_vec(ys, shape)?;
    let (x_slot, w_slot, b_slot, y_slot) = (slot(&x), slot(&w), b.as_ref().map(slot), slot(&y));
    tape.add_backward_op(move |grads| {
        let mut dy = y_slot.take(grads)?;
        if let Some(f) = f {
            backward_in_place(f, &before, &mut dy);
        }
        x_slot.accumulate(grads, |dx| kept.backward_input(&dy, &ws, sizes, dx))?;
        w_slot.accumulate(grads, |dw| kept.backward_weight(&dy, sizes, dw))?;
        match b_slot {
            Some(b_slot) => b_slot.accumulate(grads, |db| linear::backward_bias(&dy, outputs, db)),
            None => Ok(()),
        }
    });
    Ok(y.put_tape(tape))
}

/// x as the forward pass multiplied it, which is what the backward pass needs of it.
enum Kept<X: Shape, E: Real> {
    /// As it is, shared with its tensor.
    Exact(Values<X, E>),
    /// Rounded. E is f32.
    Rounded(Rounded),
}

impl<X: Shape, E: Real> Kept<X, E> {
    fn of(x: Values<X, E>, inputs: usize) -> Self {
        if rounds::<E>() { Kept::Rounded(Rounded::of(of(&x), inputs)) } else { Kept::Exact(x) }
    }

    fn forward(&self, w: &[E], b: Option<&[E]>, sizes: (usize, usize), y: &mut [E]) {
        match self {
            Kept::Exact(x) => linear::forward(x, w, b, sizes, y),
            Kept::Rounded(x) => rounded::forward(x, of(w), b.map(of), sizes, of_mut(y)),
        }
    }

    fn forward_activated(
        &self,
        w: &[E],
        b: Option<&[E]>,
        sizes: (usize, usize),
        f: Activation,
        (z, y): (&mut [E], &mut [E]),
    ) {
        match self {
            Kept::Exact(x) => linear::forward_activated(x, w, b, sizes, f, (z, y)),
            Kept::Rounded(x) => {
                rounded::forward_activated(x, of(w), b.map(of), sizes, f, (of_mut(z), of_mut(y)));
            }
        }
    }

    fn backward_input(&self, dy: &[E], w: &[E], sizes: (usize, usize), dx: &mut [E]) {
        match self {
            Kept::Exact(_) => linear::backward_input(dy, w, sizes, dx),
            Kept::Rounded(_) => {
                rounded::backward_input(&Rounded::of(of(dy), sizes.1), of(w), sizes, of_mut(dx));
            }
        }
    }

    fn backward_weight(&self, dy: &[E], sizes: (usize, usize), dw: &mut [E]) {
        match self {
            Kept::Exact(x) => linear::backward_weight(dy, x, sizes, dw),
            Kept::Rounded(x) => rounded::backward_weight(of(dy), x, sizes, of_mut(dw)),
        }
    }
}
