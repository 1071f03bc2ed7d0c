//! What every operation of our own needs of dfdx: values in, values out, a backward closure on the tape.

use crate::kernels::{Real, Values};
use crate::shape::Ranked;
use dfdx::prelude::*;
use dfdx::tensor::CpuError;
#[cfg(feature = "cuda")]
use {crate::kernels::cuda::gpu::Address, dfdx::tensor::CudaError};

/// The gradients that a backward closure receives.
pub(super) type Grads<E, D = Cpu> = Gradients<E, D>;

/// The same tensor without its typed sides.
pub(super) fn erase<S: Ranked, E: Real, D: Storage<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
) -> Tensor<S::Sides, E, D, T> {
    x.try_realize::<S::Sides>().unwrap_or_else(|_| unreachable!("run-time sides fit every shape"))
}

/// The same tensor with other typed sides of one rank: only the type changes.
pub fn retyped<S: Ranked, R: Ranked<Sides = S::Sides>, E: Real, D: Storage<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
) -> Tensor<R, E, D, T> {
    typed(erase(x))
}

/// The same tensor with typed sides, which must be those that it has.
pub(super) fn typed<S: Ranked, E: Real, D: Storage<E>, T: Tape<E, D>>(
    x: Tensor<S::Sides, E, D, T>,
) -> Tensor<S, E, D, T> {
    x.try_realize::<S>().unwrap_or_else(|x| panic!("an operation made {:?}, which its type does not allow", x.shape()))
}

type Visit<'a, E, D> = &'a mut dyn FnMut(&mut <D as Storage<E>>::Vec);
type Lend<E, D> = dyn Fn(&mut Grads<E, D>, Visit<'_, E, D>) -> Result<(), <D as HasErr>::Err>;

/// Where the gradient of a tensor lies. dfdx's own handle (`ghost`) cannot be named outside it; a closure over one can.
pub(super) struct Slot<E: Real, D: Storage<E> = Cpu>(Box<Lend<E, D>>);

/// The slot of the gradient of `x`; it does not keep the values of `x` alive.
pub(super) fn slot<S: Shape, E: Real, D: Storage<E>>(x: &Tensor<S, E, D>) -> Slot<E, D> {
    let ghost = x.ghost();
    Slot(Box::new(move |grads, visit| {
        visit(grads.get_or_alloc_mut(&ghost)?);
        Ok(())
    }))
}

#[cfg(feature = "cuda")]
impl Slot<f32, Cuda> {
    /// Where the gradient lies on the GPU; it stays there while the tape runs.
    pub(super) fn address(&self, grads: &mut Grads<f32, Cuda>) -> Result<Address, CudaError> {
        let mut found = Address::NONE;
        (self.0)(grads, &mut |gradient| found = Address::of::<f32>(gradient))?;
        Ok(found)
    }
}

impl<E: Real> Slot<E> {
    /// Takes the gradient of an output. It is left empty: its producer is the last that reads it, so the memory goes early.
    pub(super) fn take(&self, grads: &mut Grads<E>) -> Result<Vec<E>, CpuError> {
        let mut taken = Vec::new();
        (self.0)(grads, &mut |gradient| taken = std::mem::take(gradient))?;
        Ok(taken)
    }

    /// Lets `f` accumulate into the gradient of an input.
    pub(super) fn accumulate(&self, grads: &mut Grads<E>, f: impl FnOnce(&mut [E])) -> Result<(), CpuError> {
        let mut f = Some(f);
        (self.0)(grads, &mut |gradient| {
            if let Some(f) = f.take() {
                f(gradient);
            }
        })
    }
}

type Forward<E> = Box<dyn FnOnce(&[E], &mut [E])>;
type Backward<E> = Box<dyn FnOnce(&[E], &[E], &mut [E])>;

/// What a unary operation does, whatever the shape.
pub(super) struct Unary<E> {
    keep: Keep,
    forward: Forward<E>,
    backward: Backward<E>,
}

impl<E> Unary<E> {
    /// `forward` maps the values, `backward` gets (dy, the input's values, dx). `keep` says which values the backward pass needs.
    pub(super) fn new(
        keep: Keep,
        forward: impl FnOnce(&[E], &mut [E]) + 'static,
        backward: impl FnOnce(&[E], &[E], &mut [E]) + 'static,
    ) -> Self {
        Unary { keep, forward: Box::new(forward), backward: Box::new(backward) }
    }
}

/// A unary operation on `x`, whose result has the shape `shape`. The function that makes `what` should be generic in `E` alone:
/// closures are compiled anew for whatever the functions around them are generic in.
pub(super) fn unary<S: Ranked, O: Ranked, E: Real, T: Tape<E, Cpu>>(
    x: Tensor<S, E, Cpu, T>,
    shape: O,
    what: Unary<E>,
) -> Result<Tensor<O, E, Cpu, T>, CpuError> {
    Ok(typed(erased_unary(erase(x), shape.concrete(), what)?))
}

fn erased_unary<S: Shape, O: Shape, E: Real, T: Tape<E, Cpu>>(
    x: Tensor<S, E, Cpu, T>,
    shape: O,
    Unary { keep, forward, backward }: Unary<E>,
) -> Result<Tensor<O, E, Cpu, T>, CpuError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let xs = Values::of(&x);
    let mut ys = vec![E::zero(); shape.num_elements()];
    forward(&xs, &mut ys);
    let kept = (keep == Keep::Input).then_some(xs);
    let y = device.try_tensor_from_vec(ys, shape)?;
    let (x_slot, y_slot) = (slot(&x), slot(&y));
    tape.add_backward_op(move |grads| {
        let dy = y_slot.take(grads)?;
        x_slot.accumulate(grads, |dx| backward(&dy, kept.as_deref().unwrap_or_default(), dx))
    });
    Ok(y.put_tape(tape))
}

/// What a unary operation's backward pass needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Input,
    Nothing,
}
