//! Every unit against the definition, at ragged sizes.

use super::*;
use crate::kernels::cpu::testing::{assert_same_on_any_threads, normals};
use proptest::prelude::*;
use std::io::Write;

/// The units of this CPU; the others are named.
fn units() -> Vec<Unit> {
    let (here, missing): (Vec<Unit>, Vec<Unit>) = Unit::ALL.into_iter().partition(|unit| unit.is_here());
    for unit in missing {
        let _ = writeln!(std::io::stderr(), "skipped: Unit::{unit:?}, which this CPU lacks");
    }
    here
}

fn rounded(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| Bf16::round(x).widen().into()).collect()
}

/// a·b of the rounded factors, exactly, and the largest error that f32 sums may have: of each sum k roundings of at most the sum of the
/// products' sizes.
fn exact((m, n, k): (usize, usize, usize), a: &[f32], b: &[f32]) -> Vec<(f64, f64)> {
    let (a, b) = (rounded(a), rounded(b));
    let products = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).collect::<Vec<_>>();
    let sum = |products: Vec<f64>| {
        let size: f64 = products.iter().map(|x| x.abs()).sum();
        (products.iter().sum(), size * (k + 1) as f64 * 2f64.powi(-24))
    };
    (0..m * n).map(|x| sum(products(x / n, x % n))).collect()
}

fn transposed(x: &[f32], cols: usize) -> Vec<f32> {
    let rows = x.len() / cols.max(1);
    (0..x.len()).map(|at| x[at % rows * cols + at / rows]).collect()
}

#[track_caller]
fn assert_within(got: &[f32], expected: &[(f64, f64)], what: &str) {
    for (at, (got, (expected, bound))) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*got) - expected).abs() <= *bound, "{what}: {got} at {at}, expected {expected} ± {bound:e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_unit_equals_the_definition(m in 1usize..100, n in 1usize..100, k in 0usize..150) {
        let (a, b, start) = (normals::<f32>("a", m * k), normals::<f32>("b", k * n), normals::<f32>("c", m * n));
        let expected = exact((m, n, k), &a, &b);
        // A matrix without elements does not say its other side.
        prop_assume!(k > 0);
        let rows = [Rows::of(&a, k), Rows::transposed(&transposed(&a, k), m)];
        let tiles = [Tiles::of(&b, n), Tiles::transposed(&transposed(&b, n), k), Rows::of(&b, n).tiles()];
        for unit in units() {
            let mut first: Option<Vec<u32>> = None;
            for (a, b) in rows.iter().flat_map(|a| tiles.iter().map(move |b| (a, b))) {
                let mut c = vec![f32::NAN; m * n];
                multiply(unit, &mut c, a, b, false);
                assert_within(&c, &expected, &format!("{unit:?}"));
                let bits: Vec<u32> = c.iter().map(|c| c.to_bits()).collect();
                assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{unit:?}: however the factors came");
                let (mut sum, mut also) = (start.clone(), vec![0.0; m * n]);
                multiply(unit, &mut sum, a, b, true);
                let added: Vec<f32> = start.iter().zip(&c).map(|(start, c)| start + c).collect();
                assert_eq!(sum, added, "{unit:?}: accumulated");
                let once = c.clone();
                multiply_then(unit, &mut c, &mut also, a, b, |c, also, first| {
                    also.copy_from_slice(c);
                    c.iter_mut().zip(first..).for_each(|(c, column)| *c += column as f32);
                });
                assert_eq!(&also, &once, "{unit:?}: what is finished is whole");
                let finished: Vec<f32> = once.iter().enumerate().map(|(at, c)| c + (at % n) as f32).collect();
                assert_eq!(c, finished, "{unit:?}: each piece is finished once");
            }
        }
    }
}

/// Split both ways, with ragged edges and more than one pass over k.
const SPLIT: (usize, usize, usize) = (203, 330, 4333);

