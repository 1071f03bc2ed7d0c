//! Sums over many rows: weight and bias gradients. The rows fall into a fixed number of parts, each part is summed apart,
//! and the partial sums are added in order.

use super::lanes::vectorised;
use super::matmul::{View, matmul, matmul_seq};
use super::parallel::{TASKS, pieces, rows_per_task};
use crate::kernels::Real;
use rayon::prelude::*;
use std::ops::Range;

/// The most elements that all the partial sums of one call may hold together.
pub(super) const PARTIALS: usize = 1 << 22;

/// total += part, as far as the shorter goes
pub(super) fn add<E: Real>(total: &mut [E], part: &[E]) {
    vectorised!(|| {
        for (total, part) in total.iter_mut().zip(part) {
            *total += *part;
        }
    });
}

/// `sums (C) += Σ_r x[r]`, for x (R, C).
pub(super) fn column_sums<E: Real>(x: &[E], cols: usize, sums: &mut [E]) {
    let rows = x.len() / cols;
    let parts = x.par_chunks(rows_per_task(rows, cols) * cols).map(|x| {
        let mut part = vec![E::of(0.0); cols];
        vectorised!(|| {
            for row in x.chunks_exact(cols) {
                for (sum, x) in part.iter_mut().zip(row) {
                    *sum += *x;
                }
            }
        });
        part
    });
    for part in parts.collect::<Vec<_>>() {
        add(sums, &part);
    }
}

/// sum (M, N) += leftᵀ·right, for left (R, M), right (R, N).
pub(super) fn outer_product<E: Real>(left: &[E], right: &[E], (m, n): (usize, usize), sum: &mut [E]) {
    let rows = left.len() / m;
    if rows < 1024 {
        return matmul(sum, (m, n, rows), View::rows(left, m).t(), View::rows(right, n), true);
    }
    // Fewer rows than these are not worth a partial sum; narrower blocks of `left` not a second pass over `right`.
    const ROWS: usize = 512;
    const NARROW: usize = 64;
    let most = (rows * m * n) >> 20;
    let blocks = (m / NARROW).min(most).clamp(1, TASKS / 2);
    let parts = (TASKS / 2 / blocks).min(PARTIALS / (m * n).max(1)).min(rows / ROWS).min(most).max(1);
    let (block, part) = (m.div_ceil(blocks).max(1), rows.div_ceil(parts).max(1));
    let product = |rows: Range<usize>, columns: Range<usize>, sum: &mut [E]| {
        let left = View { data: &left[rows.start * m + columns.start..rows.end * m], row: 1, col: m };
        let right = View::rows(&right[rows.start * n..rows.end * n], n);
        matmul_seq(sum, (columns.len(), n, rows.len()), left, right, true);
    };
    if parts == 1 {
        let tasks = sum.par_chunks_mut(block * n).zip_eq(pieces(m, block).collect::<Vec<_>>());
        return tasks.with_max_len(1).for_each(|(sum, columns)| product(0..rows, columns, sum));
    }
    let tasks: Vec<_> = pieces(m, block).flat_map(|b| pieces(rows, part).map(move |r| (r, b.clone()))).collect();
    let partials = tasks.into_par_iter().with_max_len(1).map(|(rows, columns)| {
        let mut partial = vec![E::of(0.0); columns.len() * n];
        product(rows, columns.clone(), &mut partial);
        (columns, partial)
    });
    for (columns, partial) in partials.collect::<Vec<_>>() {
        add(&mut sum[columns.start * n..columns.end * n], &partial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_same_on_any_threads, normals};

    #[test]
    fn outer_products_equal_the_definition_on_any_threads() {
        // In one piece, split by rows, split by columns of the left factor, split both ways; with a start that is kept.
        for (rows, m, n) in [(70, 3, 5), (9000, 8, 48), (1100, 300, 40), (3000, 130, 33)] {
            let (left, right) = (normals::<f64>("left", rows * m), normals::<f64>("right", rows * n));
            let start = normals::<f64>("start", m * n);
            let mut expected = start.clone();
            for r in 0..rows {
                for (i, l) in left[r * m..(r + 1) * m].iter().enumerate() {
                    for (j, x) in right[r * n..(r + 1) * n].iter().enumerate() {
                        expected[i * n + j] += l * x;
                    }
                }
            }
            let whole = || {
                let mut sum = start.clone();
                outer_product(&left, &right, (m, n), &mut sum);
                sum
            };
            assert_same_on_any_threads(whole);
            assert_close(&whole(), &expected, 1e-11);
        }
    }

    #[test]
    fn column_sums_equal_the_definition_on_any_threads() {
        let (rows, cols) = (5003, 7);
        let x = normals::<f64>("x", rows * cols);
        let run = || {
            let mut sums = vec![1.0; cols];
            column_sums(&x, cols, &mut sums);
            sums
        };
        assert_same_on_any_threads(run);
        let expected: Vec<f64> = (0..cols).map(|c| 1.0 + x.iter().skip(c).step_by(cols).sum::<f64>()).collect();
        assert_close(&run(), &expected, 1e-11);
    }
}
