//! What sampling keeps of the positions before: the keys and values that later ones can still reach.

use super::mask::{Forms, Mask};
use crate::kernels::Real;
use crate::kernels::cpu::attention::{self, Attention, Prefix};
use crate::mask::CachePlan;
use std::ops::Range;
use std::sync::Arc;

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
    /// If the mask is [`Mask::Full`]: a sequence that grows cannot see what is still to come.
    pub fn new(batch: usize, heads: usize, width: usize, mask: &Mask) -> Self {
        let Mask::Causal(mask) = mask.clone() else { panic!("a cache needs a mask that looks back only") };
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
        2 * mask.plan().map_or(0, CachePlan::size) * width * size_of::<E>()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::{Layout, Pattern};

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
