//! Masked self-attention, softmax(q·kᵀ/√d where the mask allows)·v, that does only the mask's work: it walks the tiles of
//! the mask, forward and backward, and never holds more than a strip of scores (online softmax: a running maximum and sum
//! for each query). The backward pass computes the probabilities again from the logsumexp of each row.
//! Shapes: qkv (B, S, 3, H, D) as it leaves the projection, out (B, S, H, D), lse (B, H, S).
//!
//! A task is one head of one batch entry: it gathers its vectors in the mask's tile order, in which a column of the image is
//! as dense as a row of it, multiplies tile by tile in registers, and scatters the result.
//!
//! 1280 positions (256 text, 32×32 image), 8 heads of 64, forward and backward: the tiles of a row, column and convolutional
//! mask hold 0.43, 0.40 and 0.60 of the pairs of a causal one, and take about that share of its time.

mod decode;
mod pack;
mod product;
pub mod rounded;
mod weights;

pub use decode::{Prefix, decode};
pub use weights::weights;

use super::lanes::{LANES, dot, exp_in_place, max, vectorised};
use super::parallel::{by_columns, expect_lengths, rows_per_task};
use crate::kernels::{Real, compiled};
use crate::mask::{Tile, Tiles};
use pack::Vectors;
use product::{STRIP, scores, weighted_sums, weighted_sums_transposed};
use rayon::prelude::*;

/// The side of the tiles that these kernels walk, in positions.
pub const BLOCK: usize = 32;

/// The sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Batch entries, B.
    pub batch: usize,
    /// Heads, H.
    pub heads: usize,
    /// Positions, S: each is a query and a key.
    pub positions: usize,
    /// Width of a head, D.
    pub dim: usize,
}

compiled! {
    /// Writes `out` and, for the backward pass, the logsumexp of each row of scores.
    pub fn forward(a: Attention, qkv: &[E], tiles: &Tiles, out: &mut [E], lse: &mut [E]) = forward_of;

    /// dqkv += ; the probabilities are recomputed from `lse`.
    pub fn backward(a: Attention, dout: &[E], qkv: &[E], out: &[E], lse: &[E], tiles: &Tiles, dqkv: &mut [E]) = backward_of;
}

fn forward_of<E: Real>(a: Attention, qkv: &[E], tiles: &Tiles, out: &mut [E], lse: &mut [E]) {
    a.check("attention::forward", qkv, tiles, out, lse);
    let heads = a.by_head(out, 1).into_par_iter().zip_eq(lse.par_chunks_mut(a.positions)).enumerate();
    heads.with_min_len(a.heads_per_task(tiles)).for_each(|(head, (mut out, lse))| {
        let [q, k, v] = a.thirds(qkv, tiles, head);
        forward_head(a, tiles, [q, k, v], &mut out[0], lse);
    });
}

