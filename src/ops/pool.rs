//! 2×2 max-pool and nearest ×2 upsampling of NHWC pictures.

use super::tape::{Keep, Unary, erase, slot, typed, unary};
use crate::kernels::{Real, Values, cpu::pool};
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// A batch of feature maps: their sides are run-time numbers.
pub type Maps<B, C> = (B, usize, usize, C);

/// Changes of resolution by two. Shapes: (B, H, W, C); sides must be even to be halved.
pub trait PoolOp<E: Real>: Device<E> {
    /// The largest of each 2×2; the first one takes the gradient on ties.
    fn max_pool<B: Dim, H: Dim, W: Dim, C: ConstDim, T: Tape<E, Self>>(
        x: Tensor<(B, H, W, C), E, Self, T>,
    ) -> Result<Tensor<Maps<B, C>, E, Self, T>, Self::Err> {
        max_composed(x)
    }

    /// Each value four times.
    fn upsample<B: Dim, H: Dim, W: Dim, C: ConstDim, T: Tape<E, Self>>(
        x: Tensor<(B, H, W, C), E, Self, T>,
    ) -> Result<Tensor<Maps<B, C>, E, Self, T>, Self::Err> {
        nearest_composed(x)
    }
}

/// The composition of dfdx operations that [`PoolOp::max_pool`] equals where no two values of a 2×2 are the same.
pub fn max_composed<B: Dim, H: Dim, W: Dim, C: ConstDim, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(B, H, W, C), E, D, T>,
) -> Result<Tensor<Maps<B, C>, E, D, T>, D::Err> {
    let (b, h, w, c) = *x.shape();
    let halved = (b, h.size() / 2, w.size() / 2, c);
    let split = (b.size(), h.size() / 2, 2usize, w.size() / 2, 2usize, c.size());
    let y: Tensor<(usize, usize, usize, usize), E, D, T> = x.try_reshape_like(&split)?.try_max::<_, Axes2<2, 4>>()?;
    y.try_reshape_like(&halved)
}

/// The composition of dfdx operations that [`PoolOp::upsample`] equals.
pub fn nearest_composed<B: Dim, H: Dim, W: Dim, C: ConstDim, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(B, H, W, C), E, D, T>,
) -> Result<Tensor<Maps<B, C>, E, D, T>, D::Err> {
    let (b, h, w, c) = *x.shape();
    let split = (b.size(), h.size(), 2usize, w.size(), 2usize, c.size());
    let x = x.try_reshape_like(&(b.size(), h.size(), w.size(), c.size()))?;
    let y = BroadcastTo::try_broadcast_like::<_, Axes2<2, 4>>(x, &split)?;
    y.try_reshape_like(&(b, 2 * h.size(), 2 * w.size(), c))
}

impl<E: Real> PoolOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn max_pool<B: Dim, H: Dim, W: Dim, C: ConstDim, T: Tape<E, Self>>(
        x: Tensor<(B, H, W, C), E, Self, T>,
    ) -> Result<Tensor<Maps<B, C>, E, Self, T>, Self::Err> {
        Ok(typed(max_on_cpu(erase(x))?))
    }

    fn upsample<B: Dim, H: Dim, W: Dim, C: ConstDim, T: Tape<E, Self>>(
        x: Tensor<(B, H, W, C), E, Self, T>,
    ) -> Result<Tensor<Maps<B, C>, E, Self, T>, Self::Err> {
        let (b, h, w, c) = *x.shape();
        let (height, width) = (2 * h.size(), 2 * w.size());
        unary(x, (b, height, width, c), nearest((b.size(), height, width, c.size())))
    }
}

/// `large`: the sides of the result.
fn nearest<E: Real>(large: (usize, usize, usize, usize)) -> Unary<E> {
    let forward = move |x: &[E], y: &mut [E]| pool::nearest_forward(large, x, y);
    Unary::new(Keep::Nothing, forward, move |dy, _, dx| pool::nearest_backward(large, dy, dx))
}

fn max_on_cpu<E: Real, T: Tape<E, Cpu>>(
    x: Tensor<[usize; 4], E, Cpu, T>,
) -> Result<Tensor<[usize; 4], E, Cpu, T>, CpuError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let [b, h, w, c] = *x.shape();
    let (dims, shape) = ((b, h, w, c), [b, h / 2, w / 2, c]);
    let mut ys = vec![E::zero(); shape.num_elements()];
    let mut argmax = vec![0u32; ys.len()];
    pool::max_forward(dims, &Values::of(&x), &mut ys, &mut argmax);
    let y = device.try_tensor_from_vec(ys, shape)?;
    let (x_slot, y_slot) = (slot(&x), slot(&y));
    tape.add_backward_op(move |grads| {
        let dy = y_slot.take(grads)?;
        x_slot.accumulate(grads, |dx| pool::max_backward(dims, &dy, &argmax, dx))
    });
    Ok(y.put_tape(tape))
}
