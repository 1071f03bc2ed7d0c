//! The three products of attention over a strip of tiles: four rows of 16 sums stay in registers while the other
//! factor's panel streams by. Measured on one core, f32: 106 GFLOP/s each, where a product of two large matrices reaches
//! 115; taller or wider register tiles were slower (36 to 68), since the compiler then spills the sums. They
//! go in and out of the innermost functions by value: behind a reference they were spilled too (30).
//!
//! Legend: a strip is up to [`STRIP`] tiles of one block of queries; its scores are (BLOCK, tiles·BLOCK).

use super::BLOCK;
use crate::kernels::Real;
use crate::kernels::cpu::lanes::{LANES, vectorised};
use crate::mask::Tile;

/// The most tiles of a strip: its scores (32 KiB in f32) stay in a core's cache.
pub const STRIP: usize = 8;

/// Rows of sums in registers.
const ROWS: usize = 4;

/// s = x·yᵀ for x (BLOCK, D) and the strip's places of y, transposed in panels (places/L, D, L).
pub fn scores<E: Real>(x: &[E], dim: usize, strip: &[Tile], y: &[[E; LANES]], s: &mut [E]) {
    let width = strip.len() * BLOCK;
    vectorised!(|| {
        for (at, tile) in strip.iter().enumerate() {
            let y = &y[tile.column * BLOCK / LANES * dim..][..BLOCK / LANES * dim];
            for (y, start) in y.chunks_exact(dim).zip((at * BLOCK..).step_by(LANES)) {
                for i in (0..BLOCK).step_by(ROWS) {
                    let sums = multiply([[E::of(0.0); LANES]; ROWS], &x[i * dim..], dim, y);
                    for (row, sums) in s[i * width..].chunks_exact_mut(width).zip(&sums) {
                        row[start..start + LANES].copy_from_slice(sums);
                    }
                }
            }
        }
    });
}

/// sums += s·y for y's panels (⌈D/L⌉, places, L) and sums (⌈D/L⌉, BLOCK, L).
pub fn weighted_sums<E: Real>(s: &[E], strip: &[Tile], y: &[[E; LANES]], sums: &mut [[E; LANES]]) {
    let width = strip.len() * BLOCK;
    let places = y.len() / (sums.len() / BLOCK);
    vectorised!(|| {
        for (y, sums) in y.chunks_exact(places).zip(sums.chunks_exact_mut(BLOCK)) {
            for (i, rows) in sums.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
                let mut sums = *rows;
                for (at, tile) in strip.iter().enumerate() {
                    sums =
                        multiply(sums, &s[i * ROWS * width + at * BLOCK..], width, &y[tile.column * BLOCK..][..BLOCK]);
                }
                *rows = sums;
            }
        }
    });
}

/// sums += sᵀ·x at the strip's places, for x's panels (⌈D/L⌉, BLOCK, L) and sums (⌈D/L⌉, places, L).
pub fn weighted_sums_transposed<E: Real>(s: &[E], strip: &[Tile], x: &[[E; LANES]], sums: &mut [[E; LANES]]) {
    let width = strip.len() * BLOCK;
    let places = sums.len() / (x.len() / BLOCK);
    vectorised!(|| {
        for (x, sums) in x.chunks_exact(BLOCK).zip(sums.chunks_exact_mut(places)) {
            for (at, tile) in strip.iter().enumerate() {
                let sums = sums[tile.column * BLOCK..][..BLOCK].as_chunks_mut::<ROWS>().0;
                for (rows, start) in sums.iter_mut().zip((at * BLOCK..).step_by(ROWS)) {
                    let mut sums = *rows;
                    for (s, x) in s.chunks_exact(width).zip(x) {
                        sums = rank_one(sums, &s[start..start + ROWS], x);
                    }
                    *rows = sums;
                }
            }
        }
    });
}

/// sums + a·b for the ROWS rows of a that begin `stride` values apart, and the rows of b.
#[inline(always)]
fn multiply<E: Real>(mut sums: [[E; LANES]; ROWS], a: &[E], stride: usize, b: &[[E; LANES]]) -> [[E; LANES]; ROWS] {
    let rows: [&[E]; ROWS] = std::array::from_fn(|row| &a[row * stride..][..b.len()]);
    for (k, b) in b.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let x = row[k];
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = x.mul_add(b, *sum);
            }
        }
    }
    sums
}

/// sums + a·b for a column a and a row b.
#[inline(always)]
fn rank_one<E: Real>(mut sums: [[E; LANES]; ROWS], a: &[E], b: &[E; LANES]) -> [[E; LANES]; ROWS] {
    for (sums, &x) in sums.iter_mut().zip(a) {
        for (sum, &b) in sums.iter_mut().zip(b) {
            *sum = x.mul_add(b, *sum);
        }
    }
    sums
}
