//! The products of some rows of x and of w, each in one order that depends on I alone.
//! Legend: R rows of x, P pairs of rows of w, I inputs.

use super::stored::Stored;
use super::{LANES, Pair};
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

/// Σ x·w of R rows of x and P pairs of rows of w, in V registers of L values for each row of x.
#[inline(always)]
pub(super) fn dots<E: Real, S: Stored<E>, const R: usize, const P: usize, const V: usize, const L: usize>(
    x: &[[[E; LANES]; R]],
    w: [&[Pair<S>]; P],
) -> [[[E; 2]; P]; R] {
    const { assert!(V * L == P * 2 * LANES) }
    let mut sums = [[[E::of(0.0); L]; V]; R];
    let mut pairs = w;
    for (pair, w) in pairs.iter_mut().zip(w) {
        *pair = &w[..x.len()];
    }
    for (block, x) in x.iter().enumerate() {
        let mut wide = [[E::of(0.0); L]; V];
        for (wide, pair) in wide.as_flattened_mut().chunks_exact_mut(2 * LANES).zip(&pairs) {
            for (wide, &w) in wide.iter_mut().zip(&pair[block]) {
                *wide = w.widen();
            }
            prefetch(&pair[block]);
        }
        sums = plus_products(sums, x, &wide);
    }
    // In memory, once: otherwise the compiler splits the sums into the parts that `halve` adds, and the loop with them.
    let sums = std::hint::black_box(sums);
    let mut dots = [[[E::of(0.0); 2]; P]; R];
    for (dots, sums) in dots.iter_mut().zip(&sums) {
        for (dot, sums) in dots.as_flattened_mut().iter_mut().zip(sums.as_flattened().as_chunks::<LANES>().0) {
            *dot = halve(*sums, |a, b| a + b);
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

/// sums + x·w, where a register of w holds the weights of L/LANES rows for the same LANES values of x.
#[inline(always)]
fn plus_products<E: Real, const R: usize, const V: usize, const L: usize>(
    mut sums: [[[E; L]; V]; R],
    x: &[[E; LANES]; R],
    w: &[[E; L]; V],
) -> [[[E; L]; V]; R] {
    for (sums, x) in sums.iter_mut().zip(x) {
        let mut repeated = [E::of(0.0); L];
        for part in repeated.chunks_exact_mut(LANES) {
            part.copy_from_slice(x);
        }
        for (sum, w) in sums.iter_mut().zip(w) {
            for ((sum, &x), &w) in sum.iter_mut().zip(&repeated).zip(w) {
                *sum = x.mul_add(w, *sum);
            }
        }
    }
    sums
}
