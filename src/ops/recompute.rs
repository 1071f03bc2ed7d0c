//! Activation checkpointing (arXiv 1604.06174): a part of a model keeps its input alone and runs again in the backward pass.

use crate::kernels::Real;
use dfdx::prelude::*;
use std::mem::replace;

type Taped<S, E, D> = Tensor<S, E, D, OwnedTape<E, D>>;

/// `forward(x)`, of whose tape nothing is kept: the backward pass runs `forward` once more. Values and gradients have the bits
/// of `forward` itself, as long as that is a pure function of x and of the parameters that it holds.
///
/// The tape of x must be a leaky one, as every tape here is: dfdx clears the others after each backward pass, and this is one
/// within another.
///
/// # Errors
/// What `forward` says.
pub fn recomputed<X: Shape, Y: Shape, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<X, E, D, T>,
    forward: impl Fn(Taped<X, E, D>) -> Result<Taped<Y, E, D>, D::Err> + 'static,
) -> Result<Tensor<Y, E, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let (y, _) = forward(x.clone().leaky_traced())?.split_tape();
    let y_slot = y.ghost();
    tape.add_backward_op(move |gradients| {
        let device = x.device().clone();
        let dy = replace(gradients.get_or_alloc_mut(&y_slot)?, Storage::<E>::try_alloc_len(&device, 0)?);
        // The second tape starts with all gradients so far: those of x and of the parameters are accumulated where they are.
        let (again, mut tape) = forward(x.traced(replace(gradients, Gradients::leaky())))?.split_tape();
        let slot = again.ghost();
        drop(again);
        tape.add_backward_op(move |gradients| {
            *gradients.get_or_alloc_mut(&slot)? = dy;
            Ok(())
        });
        // dfdx runs a tape backwards from a scalar only; this one has no part in it.
        *gradients = device.try_zeros::<()>()?.put_tape(tape).try_backward()?;
        Ok(())
    });
    Ok(y.put_tape(tape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    type Values = Tensor<Rank2<3, 4>, f64, Cpu>;
    type Forward =
        Rc<dyn Fn(Taped<Rank2<3, 4>, f64, Cpu>) -> Result<Taped<Rank2<3, 4>, f64, Cpu>, dfdx::tensor::CpuError>>;

    /// Values and gradients (of x and of w) of two blocks of one weight, around each of which x goes too.
    fn run(x: &Values, w: &Values, forward: &Forward, again: bool) -> [Vec<f64>; 3] {
        let block = |x: Taped<_, _, _>| {
            let (skip, forward) = (x.with_empty_tape(), forward.clone());
            let y = if again { recomputed(x, move |x| forward(x)) } else { forward(x) };
            y.unwrap() + skip
        };
        let y = block(block(x.leaky_trace()));
        let values = y.as_vec();
        let gradients = y.square().sum::<(), _>().backward();
        [values, gradients.get(x).as_vec(), gradients.get(w).as_vec()]
    }

    #[test]
    fn values_and_gradients_have_the_same_bits_and_it_runs_once_more() {
        let device = Cpu::default();
        let (x, w): (Values, Values) = (device.sample_normal(), device.sample_normal());
        let calls = Rc::new(Cell::new(0));
        let (held, counted) = (w.clone(), calls.clone());
        let forward: Forward = Rc::new(move |x| {
            counted.set(counted.get() + 1);
            x.try_mul(held.clone())?.try_sin()
        });
        let plain = run(&x, &w, &forward, false);
        assert_eq!(calls.replace(0), 2);
        assert!(plain == run(&x, &w, &forward, true));
        assert_eq!(calls.replace(0), 4);
        // Without a tape it is the forward pass alone.
        let (held, y) = (forward.clone(), forward(x.leaky_trace()).unwrap());
        assert!(recomputed(x, move |x| held(x)).unwrap().as_vec() == y.as_vec());
        assert_eq!(calls.get(), 2);
    }
}
