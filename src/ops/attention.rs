//! Masked multi-head self-attention from fused queries, keys and values, and its cached form for sampling.

use super::tape::{erase, slot, typed};
use crate::kernels::cpu::attention::{self, Attention, BLOCK, Prefix};
use crate::kernels::{Real, Values};
use crate::mask::{CachePlan, Layout, Pattern, Tiles};
use crate::shape::BlockShape;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Which keys each query of an attention sees, in the forms that the kernels walk: made once, shared by all layers that have it.
/// The `Mask` at the crate's root is for looking at a pattern.
#[derive(Debug, Clone)]
pub struct Mask(Option<Arc<Forms>>);

#[derive(Debug)]
struct Forms {
    /// None for a mask of one's own.
    #[cfg(feature = "cuda")]
    pattern: Option<(Pattern, Layout)>,
    tiles: Tiles,
    plan: CachePlan,
}

impl Mask {
    /// Every query sees every key.
    pub fn full() -> Self {
        Mask(None)
    }

    /// What `pattern` says.
    pub fn new(pattern: Pattern, layout: Layout) -> Self {
        let (tiles, plan) = (pattern.tiles(layout, BLOCK), pattern.cache_plan(layout));
        Mask(Some(Arc::new(Forms {
            #[cfg(feature = "cuda")]
            pattern: Some((pattern, layout)),
            tiles,
            plan,
        })))
    }

    /// A mask of one's own over `sequence` slots: slot `query` sees the earlier slot `key` where `sees(query, key)` says so, and
    /// always itself. It is asked for earlier keys only: no mask looks ahead.
    ///
    /// ```
    /// use dalle::ops::Mask;
    /// let window = Mask::from_fn(80, &|query, key| query - key <= 8); // itself and the eight before
    /// ```
    pub fn from_fn(sequence: usize, sees: &dyn Fn(usize, usize) -> bool) -> Self {
        let causal = |query, key| key == query || (key < query && sees(query, key));
        Mask(Some(Arc::new(Forms {
            #[cfg(feature = "cuda")]
            pattern: None,
            tiles: Tiles::from_fn((0..sequence).collect(), BLOCK, &causal),
            plan: CachePlan::from_fn(sequence, &causal),
        })))
    }

    /// Each of `sequence` queries sees itself and what lies before.
    pub fn causal(sequence: usize) -> Self {
        Mask::new(Pattern::Full, Layout { text: sequence, grid: 0 })
    }

    /// Whether both show every query the same keys: surely so where they are one, or of one pattern.
    #[cfg(feature = "cuda")]
    pub(super) fn is(&self, other: &Mask) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two) || (one.pattern.is_some() && one.pattern == two.pattern),
            _ => false,
        }
    }

    /// For `positions`, in tiles of `block`×`block`.
    #[cfg(feature = "cuda")]
    pub(super) fn tiles_of(&self, positions: usize, block: usize) -> Tiles {
        let Some(forms) = &self.0 else { return Tiles::full(positions, block) };
        match forms.pattern {
            Some((pattern, layout)) => pattern.tiles(layout, block),
            None => {
                let (order, dense) = (forms.tiles.order.clone(), forms.tiles.dense());
                let sequence = order.len();
                Tiles::from_fn(order, block, &|query, key| dense[query * sequence + key])
            }
        }
    }

    /// The places of a cache's keys, if not every key is seen.
    #[cfg(feature = "cuda")]
    pub(crate) fn plan(&self) -> Option<&CachePlan> {
        self.0.as_ref().map(|forms| &forms.plan)
    }

    /// For `sequence` positions.
    fn tiles(&self, sequence: usize) -> Cow<'_, Tiles> {
        self.0.as_ref().map_or_else(|| Cow::Owned(Tiles::full(sequence, BLOCK)), |mask| Cow::Borrowed(&mask.tiles))
    }
}

/// One layer's keys and values that later positions can still reach.
#[derive(Debug, Clone)]
pub struct KvCache<E> {
    /// Keys and values of the first `pinned` places, once for `copies` sequences: (B/copies, H, pinned, D).
    prefix: Arc<(Vec<E>, Vec<E>)>,
    pinned: usize,
    copies: usize,
    /// Of the other places: (B, H, places − pinned, D).
    keys: Vec<E>,
    values: Vec<E>,
    heads: usize,
    width: usize,
    mask: Arc<Forms>,
    filled: usize,
}