/// One head: for each block of queries, strip after strip of the keys that it sees. With m the largest score of a query so far,
/// l the sum of its weights and o the weighted sum of its values, a strip of scores s with its values V makes of them
///
/// ```text
/// m' = max(m, max s)        l' = l·exp(m − m') + Σ exp(s − m')        o' = o·exp(m − m') + exp(s − m')·V
/// ```
///
/// and at the end out = o/l and lse = m + ln l.
fn forward_head<E: Real>(
    a: Attention,
    tiles: &Tiles,
    [q, k, v]: [Vectors<'_, E>; 3],
    out: &mut [&mut [E]],
    lse: &mut [E],
) {
    let (k, v) = (k.transposed(), v.panels());
    let mut s = [E::of(0.0); BLOCK * STRIP * BLOCK];
    let mut sums = vec![[E::of(0.0); LANES]; a.dim.div_ceil(LANES) * BLOCK];
    for (block, row) in tiles.rows().iter().enumerate() {
        let q = q.rows(block, a.scale());
        let (mut top, mut total) = ([E::of(f64::NEG_INFINITY); BLOCK], [E::of(0.0); BLOCK]);
        sums.fill([E::of(0.0); LANES]);
        for strip in row.chunks(STRIP) {
            let width = strip.len() * BLOCK;
            let s = &mut s[..BLOCK * width];
            scores(&q, a.dim, strip, &k, s);
            hide(s, strip, a.positions);
            vectorised!(|| for (query, s) in s.chunks_exact_mut(width).enumerate() {
                let highest = max(s).max(top[query]);
                // A row that has seen nothing yet: any finite shift gives it weights of 0.
                let shift = if highest == E::of(f64::NEG_INFINITY) { E::of(0.0) } else { highest };
                let shrink = (top[query] - shift).fast_exp();
                top[query] = highest;
                total[query] = total[query] * shrink + exp_in_place(s, shift);
                for panel in sums.chunks_exact_mut(BLOCK) {
                    panel[query].iter_mut().for_each(|sum| *sum *= shrink);
                }
            });
            weighted_sums(s, strip, &v, &mut sums);
        }
        for (query, &place) in tiles.order[block * BLOCK..].iter().take(BLOCK).enumerate() {
            let share = E::of(1.0) / total[query];
            for (out, panel) in out[place].chunks_mut(LANES).zip(sums.chunks_exact(BLOCK)) {
                out.iter_mut().zip(&panel[query]).for_each(|(out, sum)| *out = *sum * share);
            }
            lse[place] = top[query] + total[query].ln();
        }
    }
}

fn backward_of<E: Real>(a: Attention, dout: &[E], qkv: &[E], out: &[E], lse: &[E], tiles: &Tiles, dqkv: &mut [E]) {
    a.check("attention::backward", qkv, tiles, out, lse);
    expect_lengths("attention::backward", &[("dout", dout.len(), out.len()), ("dqkv", dqkv.len(), qkv.len())]);
    let heads = a.by_head(dqkv, 3).into_par_iter().zip_eq(lse.par_chunks(a.positions)).enumerate();
    heads.with_min_len(a.heads_per_task(tiles)).for_each(|(head, (mut gradients, lse))| {
        let result = [dout, out].map(|x| a.vectors(x, tiles, head, 1, 0));
        let thirds = a.thirds(qkv, tiles, head);
        backward_head(a, tiles, thirds, result, lse, &mut gradients);
    });
}

/// One head. The probabilities P are made again, strip by strip, from the scores and `lse`; then, as softmax's backward has it,
///
/// ```text
/// P  = exp(Q·Kᵀ/√d − lse)             delta = rowsum(dO ∘ O)
/// dV = Pᵀ·dO                          dS    = P ∘ (dO·Vᵀ − delta)
/// dQ = dS·K/√d                        dK    = dSᵀ·Q/√d
/// ```
fn backward_head<E: Real>(
    a: Attention,
    tiles: &Tiles,
    [q, k, v]: [Vectors<'_, E>; 3],
    [dout, out]: [Vectors<'_, E>; 2],
    lse: &[E],
    gradients: &mut [Vec<&mut [E]>],
) {
    let (keys, k, v) = (k.panels(), k.transposed(), v.transposed());
    let (mut p, mut ds) = ([E::of(0.0); BLOCK * STRIP * BLOCK], [E::of(0.0); BLOCK * STRIP * BLOCK]);
    let panels = a.dim.div_ceil(LANES);
    let mut dq = vec![[E::of(0.0); LANES]; panels * BLOCK];
    let (mut dk, mut dv) = (vec![[E::of(0.0); LANES]; keys.len()], vec![[E::of(0.0); LANES]; keys.len()]);
    for (block, row) in tiles.rows().iter().enumerate() {
        let places = || tiles.order[block * BLOCK..].iter().take(BLOCK);
        let mut delta = [E::of(0.0); BLOCK];
        delta.iter_mut().zip(places()).for_each(|(delta, &place)| *delta = dot(dout.of(place), out.of(place)));
        let (q_rows, q_panels) = (q.rows(block, a.scale()), q.block_panels(block, a.scale()));
        let (dout_rows, dout_panels) = (dout.rows(block, E::of(1.0)), dout.block_panels(block, E::of(1.0)));
        dq.fill([E::of(0.0); LANES]);
        for strip in row.chunks(STRIP) {
            let width = strip.len() * BLOCK;
            let (p, ds) = (&mut p[..BLOCK * width], &mut ds[..BLOCK * width]);
            scores(&q_rows, a.dim, strip, &k, p);
            scores(&dout_rows, a.dim, strip, &v, ds);
            hide(p, strip, a.positions);
            vectorised!(
                || for (query, (p, ds)) in p.chunks_exact_mut(width).zip(ds.chunks_exact_mut(width)).enumerate() {
                    // Beyond the sequence's end there are no queries: nothing may come of them.
                    let lse = tiles.order.get(block * BLOCK + query).map_or(E::of(f64::INFINITY), |&place| lse[place]);
                    let delta = delta[query];
                    for (p, ds) in p.iter_mut().zip(ds) {
                        *p = (*p - lse).fast_exp();
                        *ds = *p * (*ds - delta);
                    }
                }
            );
            weighted_sums_transposed(p, strip, &dout_panels, &mut dv);
            weighted_sums_transposed(ds, strip, &q_panels, &mut dk);
            weighted_sums(ds, strip, &keys, &mut dq);
        }
        for (query, &place) in places().enumerate() {
            add(gradients[0][place], dq.chunks_exact(BLOCK).map(|panel| panel[query]), a.scale());
        }
    }
    for (third, sums) in [(1, &dk), (2, &dv)] {
        for (at, &place) in tiles.order.iter().enumerate() {
            add(gradients[third][place], sums.chunks_exact(sums.len() / panels).map(|panel| panel[at]), E::of(1.0));
        }
    }
}

/// row += scale·panels.
#[inline(always)]
fn add<E: Real>(row: &mut [E], panels: impl Iterator<Item = [E; LANES]>, scale: E) {
    for (row, panel) in row.chunks_mut(LANES).zip(panels) {
        row.iter_mut().zip(panel).for_each(|(x, sum)| *x += scale * sum);
    }
}

/// −∞ wherever a strip of scores shows a pair that is not seen.
#[inline(always)]
fn hide<E: Real>(s: &mut [E], strip: &[Tile], positions: usize) {
    let never = E::of(f64::NEG_INFINITY);
    let width = strip.len() * BLOCK;
    for (at, tile) in strip.iter().enumerate() {
        let keys = positions - tile.column * BLOCK;
        let rows = s.chunks_exact_mut(width).map(|row| &mut row[at * BLOCK..][..BLOCK]);
        match &tile.bits {
            Some(bits) => {
                for (row, bits) in rows.zip(bits.chunks_exact(BLOCK)) {
                    row.iter_mut().zip(bits).for_each(|(x, &seen)| *x = if seen { *x } else { never });
                }
            }
            None if keys < BLOCK => rows.for_each(|row| row[keys..].fill(never)),
            None => {}
        }
    }
}

/// Heads are counted through the batch: head b·H + h is head h of batch entry b.
impl Attention {
    fn scale<E: Real>(self) -> E {
        E::of(1.0 / (self.dim as f64).sqrt())
    }

    /// A head's queries, keys and values.
    fn thirds<'a, E: Real>(self, qkv: &'a [E], tiles: &'a Tiles, head: usize) -> [Vectors<'a, E>; 3] {
        std::array::from_fn(|third| self.vectors(qkv, tiles, head, 3, third))
    }

    /// A head's vectors in part `part` of x (B, S, parts, H, D).
    fn vectors<'a, E: Real>(
        self,
        x: &'a [E],
        tiles: &'a Tiles,
        head: usize,
        parts: usize,
        part: usize,
    ) -> Vectors<'a, E> {
        let width = parts * self.heads * self.dim;
        let from = (head / self.heads) * self.positions * width + (part * self.heads + head % self.heads) * self.dim;
        Vectors { values: &x[from..], stride: width, dim: self.dim, order: &tiles.order }
    }

    /// The rows of each head of x (B, S, parts, H, D), part by part.
    fn by_head<E>(self, x: &mut [E], parts: usize) -> Vec<Vec<Vec<&mut [E]>>> {
        let width = parts * self.heads * self.dim;
        let entries = x.chunks_exact_mut((self.positions * width).max(1));
        let of_entry = |x| {
            let mut heads: Vec<Vec<Vec<&mut [E]>>> = (0..self.heads).map(|_| Vec::with_capacity(parts)).collect();
            for (at, rows) in by_columns(x, width, self.dim).into_iter().enumerate() {
                heads[at % self.heads].push(rows);
            }
            heads
        };
        entries.flat_map(of_entry).collect()
    }

    fn heads_per_task(self, tiles: &Tiles) -> usize {
        rows_per_task(self.batch * self.heads, tiles.count() * BLOCK * BLOCK * self.dim / 8)
    }

    #[track_caller]
    fn check<E>(self, name: &str, qkv: &[E], tiles: &Tiles, out: &[E], lse: &[E]) {
        let Attention { batch, heads, positions, dim } = self;
        let lengths = [
            ("qkv", qkv.len(), batch * positions * 3 * heads * dim),
            ("out", out.len(), batch * positions * heads * dim),
            ("lse", lse.len(), batch * heads * positions),
        ];
        expect_lengths(name, &lengths);
        assert!(positions > 0, "{name}: no positions, expected at least one");
        let (order, block) = (tiles.order.len(), tiles.block);
        assert!(
            order == positions && block == BLOCK,
            "{name}: a mask of {order} positions in tiles of {block}, expected {positions} in tiles of {BLOCK}"
        );
    }
}

#[cfg(test)]
mod tests;
