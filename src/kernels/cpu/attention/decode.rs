//! Attention one position after the other, from a cache of the keys that later positions can still reach.
//! Shapes: qkv (B, F, 3, H, D) of the F positions that are new, out (B, F, H, D).
//!
//! Each output is summed over its keys in their order, whatever the batch, the number of positions in the call and the
//! threads: a sample has the same bits however it is drawn.

use super::Attention;
use crate::kernels::cpu::lanes::{LANES, dot, exp_in_place, max, vectorised};
use crate::kernels::cpu::parallel::{expect_lengths, rows_per_task};
use crate::kernels::{Real, compiled};
use crate::mask::CachePlan;
use rayon::prelude::*;

/// The keys and values of the first P places, once for `copies` sequences in a row: (B/copies, H, P, D). A prompt's
/// candidates read it from the processor's cache, where copies of it would each come from memory.
#[derive(Debug, Clone, Copy)]
pub struct Prefix<'a, E> {
    /// Keys.
    pub keys: &'a [E],
    /// Values.
    pub values: &'a [E],
    /// P.
    pub places: usize,
    /// Sequences that share one.
    pub copies: usize,
}

#[cfg(test)]
impl<E> Prefix<'_, E> {
    /// Nothing is shared.
    pub const NONE: Self = Prefix { keys: &[], values: &[], places: 0, copies: 1 };
}

compiled! {
    /// Writes the keys and values of positions `start..` to the cache, keys and values (B, H, places after P, D), and attends
    /// from each to what it sees. `a.positions` is the number of new ones; none of them may lie in the prefix.
    pub fn decode(a: Attention, plan: &CachePlan, start: usize, qkv: &[E], prefix: Prefix<'_, E>, cache: (&mut [E], &mut [E]), out: &mut [E]) = decode_of;
}

fn decode_of<E: Real>(
    a: Attention,
    plan: &CachePlan,
    start: usize,
    qkv: &[E],
    prefix: Prefix<'_, E>,
    (keys, values): (&mut [E], &mut [E]),
    out: &mut [E],
) {
    let width = a.heads * a.dim;
    let (shared, own) = (prefix.places * a.dim, (plan.size() - prefix.places) * a.dim);
    let lengths = [
        ("qkv", qkv.len(), a.batch * a.positions * 3 * width),
        ("prefix.keys", prefix.keys.len(), a.batch / prefix.copies * a.heads * shared),
        ("prefix.values", prefix.values.len(), prefix.keys.len()),
        ("keys", keys.len(), a.batch * a.heads * own),
        ("values", values.len(), keys.len()),
        ("out", out.len(), a.batch * a.positions * width),
    ];
    expect_lengths("attention::decode", &lengths);
    let end = start + a.positions;
    assert!(end <= plan.positions(), "attention::decode: position {end} of a sequence of {}", plan.positions());
    let seen: usize = (start..end).map(|query| plan.seen(query).len()).sum();
    let caches = keys.par_chunks_exact_mut(own.max(1)).zip_eq(values.par_chunks_exact_mut(own.max(1)));
    let tasks = a.by_head(out, 1).into_par_iter().zip_eq(caches).enumerate();
    tasks.with_min_len(rows_per_task(a.batch * a.heads, seen * 2 * a.dim)).for_each(|(index, (mut out, cache))| {
        let (keys, values) = cache;
        let (sequence, head) = (index / a.heads, index % a.heads);
        let from = sequence * a.positions * 3 * width + head * a.dim;
        let third = |fresh: usize, third: usize| &qkv[from + (3 * fresh + third) * width..][..a.dim];
        let at = (sequence / prefix.copies * a.heads + head) * shared;
        let [shared_keys, shared_values] = [prefix.keys, prefix.values].map(|shared| &shared[at..]);
        let mut weights: Vec<E> = Vec::new();
        vectorised!(|| {
            for (fresh, out) in out[0].iter_mut().enumerate() {
                let (q, place) = (third(fresh, 0), (plan.place(start + fresh) - prefix.places) * a.dim);
                keys[place..place + a.dim].copy_from_slice(third(fresh, 1));
                values[place..place + a.dim].copy_from_slice(third(fresh, 2));
                // Keys are seen in their order, so those of the prefix come first.
                let seen = plan.seen(start + fresh);
                let (first, rest) = seen.split_at(seen.partition_point(|&place| (place as usize) < prefix.places));
                weights.resize(seen.len(), E::of(0.0));
                let (first_weights, rest_weights) = weights.split_at_mut(first.len());
                scores(q, shared_keys, first, 0, a.scale(), first_weights);
                scores(q, keys, rest, prefix.places, a.scale(), rest_weights);
                let shift = max(&weights);
                let share = E::of(1.0) / exp_in_place(&mut weights, shift);
                let (first_weights, rest_weights) = weights.split_at(first.len());
                out.fill(E::of(0.0));
                add_weighted(first_weights, first, 0, shared_values, out);
                add_weighted(rest_weights, rest, prefix.places, values, out);
                out.iter_mut().for_each(|out| *out *= share);
            }
        });
    });
}

/// scale·q·key for the keys at some places, counted from `zero`.
#[inline(always)]
fn scores<E: Real>(q: &[E], keys: &[E], places: &[u32], zero: usize, scale: E, scores: &mut [E]) {
    for (score, &place) in scores.iter_mut().zip(places) {
        *score = dot(q, &keys[(place as usize - zero) * q.len()..][..q.len()]) * scale;
    }
}

/// out += Σ weight·value for the values at some places, counted from `zero`.
#[inline(always)]
fn add_weighted<E: Real>(weights: &[E], places: &[u32], zero: usize, values: &[E], out: &mut [E]) {
    let dim = out.len();
    for (out, start) in out.chunks_mut(LANES).zip((0..).step_by(LANES)) {
        let count = out.len();
        let mut sums = [E::of(0.0); LANES];
        sums[..count].copy_from_slice(out);
        let value = |place: u32| &values[(place as usize - zero) * dim + start..][..count];
        if count == LANES {
            for (&weight, &place) in weights.iter().zip(places) {
                sums.iter_mut().zip(&value(place)[..LANES]).for_each(|(sum, &v)| *sum += weight * v);
            }
        } else {
            for (&weight, &place) in weights.iter().zip(places) {
                sums.iter_mut().zip(value(place)).for_each(|(sum, &v)| *sum += weight * v);
            }
        }
        out.copy_from_slice(&sums[..count]);
    }
}
