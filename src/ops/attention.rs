//! Masked multi-head self-attention from fused queries, keys and values, and its cached form for sampling.

use super::readout::to_vec;
use super::tape::{erase, slot, typed, values};
use crate::kernels::Real;
use crate::kernels::cpu::attention::{self, Attention};
use crate::shape::BlockShape;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;
use std::sync::Arc;

/// Which key each query sees: (S, S) row-major, true where it does; `None`: every one.
#[derive(Debug, Clone)]
pub struct Mask(pub Option<Arc<[bool]>>);

impl Mask {
    /// Every query sees every key.
    pub fn full() -> Self {
        Mask(None)
    }

    /// From a dense matrix; every row must see at least one key.
    pub fn dense(bits: Vec<bool>) -> Self {
        Mask(Some(bits.into()))
    }

    /// Each of `sequence` queries sees itself and what lies before.
    pub fn causal(sequence: usize) -> Self {
        Mask::dense((0..sequence * sequence).map(|i| i % sequence <= i / sequence).collect())
    }
}

/// Keys and values of the positions seen so far, one layer's. Shapes: (B, capacity, H, D).
#[derive(Debug, Clone)]
pub struct KvCache<E> {
    keys: Vec<E>,
    values: Vec<E>,
    capacity: usize,
    width: usize,
    filled: usize,
}

impl<E: Real> KvCache<E> {
    /// For `batch` sequences of at most `capacity` positions of `width` channels.
    pub fn new(batch: usize, capacity: usize, width: usize) -> Self {
        let empty = vec![E::zero(); batch * capacity * width];
        KvCache { keys: empty.clone(), values: empty, capacity, width, filled: 0 }
    }

    /// Positions filled so far.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Each sequence of this cache `times` times, one after the other.
    pub fn repeated(&self, times: usize) -> Self {
        let each = (self.capacity * self.width).max(1);
        let repeat = |x: &[E]| {
            let mut out = Vec::with_capacity(times * x.len());
            x.chunks(each).for_each(|one| (0..times).for_each(|_| out.extend_from_slice(one)));
            out
        };
        KvCache { keys: repeat(&self.keys), values: repeat(&self.values), ..*self }
    }
}

/// Attention of one block. Shapes: qkv (B, S, 3·Dim), result (B, S, Dim), heads contiguous within each third.
pub trait AttentionOp<E: Real>: Device<E> {
    /// softmax(q·kᵀ/√d where the mask allows)·v.
    fn attention<W: BlockShape, B: Dim, S: Dim, T: Tape<E, Self>>(
        qkv: Tensor<(B, S, W::Qkv), E, Self, T>,
        mask: &Mask,
    ) -> Result<Tensor<(B, S, W::Dim), E, Self, T>, Self::Err> {
        composed::<W, B, S, E, Self, T>(qkv, mask)
    }

    /// Appends the new positions to the cache and attends from them to all that the mask allows. The same bits whatever the
    /// batch and however many positions come at once. Runs on the host on every device.
    fn attention_decode<W: BlockShape, B: Dim, S: Dim>(
        qkv: Tensor<(B, S, W::Qkv), E, Self>,
        cache: &mut KvCache<E>,
        mask: &Mask,
    ) -> Result<Tensor<(B, S, W::Dim), E, Self>, Self::Err> {
        let device = qkv.device().clone();
        let (batch, fresh, _) = *qkv.shape();
        let out = decode(sizes::<W>(batch.size(), fresh.size()), &to_vec(qkv)?, cache, mask);
        device.try_tensor_from_vec(out, (batch, fresh, W::Dim::default()))
    }
}

fn sizes<W: BlockShape>(batch: usize, sequence: usize) -> Attention {
    Attention { batch, heads: W::Heads::SIZE, queries: sequence, keys: sequence, dim: W::HeadDim::SIZE }
}

fn decode<E: Real>(new: Attention, qkv: &[E], cache: &mut KvCache<E>, mask: &Mask) -> Vec<E> {
    let width = new.heads * new.dim;
    let (fresh, capacity, start) = (new.queries, cache.capacity, cache.filled);
    assert!(start + fresh <= capacity, "the cache holds {capacity} positions, {start} are filled and {fresh} came");
    let mut queries = Vec::with_capacity(new.batch * fresh * width);
    for (row, position) in qkv.chunks(3 * width).enumerate() {
        let at = ((row / fresh) * capacity + start + row % fresh) * width;
        queries.extend_from_slice(&position[..width]);
        cache.keys[at..at + width].copy_from_slice(&position[width..2 * width]);
        cache.values[at..at + width].copy_from_slice(&position[2 * width..]);
    }
    cache.filled = start + fresh;
    let everything;
    let rows = match &mask.0 {
        Some(bits) => &bits[start * capacity..(start + fresh) * capacity],
        None => {
            everything = vec![true; fresh * capacity];
            &everything
        }
    };
    let mut out = vec![E::zero(); queries.len()];
    let sizes = Attention { keys: cache.filled, ..new };
    attention::decode(sizes, capacity, &queries, &cache.keys, &cache.values, rows, &mut out);
    out
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
    if let Some(bits) = &mask.0 {
        let bias = bits.iter().map(|&sees| if sees { E::zero() } else { E::of(-1e9) }).collect();
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
    let [q, k, v] = thirds(&values(&qkv), width);
    let mut out = vec![E::zero(); q.len()];
    let mut lse = vec![E::zero(); sizes.batch * sizes.heads * sizes.queries];
    attention::forward(sizes, &q, &k, &v, mask.0.as_deref(), &mut out, &mut lse);
    let kept = if T::OWNS_TAPE { out.clone() } else { Vec::new() };
    let y = device.try_tensor_from_vec(out, [sizes.batch, sizes.queries, width])?;
    let (x_slot, y_slot, mask) = (slot(&qkv), slot(&y), mask.clone());
    tape.add_backward_op(move |grads| {
        let dout = y_slot.take(grads)?;
        let zero = vec![E::zero(); q.len()];
        let (mut dq, mut dk, mut dv) = (zero.clone(), zero.clone(), zero);
        let bits = mask.0.as_deref();
        attention::backward(sizes, &dout, &q, &k, &v, &kept, &lse, bits, &mut dq, &mut dk, &mut dv);
        x_slot.accumulate(grads, |dx| {
            for (third, part) in [dq, dk, dv].iter().enumerate() {
                for (row, source) in dx.chunks_mut(3 * width).zip(part.chunks(width)) {
                    row[third * width..(third + 1) * width].iter_mut().zip(source).for_each(|(d, &s)| *d += s);
                }
            }
        })
    });
    Ok(y.put_tape(tape))
}

/// (R, 3·width) as three (R, width).
fn thirds<E: Real>(qkv: &[E], width: usize) -> [Vec<E>; 3] {
    std::array::from_fn(|third| {
        qkv.chunks(3 * width).flat_map(|row| &row[third * width..(third + 1) * width]).copied().collect()
    })
}
