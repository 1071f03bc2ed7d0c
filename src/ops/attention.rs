//! Masked multi-head self-attention from fused queries, keys and values.

use super::mask::Mask;
use super::products::{rounds, single as of, single_mut as of_mut};
use super::tape::{erase, slot, typed};
use crate::kernels::cpu::attention::{self, Attention, rounded};
use crate::kernels::{Real, Values};
use crate::shape::BlockShape;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// Attention of one block. Shapes: qkv (B, S, 3·Dim), result (B, S, Dim), heads contiguous within each third.
pub trait AttentionOp<E: Real>: Device<E> {
    /// Whether the host's memory is the device's: [`KvCache`](super::KvCache) and what samples with it work there.
    const ON_HOST: bool = false;

    /// softmax(q·kᵀ/√d where the mask allows)·v.
    fn attention<W: BlockShape, B: Dim, S: Dim, T: Tape<E, Self>>(
        qkv: Tensor<(B, S, W::Qkv), E, Self, T>,
        mask: &Mask,
    ) -> Result<Tensor<(B, S, W::Dim), E, Self, T>, Self::Err> {
        composed::<W, B, S, E, Self, T>(qkv, mask)
    }
}

fn sizes<W: BlockShape>(batch: usize, positions: usize) -> Attention {
    Attention { batch, heads: W::Heads::SIZE, positions, dim: W::HeadDim::SIZE }
}

/// The composition of dfdx operations that [`AttentionOp::attention`] equals: dense scores plus a mask of −10⁹.
pub fn composed<W: BlockShape, B: Dim, S: Dim, E: Real, D: Device<E>, T: Tape<E, D>>(
    qkv: Tensor<(B, S, W::Qkv), E, D, T>,
    mask: &Mask,
) -> Result<Tensor<(B, S, W::Dim), E, D, T>, D::Err> {
    let device = qkv.device().clone();
    let (batch, sequence, _) = *qkv.shape();
    let (b, s, heads, dim) = (batch.size(), sequence.size(), W::Heads::SIZE, W::HeadDim::SIZE);
    let qkv = qkv.try_reshape_like(&(b, s, 3 * heads * dim))?;
    type Four = (usize, usize, usize, usize);
    let part = |third: usize, x: Tensor<(usize, usize, usize), E, D, T>| {
        let columns = third * heads * dim..(third + 1) * heads * dim;
        let x = x.try_slice((0..b, 0..s, columns))?.try_reshape_like(&(b, s, heads, dim))?;
        x.try_permute::<Four, Axes4<0, 2, 1, 3>>() // (B, H, S, D)
    };
    let keys = part(1, qkv.with_empty_tape())?.try_permute::<Four, Axes4<0, 1, 3, 2>>()?; // (B, H, D, S)
    let values = part(2, qkv.with_empty_tape())?;
    let mut scores = part(0, qkv)?.try_matmul(keys)?.try_mul(E::of((dim as f64).powf(-0.5)))?;
    if let Mask::Causal(mask) = mask {
        let bias = mask.tiles.dense().iter().map(|&sees| if sees { E::zero() } else { E::of(-1e9) }).collect();
        let bias = device.try_tensor_from_vec(bias, (s, s))?;
        scores = scores.try_add(BroadcastTo::try_broadcast_like::<Four, Axes2<0, 1>>(bias, &(b, heads, s, s))?)?;
    }
    let y = scores.try_softmax::<Axis<3>>()?.try_matmul(values)?.try_permute::<Four, Axes4<0, 2, 1, 3>>()?;
    y.try_reshape_like(&(batch, sequence, W::Dim::default()))
}

impl<E: Real> AttentionOp<E> for Cpu
where
    Cpu: Device<E>,
{
    const ON_HOST: bool = true;

    fn attention<W: BlockShape, B: Dim, S: Dim, T: Tape<E, Self>>(
        qkv: Tensor<(B, S, W::Qkv), E, Self, T>,
        mask: &Mask,
    ) -> Result<Tensor<(B, S, W::Dim), E, Self, T>, Self::Err> {
        let (batch, sequence, _) = *qkv.shape();
        Ok(typed(on_cpu(erase(qkv), sizes::<W>(batch.size(), sequence.size()), mask)?))
    }
}

fn on_cpu<E: Real, T: Tape<E, Cpu>>(
    qkv: Tensor<[usize; 3], E, Cpu, T>,
    sizes: Attention,
    mask: &Mask,
) -> Result<Tensor<[usize; 3], E, Cpu, T>, CpuError> {
    let (qkv, mut tape) = qkv.try_contiguous()?.split_tape();
    let device = qkv.device().clone();
    let width = sizes.heads * sizes.dim;
    let inputs = Values::of(&qkv);
    let mut out = vec![E::zero(); sizes.batch * sizes.positions * width];
    let mut lse = vec![E::zero(); sizes.batch * sizes.heads * sizes.positions];
    let (rounds, tiles) = (rounds::<E>(), mask.tiles(sizes.positions));
    if rounds {
        rounded::forward(sizes, of(&inputs), &tiles, of_mut(&mut out), of_mut(&mut lse));
    } else {
        attention::forward(sizes, &inputs, &tiles, &mut out, &mut lse);
    }
    let y = device.try_tensor_from_vec(out, [sizes.batch, sizes.positions, width])?;
    let (x_slot, y_slot, out, mask) = (slot(&qkv), slot(&y), Values::of(&y), mask.clone());
    tape.add_backward_op(move |grads| {
        let dout = y_slot.take(grads)?;
        let tiles = mask.tiles(sizes.positions);
        x_slot.accumulate(grads, |dx| match rounds {
            true => rounded::backward(sizes, of(&dout), of(&inputs), of(&out), of(&lse), &tiles, of_mut(dx)),
            false => attention::backward(sizes, &dout, &inputs, &out, &lse, &tiles, dx),
        })
    });
    Ok(y.put_tape(tape))
}
