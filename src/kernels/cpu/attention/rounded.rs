//! The same attention with both factors of every product rounded to bf16 ([`bf16`](crate::kernels::cpu::bf16)): queries, keys, values,
//! the probabilities and their gradients. Scores, maxima, sums and the logsumexp are in f32.
//!
//! A tile of the mask is a block of 32 × 32 sums, so each product over it is one of the unit's.

use super::pack::Vectors;
use super::product::STRIP;
use super::{Attention, BLOCK, hide};
use crate::kernels::Real;
use crate::kernels::cpu::bf16::{Bf16, LINE, Left, Rows, SIDE, Sums, Tiles, Unit};
use crate::kernels::cpu::lanes::{dot, exp_in_place, max, vectorised};
use crate::kernels::cpu::parallel::expect_lengths;
use crate::kernels::cpu::reduce;
use crate::mask::{self, Tile};
use rayon::prelude::*;

const _: () = assert!(BLOCK == SIDE && BLOCK == LINE);

const NONE: Sums = [[0.0; SIDE]; SIDE];

/// Writes `out` and, for the backward pass, the logsumexp of each row of scores.
pub fn forward(a: Attention, qkv: &[f32], tiles: &mask::Tiles, out: &mut [f32], lse: &mut [f32]) {
    a.check("attention::rounded::forward", qkv, tiles, out, lse);
    let heads = a.by_head(out, 1).into_par_iter().zip_eq(lse.par_chunks_mut(a.positions)).enumerate();
    heads.with_min_len(a.heads_per_task(tiles)).for_each(|(head, (mut out, lse))| {
        let thirds = a.thirds(qkv, tiles, head);
        Unit::best().ready(|| forward_head(a, tiles, thirds, &mut out[0], lse));
    });
}

