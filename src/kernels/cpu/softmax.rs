//! Softmax of rows. Shapes: x, y (R, C).

use super::lanes::{exp_in_place, max, sum_by, vectorised};
use super::parallel::{expect_lengths, rows_per_task};
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

compiled! {
    /// y = e^{x − max x} / Σ e^{x − max x}, row by row; C is `cols`.
    pub fn forward(x: &[E], cols: usize, y: &mut [E]) = forward_of;
}

fn forward_of<E: Real>(x: &[E], cols: usize, y: &mut [E]) {
    let rows = x.len() / cols;
    expect_lengths("softmax::forward", &[("x", x.len(), rows * cols), ("y", y.len(), x.len())]);
    let chunk = rows_per_task(rows, cols) * cols;
    y.par_chunks_mut(chunk).zip_eq(x.par_chunks(chunk)).for_each(|(y, x)| {
        vectorised!(move || {
            for (y, x) in y.chunks_exact_mut(cols).zip(x.chunks_exact(cols)) {
                y.copy_from_slice(x);
                row_in_place(y);
            }
        });
    });
}

/// Softmax of one row in place; returns its logsumexp.
#[inline(always)]
pub(super) fn row_in_place<E: Real>(row: &mut [E]) -> E {
    let shift = max(row);
    let sum = exp_in_place(row, shift);
    let scale = E::of(1.0) / sum;
    for x in row.iter_mut() {
        *x *= scale;
    }
    shift + sum.ln()
}

/// The logsumexp of one row.
#[inline(always)]
pub(super) fn logsumexp<E: Real>(row: &[E]) -> E {
    let shift = max(row);
    shift + sum_by([row], |[x]| (x - shift).fast_exp()).ln()
}

/// dx += scale·y·(dy − Σ y·dy) of one row, from the forward's output `y`.
#[inline(always)]
pub(super) fn backward_row<E: Real>(dy: &[E], y: &[E], scale: E, dx: &mut [E]) {
    let mean = sum_by([y, dy], |[y, dy]| y * dy);
    for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
        *dx += scale * *y * (*dy - mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};

    fn naive(x: &[f64], cols: usize) -> Vec<f64> {
        let row = |x: &[f64]| {
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            x.iter().map(|x| x.exp() / sum).collect::<Vec<_>>()
        };
        x.chunks(cols).flat_map(row).collect()
    }

    #[test]
    fn forward_equals_the_definition() {
        for cols in [1, 5, 16, 37] {
            let x = normals::<f64>("x", 6 * cols);
            let mut y = vec![0.0; x.len()];
            forward(&x, cols, &mut y);
            assert_close(&y, &naive(&x, cols), 1e-14);
            let x32: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let mut y = vec![0f32; x.len()];
            forward(&x32, cols, &mut y);
            assert_close(&y, &naive(&x, cols), 1e-6);
        }
    }

    #[test]
    fn large_logits_neither_overflow_nor_vanish() {
        let mut y = [0f32; 3];
        forward(&[1000.0, 1000.0, -1000.0], 3, &mut y);
        assert_eq!(y, [0.5, 0.5, 0.0]);
    }

    #[test]
    fn backward_equals_central_differences() {
        let cols = 19;
        let (x, dy) = (normals::<f64>("x", 3 * cols), normals::<f64>("dy", 3 * cols));
        let mut dx = vec![0.0; x.len()];
        let y = naive(&x, cols);
        for ((dx, dy), y) in dx.chunks_mut(cols).zip(dy.chunks(cols)).zip(y.chunks(cols)) {
            backward_row(dy, y, 1.0, dx);
        }
        assert_gradient(&x, &dx, |x| weighted(&naive(x, cols), &dy));
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let cols = 70;
        let x = normals::<f32>("x", 900 * cols);
        assert_same_on_any_threads(|| {
            let mut y = vec![0.0; x.len()];
            forward(&x, cols, &mut y);
            y
        });
    }
}