impl<E: Real> KvCache<E> {
    /// Empty, for `batch` sequences of vectors of `width` values in `heads` heads.
    ///
    /// # Panics
    /// If the mask is [`Mask::full`]: a sequence that grows cannot see what is still to come.
    pub fn new(batch: usize, heads: usize, width: usize, mask: &Mask) -> Self {
        let mask = mask.0.clone().expect("a cache needs a mask that looks back only");
        let empty = vec![E::zero(); batch * mask.plan.size() * width];
        let prefix = Arc::default();
        KvCache { prefix, pinned: 0, copies: 1, keys: empty.clone(), values: empty, heads, width, mask, filled: 0 }
    }

    /// Positions that have come so far.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Memory of one sequence's keys and values.
    pub fn row_bytes(width: usize, mask: &Mask) -> usize {
        2 * mask.0.as_ref().map_or(0, |mask| mask.plan.size()) * width * size_of::<E>()
    }

    /// Appends the positions of qkv (B, F, 3, H, D) and attends from each to all that the mask shows it: (B, F, H, D). The
    /// same bits whatever the batch and however many positions come at once.
    pub fn attend(&mut self, batch: usize, qkv: &[E]) -> Vec<E> {
        let (heads, dim, positions) = (self.heads, self.width / self.heads, qkv.len() / (3 * batch * self.width));
        let mut out = vec![E::zero(); qkv.len() / 3];
        let sizes = Attention { batch, heads, positions, dim };
        let (keys, values) = &*self.prefix;
        let prefix = Prefix { keys, values, places: self.pinned, copies: self.copies };
        attention::decode(
            sizes,
            &self.mask.plan,
            self.filled,
            qkv,
            prefix,
            (&mut self.keys, &mut self.values),
            &mut out,
        );
        self.filled += positions;
        out
    }

    /// Each of the `batch` sequences of this cache `times` times, one after the other. The first copies that are made share
    /// what was written before and stays to the end, such as a caption's keys.
    pub fn repeated(&self, batch: usize, times: usize) -> Self {
        let (plan, dim) = (&self.mask.plan, self.width / self.heads);
        let heads = |x: &[E], part: Range<usize>| -> Vec<E> {
            let head = (plan.size() * dim).max(1);
            x.chunks(head).flat_map(|x| &x[part.start * dim..part.end * dim]).copied().collect()
        };
        let repeat = |x: &[E]| {
            let each = (x.len() / batch.max(1)).max(1);
            x.chunks(each).flat_map(|one| one.repeat(times)).collect()
        };
        let mask = self.mask.clone();
        if self.pinned > 0 {
            let (keys, values) = (repeat(&self.keys), repeat(&self.values));
            return KvCache { keys, values, prefix: self.prefix.clone(), copies: self.copies * times, mask, ..*self };
        }
        let pinned = self.filled.min(plan.pinned());
        let [shared, own] =
            [0..pinned, pinned..plan.size()].map(|part| (heads(&self.keys, part.clone()), heads(&self.values, part)));
        let (keys, values) = (repeat(&own.0), repeat(&own.1));
        KvCache { keys, values, prefix: Arc::new(shared), pinned, copies: times, mask, ..*self }
    }
}

/// Attention of one block. Shapes: qkv (B, S, 3·Dim), result (B, S, Dim), heads contiguous within each third.
pub trait AttentionOp<E: Real>: Device<E> {
    /// Whether the host's memory is the device's: [`KvCache`] and what samples with it work there.
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
    if let Some(mask) = &mask.0 {
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
    attention::forward(sizes, &inputs, &mask.tiles(sizes.positions), &mut out, &mut lse);
    let y = device.try_tensor_from_vec(out, [sizes.batch, sizes.positions, width])?;
    let (x_slot, y_slot, out, mask) = (slot(&qkv), slot(&y), Values::of(&y), mask.clone());
    tape.add_backward_op(move |grads| {
        let dout = y_slot.take(grads)?;
        let tiles = mask.tiles(sizes.positions);
        x_slot.accumulate(grads, |dx| attention::backward(sizes, &dout, &inputs, &out, &lse, &tiles, dx))
    });
    Ok(y.put_tape(tape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_the_keys_of_the_text() {
        let (text, width) = (5, 4);
        let mask = Mask::new(Pattern::Row, Layout { text, grid: 3 });
        let mut cache = KvCache::<f64>::new(2, 2, width, &mask);
        let places = cache.mask.plan.size();
        cache.attend(2, &vec![1.0; 2 * text * 3 * width]);
        let copies = cache.repeated(2, 4);
        assert_eq!(
            (copies.pinned, copies.prefix.0.len(), copies.prefix.1.len()),
            (text, 2 * text * width, 2 * text * width)
        );
        assert_eq!(
            (copies.keys.len(), copies.values.len()),
            (8 * (places - text) * width, 8 * (places - text) * width)
        );
    }
}
