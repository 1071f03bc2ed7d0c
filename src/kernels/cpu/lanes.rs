//! Reductions that vectorise: [`LANES`] running values, element i going to lane i mod [`LANES`], combined by halves at the
//! end. The order of the additions depends on the length alone, and products and sums are rounded separately (no fused
//! multiply-add), so the bits are the same on every CPU.

use crate::kernels::Real;

/// Running values per reduction: two AVX2 registers of f32, one of AVX-512.
pub(super) const LANES: usize = 16;

/// Runs a closure compiled for the widest vector instructions that this CPU has. What it calls must inline, otherwise that
/// is compiled for the baseline. Scalars are captured by value (`move`): read through a reference, they might alias what a
/// loop writes, and the loop would not vectorise.
macro_rules! vectorised {
    ($($move:ident)? || $body:expr) => {{
        let once = $crate::kernels::cpu::lanes::Once;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            $($move)? || {
                let _once = once;
                $body
            },
        )
    }};
}
pub(super) use vectorised;

/// What [`vectorised!`] moves into its closure so that it can be called only once: a closure that could be called again is
/// called through a wrapper, which is not always inlined, and then the loops inside would be compiled for the baseline.
pub(super) struct Once;

/// Whether [`vectorised!`] compiles for registers of sixteen f32, and not of eight, on this CPU. Where arrays are half as long as
/// a register the compiler gathers across them: the products of eight rows took 17 times as long.
pub(super) fn sixteen() -> bool {
    #[cfg(target_arch = "x86_64")]
    return pulp::x86::V4::try_new().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Folds `term` of N slices' elements (all of the first slice's length) with `combine`, whose neutral element is `neutral`.
#[inline(always)]
fn fold<E: Real, A: Copy, const N: usize>(
    slices: [&[E]; N],
    neutral: A,
    term: impl Fn([E; N]) -> A,
    combine: impl Fn(A, A) -> A,
) -> A {
    let length = slices[0].len();
    let parts = slices.map(|slice| slice[..length].as_chunks::<LANES>());
    let mut lanes = [neutral; LANES];
    for block in 0..length / LANES {
        let blocks: [&[E; LANES]; N] = parts.map(|(blocks, _)| &blocks[block]);
        for (lane, value) in lanes.iter_mut().enumerate() {
            *value = combine(*value, term(blocks.map(|block| block[lane])));
        }
    }
    for (lane, value) in lanes.iter_mut().enumerate().take(length % LANES) {
        *value = combine(*value, term(parts.map(|(_, tail)| tail[lane])));
    }
    halve(lanes, combine)
}

/// Combines the lanes, 16 or 8, by halves: to 8 to 4 to 2 to 1.
#[inline(always)]
pub(super) fn halve<A: Copy, const N: usize>(mut lanes: [A; N], combine: impl Fn(A, A) -> A) -> A {
    for half in [8, 4, 2, 1] {
        // Not a filter: the compiler would not unroll it.
        if 2 * half <= N {
            for lane in 0..half {
                lanes[lane] = combine(lanes[lane], lanes[lane + half]);
            }
        }
    }
    lanes[0]
}

/// `Σ term(slices[0][i], slices[1][i], …)`.
#[inline(always)]
pub(super) fn sum_by<E: Real, const N: usize>(slices: [&[E]; N], term: impl Fn([E; N]) -> E) -> E {
    fold(slices, E::of(0.0), term, |a, b| a + b)
}

/// [`sum_by`] of one slice in f64.
#[inline(always)]
pub(super) fn wide_sum_by<E: Real>(x: &[E], term: impl Fn(f64) -> f64) -> f64 {
    fold([x], 0.0, |[x]| term(x.as_f64()), |a, b| a + b)
}

/// The largest element, −∞ of none; NaNs are passed over.
#[inline(always)]
pub(super) fn max<E: Real>(x: &[E]) -> E {
    fold([x], E::of(f64::NEG_INFINITY), |[x]| x, |a, b| if b > a { b } else { a })
}

/// x = e^{x − shift}; returns the sum.
#[inline(always)]
pub(super) fn exp_in_place<E: Real>(x: &mut [E], shift: E) -> E {
    let mut lanes = [E::of(0.0); LANES];
    let (blocks, tail) = x.as_chunks_mut::<LANES>();
    for block in blocks {
        for (x, sum) in block.iter_mut().zip(&mut lanes) {
            *x = (*x - shift).fast_exp();
            *sum += *x;
        }
    }
    for (x, sum) in tail.iter_mut().zip(&mut lanes) {
        *x = (*x - shift).fast_exp();
        *sum += *x;
    }
    halve(lanes, |a, b| a + b)
}

/// Σ a·b.
#[inline(always)]
pub(super) fn dot<E: Real>(a: &[E], b: &[E]) -> E {
    sum_by([a, b], |[a, b]| a * b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, normals};

    #[test]
    fn reductions_equal_plain_loops_at_every_length() {
        for length in [0, 1, 7, 15, 16, 17, 31, 32, 33, 100] {
            let (a, b): (Vec<f64>, Vec<f64>) = (normals("a", length), normals("b", length));
            let plain: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_close(&[dot(&a, &b)], &[plain], 1e-13);
            assert_eq!(max(&a), a.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            assert_close(&[wide_sum_by(&a, |a| a * a)], &[a.iter().map(|a| a * a).sum()], 1e-13);
        }
    }

    #[test]
    fn the_widest_instructions_do_not_change_the_bits() {
        let (a, b): (Vec<f32>, Vec<f32>) = (normals("a", 999), normals("b", 999));
        let plain = dot(&a, &b);
        assert_eq!(vectorised!(|| dot(&a, &b)).to_bits(), plain.to_bits());
    }
}
