//! Attention one position after the other, from a cache of the keys that later positions can still reach.
//! Shapes: qkv (B, F, 3, H, D) of the F positions that are new, keys and values (B, H, places, D), out (B, F, H, D).
//!
//! Each output is summed over its keys in their order, whatever the batch, the number of positions in the call and the
//! threads: a sample has the same bits however it is drawn.

use super::Attention;
use crate::kernels::Real;
use crate::kernels::cpu::lanes::{LANES, dot, exp_in_place, max, vectorised};
use crate::kernels::cpu::parallel::{expect_lengths, rows_per_task};
use crate::mask::CachePlan;
use rayon::prelude::*;

/// Writes the keys and values of positions `start..` to the cache and attends from each to what it sees. `a.positions` is
/// the number of new ones.
pub fn decode<E: Real>(
    a: Attention,
    plan: &CachePlan,
    start: usize,
    qkv: &[E],
    (keys, values): (&mut [E], &mut [E]),
    out: &mut [E],
) {
    let (width, head) = (a.heads * a.dim, plan.size() * a.dim);
    let lengths = [
        ("qkv", qkv.len(), a.batch * a.positions * 3 * width),
        ("keys", keys.len(), a.batch * a.heads * head),
        ("values", values.len(), a.batch * a.heads * head),
        ("out", out.len(), a.batch * a.positions * width),
    ];
    expect_lengths("attention::decode", &lengths);
    let end = start + a.positions;
    assert!(end <= plan.positions(), "attention::decode: position {end} of a sequence of {}", plan.positions());
    let seen: usize = (start..end).map(|query| plan.seen(query).len()).sum();
    let caches = keys.par_chunks_exact_mut(head.max(1)).zip_eq(values.par_chunks_exact_mut(head.max(1)));
    let tasks = a.by_head(out, 1).into_par_iter().zip_eq(caches).enumerate();
    tasks.with_min_len(rows_per_task(a.batch * a.heads, seen * 2 * a.dim)).for_each(|(head, (mut out, cache))| {
        let (keys, values) = cache;
        let from = (head / a.heads) * a.positions * 3 * width + head % a.heads * a.dim;
        let third = |fresh: usize, third: usize| &qkv[from + (3 * fresh + third) * width..][..a.dim];
        let mut weights: Vec<E> = Vec::new();
        vectorised!(|| {
            for (fresh, out) in out[0].iter_mut().enumerate() {
                let (q, place) = (third(fresh, 0), plan.place(start + fresh) * a.dim);
                keys[place..place + a.dim].copy_from_slice(third(fresh, 1));
                values[place..place + a.dim].copy_from_slice(third(fresh, 2));
                let seen = plan.seen(start + fresh);
                weights.resize(seen.len(), E::of(0.0));
                let scale = a.scale::<E>();
                for (weight, &place) in weights.iter_mut().zip(seen) {
                    *weight = dot(q, &keys[place as usize * a.dim..][..a.dim]) * scale;
                }
                let shift = max(&weights);
                let share = E::of(1.0) / exp_in_place(&mut weights, shift);
                weighted_sum(&weights, seen, values, share, out);
            }
        });
    });
}

/// out = share·Σ weight·value.
#[inline(always)]
fn weighted_sum<E: Real>(weights: &[E], places: &[u32], values: &[E], share: E, out: &mut [E]) {
    let dim = out.len();
    for (out, start) in out.chunks_mut(LANES).zip((0..dim).step_by(LANES)) {
        let count = out.len();
        let mut sums = [E::of(0.0); LANES];
        if count == LANES {
            for (&weight, &place) in weights.iter().zip(places) {
                let value = &values[place as usize * dim + start..][..LANES];
                sums.iter_mut().zip(value).for_each(|(sum, &v)| *sum += weight * v);
            }
        } else {
            for (&weight, &place) in weights.iter().zip(places) {
                let value = &values[place as usize * dim + start..][..count];
                sums.iter_mut().zip(value).for_each(|(sum, &v)| *sum += weight * v);
            }
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = share * sum);
    }
}
