//! The products of some rows of x and of w, each in one order that depends on I alone.
//! Legend: R rows of x, W rows of w, I inputs.

use super::LANES;
use super::stored::Stored;
use crate::kernels::Real;
use crate::kernels::cpu::lanes::halve;

/// Bytes of w that are on their way from the memory while a core adds.
const AHEAD: usize = 1 << 14;

/// x (R, I) as the products read it: (⌈rows/R⌉, ⌈I/LANES⌉, R, LANES), zero beyond both.
pub(super) fn tiles<E: Real, const R: usize>(x: &[E], inputs: usize) -> Vec<[[E; LANES]; R]> {
    let length = inputs.div_ceil(LANES);
    let mut tiles = vec![[[E::of(0.0); LANES]; R]; (x.len() / inputs).div_ceil(R) * length];
    for (x, tile) in x.chunks(R * inputs).zip(tiles.chunks_exact_mut(length)) {
        for (r, x) in x.chunks_exact(inputs).enumerate() {
            for (x, block) in x.chunks(LANES).zip(&mut *tile) {
                block[r][..x.len()].copy_from_slice(x);
            }
        }
    }
    tiles
}

/// Σ x·w of R rows of x and W of w.
#[inline(always)]
pub(super) fn dots<E: Real, S: Stored<E>, const R: usize, const W: usize>(
    x: &[[[E; LANES]; R]],
    w: [&[[S; LANES]]; W],
) -> [[E; W]; R] {
    let mut sums = [[[E::of(0.0); LANES]; W]; R];
    let mut rows = w;
    for (row, w) in rows.iter_mut().zip(w) {
        *row = &w[..x.len()];
    }
    for (block, x) in x.iter().enumerate() {
        let mut wide = [[E::of(0.0); LANES]; W];
        for (wide, row) in wide.iter_mut().zip(&rows) {
            for (wide, &w) in wide.iter_mut().zip(&row[block]) {
                *wide = w.widen();
            }
            prefetch(&row[block]);
        }
        sums = plus_products(sums, x, &wide);
    }
    // In memory, once: otherwise the compiler splits the sums into the parts that `halve` adds, and the loop with them.
    let sums = std::hint::black_box(sums);
    let mut dots = [[E::of(0.0); W]; R];
    for r in 0..R {
        for o in 0..W {
            dots[r][o] = halve(sums[r][o], |a, b| a + b);
        }
    }
    dots
}

/// Asks for the weights that lie [`AHEAD`] of these. Left alone, a core waits for the memory between its sums: with eight rows
/// a step took the time of both, 9.1 ms instead of 6.0 for 120 MB of f32.
#[inline(always)]
fn prefetch<T>(weights: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let ahead = std::ptr::from_ref(weights).cast::<i8>().wrapping_add(AHEAD);
        // SAFETY: a prefetch reads nothing and never faults, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = weights;
}

/// sums + x·w
#[inline(always)]
fn plus_products<E: Real, const R: usize, const W: usize>(
    mut sums: [[[E; LANES]; W]; R],
    x: &[[E; LANES]; R],
    w: &[[E; LANES]; W],
) -> [[[E; LANES]; W]; R] {
    for (sums, x) in sums.iter_mut().zip(x) {
        for (sum, w) in sums.iter_mut().zip(w) {
            for ((sum, &x), &w) in sum.iter_mut().zip(x).zip(w) {
                *sum = x.mul_add(w, *sum);
            }
        }
    }
    sums
}