#[test]
fn sums_depend_on_k_alone() {
    let (m, n, k) = SPLIT;
    let (a, b) = (normals::<f32>("a", m * k), normals::<f32>("b", k * n));
    let expected = exact(SPLIT, &a, &b);
    for unit in units() {
        let whole = || {
            let mut c = vec![0.0; m * n];
            multiply(unit, &mut c, &Rows::of(&a, k), &Tiles::of(&b, n), false);
            c
        };
        assert_same_on_any_threads(whole);
        let all = whole();
        assert_within(&all, &expected, &format!("{unit:?}"));
        // One row alone is what it is among others.
        let (row, mut one) = (117, vec![0.0; n]);
        multiply(unit, &mut one, &Rows::of(&a[row * k..][..k], k), &Tiles::of(&b, n), false);
        assert_eq!(one, all[row * n..][..n], "{unit:?}");
    }
}

/// Rows that overlap and consist of several segments, as the patches of a convolution do.
#[test]
fn rows_may_overlap_and_have_segments() {
    let (starts, stride, lines) = ([5, 170, 40], 3, 2);
    let (values, w) = (normals::<f32>("values", 400), normals::<f32>("w", starts.len() * lines * LINE * SIDE));
    let kept: Vec<u16> = values.iter().map(|&x| Bf16::round(x).0).collect();
    let k = starts.len() * lines * LINE;
    let gathered: Vec<f32> = (0..SIDE)
        .flat_map(|row| starts.iter().flat_map(move |start| start + row * stride..start + row * stride + lines * LINE))
        .map(|at| values[at])
        .collect();
    let expected = exact((SIDE, SIDE, k), &gathered, &w);
    let tiles = Tiles::of(&w, SIDE);
    let tiles: Vec<_> = tiles.column(0).chunks(lines).collect();
    for unit in units() {
        let mut sums: Sums = [[f32::NAN; SIDE]; SIDE];
        let left = Left { values: &kept, stride, segments: &starts, lines };
        unit.ready(|| unit.block(left, &tiles, &mut sums));
        assert_within(sums.as_flattened(), &expected, &format!("{unit:?}"));
        let short = Left { values: &kept[..kept.len() - 100], ..left };
        let refused = std::panic::catch_unwind(|| unit.ready(|| unit.block(short, &tiles, &mut [[0.0; SIDE]; SIDE])));
        assert!(refused.is_err(), "{unit:?}: past the end");
    }
}

#[test]
fn no_factors_are_zeros_and_no_rows_no_work() {
    for unit in units() {
        let mut c = [1.0; 6];
        let (mut a, mut b) = (Rows::of(&[0.0; 2], 1), Tiles::of(&[0.0; 3], 3));
        multiply(unit, &mut c, &a, &b, false);
        assert_eq!(c, [0.0; 6], "{unit:?}");
        (a, b) = (Rows::of(&[], 4), Tiles::of(&[0.0; 12], 3));
        multiply(unit, &mut [], &a, &b, false);
    }
}

#[test]
fn nan_and_infinity_stay_in_their_rows_and_columns() {
    for unit in units() {
        let (mut a, b) = (vec![1.0f32; 40 * 70], vec![1.0f32; 70 * 50]);
        (a[3 * 70 + 69], a[5 * 70 + 2]) = (f32::NAN, f32::INFINITY);
        let mut c = vec![0.0; 40 * 50];
        multiply(unit, &mut c, &Rows::of(&a, 70), &Tiles::of(&b, 50), false);
        for (row, c) in c.chunks(50).enumerate() {
            let right = |c: &f32| match row {
                3 => c.is_nan(),
                5 => *c == f32::INFINITY,
                _ => *c == 70.0,
            };
            assert!(c.iter().all(right), "{unit:?}, row {row}: {c:?}");
        }
    }
}

#[test]
#[should_panic(expected = "columns of a and rows of b")]
fn factors_that_do_not_fit_are_refused() {
    multiply(Unit::Plain, &mut [0.0], &Rows::of(&[0.0; 3], 3), &Tiles::of(&[0.0; 2], 1), false);
}
