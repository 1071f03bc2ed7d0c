//! What every operation of our own needs of dfdx: values in, values out, a backward closure on the tape.

use crate::kernels::Real;
use dfdx::prelude::*;
use dfdx::tensor::CpuError;

/// The gradients that a backward closure receives.
pub(super) type Grads<E> = Gradients<E, Cpu>;

/// The values of `x` in row-major order: one memcpy. `x` must be contiguous ([`ReshapeTo::try_contiguous`]).
pub(super) fn values<S: Shape, E: Real>(x: &Tensor<S, E, Cpu>) -> Vec<E> {
    let mut out = vec![E::zero(); x.shape().num_elements()];
    x.copy_into(&mut out);
    out
}

type Visit<'a, E> = &'a mut dyn FnMut(&mut Vec<E>);

/// Where the gradient of a tensor lies. dfdx's own handle (`ghost`) cannot be named outside it; a closure over one can.
pub(super) struct Slot<E: Real>(Box<dyn Fn(&mut Grads<E>, Visit<'_, E>) -> Result<(), CpuError>>);

/// The slot of the gradient of `x`; it does not keep the values of `x` alive.
pub(super) fn slot<S: Shape, E: Real>(x: &Tensor<S, E, Cpu>) -> Slot<E> {
    let ghost = x.ghost();
    Slot(Box::new(move |grads, visit| {
        visit(grads.get_or_alloc_mut(&ghost)?);
        Ok(())
    }))
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

/// A unary operation: `forward` maps the values, `backward` gets (dy, the input's values where `keep` says so, dx).
pub(super) fn unary<S: Shape, O: Shape, E: Real, T: Tape<E, Cpu>>(
    x: Tensor<S, E, Cpu, T>,
    shape: O,
    keep: Keep,
    forward: impl FnOnce(&[E], &mut [E]),
    backward: impl 'static + FnOnce(&[E], &[E], &mut [E]),
) -> Result<Tensor<O, E, Cpu, T>, CpuError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let xs = values(&x);
    let mut ys = vec![E::zero(); shape.num_elements()];
    forward(&xs, &mut ys);
    let kept = match keep {
        Keep::Input => xs,
        Keep::Nothing => Vec::new(),
    };
    let y = device.try_tensor_from_vec(ys, shape)?;
    let (x_slot, y_slot) = (slot(&x), slot(&y));
    tape.add_backward_op(move |grads| {
        let dy = y_slot.take(grads)?;
        x_slot.accumulate(grads, |dx| backward(&dy, &kept, dx))
    });
    Ok(y.put_tape(tape))
}

/// What a unary operation's backward pass needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Input,
    Nothing,
}