/// One head, as the exact kernel walks it.
fn forward_head(
    a: Attention,
    tiles: &mask::Tiles,
    [q, k, v]: [Vectors<'_, f32>; 3],
    out: &mut [&mut [f32]],
    lse: &mut [f32],
) {
    let unit = Unit::best();
    let (k, v) = (Tiles::transposed_seq(&k.all(), a.dim), Tiles::of_seq(&v.all(), a.dim));
    let mut s = [0.0; BLOCK * STRIP * BLOCK];
    let mut rounded = [0; BLOCK * STRIP * BLOCK];
    let mut sums = NONE;
    let mut total_out = vec![NONE; a.dim.div_ceil(SIDE)];
    for (block, row) in tiles.rows().iter().enumerate() {
        let q = Rows::of_seq(&q.rows(block, a.scale()), a.dim);
        let (mut top, mut total) = ([f32::NEG_INFINITY; BLOCK], [0.0; BLOCK]);
        total_out.fill(NONE);
        for strip in row.chunks(STRIP) {
            let width = strip.len() * BLOCK;
            let (s, rounded) = (&mut s[..BLOCK * width], &mut rounded[..BLOCK * width]);
            scores(unit, &q, strip, &k, s);
            hide(s, strip, a.positions);
            vectorised!(|| for (query, s) in s.chunks_exact_mut(width).enumerate() {
                let highest = max(s).max(top[query]);
                // A row that has seen nothing yet: any finite shift gives it weights of 0.
                let shift = if highest == f32::NEG_INFINITY { 0.0 } else { highest };
                let shrink = (top[query] - shift).fast_exp();
                top[query] = highest;
                total[query] = total[query] * shrink + exp_in_place(s, shift);
                for sums in &mut total_out {
                    sums[query].iter_mut().for_each(|sum| *sum *= shrink);
                }
            });
            round(s, rounded);
            for (column, total) in total_out.iter_mut().enumerate() {
                weighted(unit, rounded, strip, v.column(column), &mut sums);
                add(total, &sums);
            }
        }
        for (query, &place) in tiles.order[block * BLOCK..].iter().take(BLOCK).enumerate() {
            let share = 1.0 / total[query];
            for (out, sums) in out[place].chunks_mut(SIDE).zip(&total_out) {
                out.iter_mut().zip(&sums[query]).for_each(|(out, sum)| *out = *sum * share);
            }
            lse[place] = top[query] + total[query].ln();
        }
    }
}

/// dqkv += ; the probabilities are recomputed from `lse`.
pub fn backward(
    a: Attention,
    dout: &[f32],
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    tiles: &mask::Tiles,
    dqkv: &mut [f32],
) {
    a.check("attention::rounded::backward", qkv, tiles, out, lse);
    let lengths = [("dout", dout.len(), out.len()), ("dqkv", dqkv.len(), qkv.len())];
    expect_lengths("attention::rounded::backward", &lengths);
    let heads = a.by_head(dqkv, 3).into_par_iter().zip_eq(lse.par_chunks(a.positions)).enumerate();
    heads.with_min_len(a.heads_per_task(tiles)).for_each(|(head, (mut gradients, lse))| {
        let result = [dout, out].map(|x| a.vectors(x, tiles, head, 1, 0));
        let thirds = a.thirds(qkv, tiles, head);
        Unit::best().ready(|| backward_head(a, tiles, thirds, result, lse, &mut gradients));
    });
}

/// One head, as the exact kernel walks it.
fn backward_head(
    a: Attention,
    tiles: &mask::Tiles,
    [q, k, v]: [Vectors<'_, f32>; 3],
    [dout, out]: [Vectors<'_, f32>; 2],
    lse: &[f32],
    gradients: &mut [Vec<&mut [f32]>],
) {
    let unit = Unit::best();
    let (k, v) = (k.all(), v.all());
    let keys = Tiles::of_seq(&k, a.dim);
    let (k, v) = (Tiles::transposed_seq(&k, a.dim), Tiles::transposed_seq(&v, a.dim));
    let (mut p, mut ds) = ([0.0; BLOCK * STRIP * BLOCK], [0.0; BLOCK * STRIP * BLOCK]);
    let mut rounded = [0; BLOCK * STRIP * BLOCK];
    let mut sums = NONE;
    let columns = a.dim.div_ceil(SIDE);
    let blocks = a.positions.div_ceil(BLOCK);
    let mut dq = vec![NONE; columns];
    // By block of places, then by column.
    let (mut dk, mut dv) = (vec![NONE; blocks * columns], vec![NONE; blocks * columns]);
    for (block, row) in tiles.rows().iter().enumerate() {
        let places = || tiles.order[block * BLOCK..].iter().take(BLOCK);
        let mut delta = [0.0; BLOCK];
        delta.iter_mut().zip(places()).for_each(|(delta, &place)| *delta = dot(dout.of(place), out.of(place)));
        let (q, dout) = (q.rows(block, a.scale()), dout.rows(block, 1.0));
        let (q_tiles, dout_tiles) = (Tiles::of_seq(&q, a.dim), Tiles::of_seq(&dout, a.dim));
        let (q, dout) = (Rows::of_seq(&q, a.dim), Rows::of_seq(&dout, a.dim));
        dq.fill(NONE);
        for strip in row.chunks(STRIP) {
            let width = strip.len() * BLOCK;
            let (p, ds) = (&mut p[..BLOCK * width], &mut ds[..BLOCK * width]);
            scores(unit, &q, strip, &k, p);
            scores(unit, &dout, strip, &v, ds);
            hide(p, strip, a.positions);
            vectorised!(
                || for (query, (p, ds)) in p.chunks_exact_mut(width).zip(ds.chunks_exact_mut(width)).enumerate() {
                    // Beyond the sequence's end there are no queries: nothing may come of them.
                    let lse = tiles.order.get(block * BLOCK + query).map_or(f32::INFINITY, |&place| lse[place]);
                    let delta = delta[query];
                    exp_in_place(p, lse);
                    for (p, ds) in p.iter().zip(ds) {
                        *ds = *p * (*ds - delta);
                    }
                }
            );
            for (factors, tiles, totals) in [(&*p, &dout_tiles, &mut dv), (&*ds, &q_tiles, &mut dk)] {
                let turned = Rows::transposed_seq(factors, width);
                for (at, tile) in strip.iter().enumerate() {
                    let segment = [at * BLOCK * turned.stride()];
                    for (column, total) in totals[tile.column * columns..][..columns].iter_mut().enumerate() {
                        unit.block(turned.left(&segment, 1), &[tiles.column(column)], &mut sums);
                        add(total, &sums);
                    }
                }
            }
            let rounded = &mut rounded[..BLOCK * width];
            round(ds, rounded);
            for (column, total) in dq.iter_mut().enumerate() {
                weighted(unit, rounded, strip, keys.column(column), &mut sums);
                add(total, &sums);
            }
        }
        for (query, &place) in places().enumerate() {
            put(gradients[0][place], &dq, query, a.scale());
        }
    }
    for (third, sums) in [(1, &dk), (2, &dv)] {
        for (at, &place) in tiles.order.iter().enumerate() {
            put(gradients[third][place], &sums[at / BLOCK * columns..][..columns], at % BLOCK, 1.0);
        }
    }
}

/// s = x·yᵀ for x (BLOCK, D) and the strip's places of y, transposed.
fn scores(unit: Unit, x: &Rows, strip: &[Tile], y: &Tiles, s: &mut [f32]) {
    let width = strip.len() * BLOCK;
    let mut sums = NONE;
    for (at, tile) in strip.iter().enumerate() {
        let column = y.column(tile.column);
        unit.block(x.left(&[0], column.len()), &[column], &mut sums);
        for (s, sums) in s.chunks_exact_mut(width).zip(&sums) {
            s[at * BLOCK..][..BLOCK].copy_from_slice(sums);
        }
    }
}

/// sums = s·y at 32 columns of y, for the places of the strip.
fn weighted(unit: Unit, s: &[u16], strip: &[Tile], y: &[crate::kernels::cpu::bf16::Tile], sums: &mut Sums) {
    let mut segments = [0; STRIP];
    let mut tiles: [&[_]; STRIP] = [&[]; STRIP];
    for (at, tile) in strip.iter().enumerate() {
        segments[at] = at * BLOCK;
        tiles[at] = &y[tile.column..=tile.column];
    }
    let left = Left { values: s, stride: strip.len() * BLOCK, segments: &segments[..strip.len()], lines: 1 };
    unit.block(left, &tiles[..strip.len()], sums);
}

fn round(s: &[f32], rounded: &mut [u16]) {
    vectorised!(|| for (to, &s) in rounded.iter_mut().zip(s) {
        *to = Bf16::round(s).0;
    });
}

fn add(total: &mut Sums, sums: &Sums) {
    reduce::add(total.as_flattened_mut(), sums.as_flattened());
}

/// row += scale·row `at` of the columns.
fn put(row: &mut [f32], columns: &[Sums], at: usize, scale: f32) {
    for (row, sums) in row.chunks_mut(SIDE).zip(columns) {
        row.iter_mut().zip(&sums[at]).for_each(|(x, sum)| *x += scale * sum);
    }
}
