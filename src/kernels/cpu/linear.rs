//! y = x·wᵀ + b. Shapes: x (R, I), w (O, I), b (O), y (R, O); sizes are given as (I, O).

use super::lanes::{dot, four_dots, vectorised};
use super::matmul::{View, matmul};
use super::parallel::{by_columns, expect_lengths, rows_per_task};
use super::reduce;
use crate::kernels::Real;
use rayon::prelude::*;

/// y = x·wᵀ + b. For many rows: the products go through [`matmul`].
pub fn forward<E: Real>(x: &[E], w: &[E], b: Option<&[E]>, (inputs, outputs): (usize, usize), y: &mut [E]) {
    let rows = check("linear::forward", x, w, b, (inputs, outputs), y);
    if let Some(b) = b {
        fill_rows(y, b);
    }
    matmul(y, (rows, outputs, inputs), View::rows(x, inputs), View::rows(w, inputs).t(), b.is_some());
}

/// dx += dy·w
pub fn backward_input<E: Real>(dy: &[E], w: &[E], (inputs, outputs): (usize, usize), dx: &mut [E]) {
    let rows = check("linear::backward_input", dx, w, None, (inputs, outputs), dy);
    matmul(dx, (rows, inputs, outputs), View::rows(dy, outputs), View::rows(w, inputs), true);
}

/// dw += dyᵀ·x
pub fn backward_weight<E: Real>(dy: &[E], x: &[E], (inputs, outputs): (usize, usize), dw: &mut [E]) {
    check("linear::backward_weight", x, dw, None, (inputs, outputs), dy);
    reduce::outer_product(dy, x, (outputs, inputs), dw);
}

/// db += Σ_rows dy  (`outputs` columns)
pub fn backward_bias<E: Real>(dy: &[E], outputs: usize, db: &mut [E]) {
    let rows = dy.len() / outputs;
    expect_lengths("linear::backward_bias", &[("dy", dy.len(), rows * outputs), ("db", db.len(), outputs)]);
    reduce::column_sums(dy, outputs, db);
}

/// The decode path: like [`forward`], but every output element is summed in one order that depends on `inputs` alone,
/// whatever the rows, the threads and the CPU: a sample does not depend on its batch.
pub fn decode<E: Real>(x: &[E], w: &[E], b: Option<&[E]>, (inputs, outputs): (usize, usize), y: &mut [E]) {
    let rows = check("linear::decode", x, w, b, (inputs, outputs), y);
    let block = rows_per_task(outputs, rows * inputs);
    let tasks = by_columns(y, outputs, block).into_par_iter().zip_eq(w.par_chunks(block * inputs)).enumerate();
    tasks.for_each(|(task, (mut y, w))| {
        vectorised!(|| {
            for (o, w) in w.chunks_exact(inputs).enumerate() {
                let bias = b.map_or(E::of(0.0), |b| b[task * block + o]);
                // Four rows at a time: a row of w is loaded once for all of them.
                for (y, x) in y.chunks_mut(4).zip(x.chunks(4 * inputs)) {
                    let row = |r: usize| &x[r * inputs..(r + 1) * inputs];
                    if let [y0, y1, y2, y3] = y {
                        let sums = four_dots([row(0), row(1), row(2), row(3)], w);
                        [y0[o], y1[o], y2[o], y3[o]] = sums.map(|sum| sum + bias);
                    } else {
                        for (r, y) in y.iter_mut().enumerate() {
                            y[o] = dot(row(r), w) + bias;
                        }
                    }
                }
            }
        });
    });
}

/// Every row of y = b.
fn fill_rows<E: Real>(y: &mut [E], b: &[E]) {
    let rows = y.len() / b.len();
    y.par_chunks_mut(rows_per_task(rows, b.len()) * b.len()).for_each(|y| fill_rows_seq(y, b));
}

/// [`fill_rows`] on the calling thread.
pub(super) fn fill_rows_seq<E: Real>(y: &mut [E], b: &[E]) {
    for row in y.chunks_exact_mut(b.len()) {
        row.copy_from_slice(b);
    }
}

/// Asserts the lengths; returns the rows.
#[track_caller]
fn check<E>(kernel: &str, x: &[E], w: &[E], b: Option<&[E]>, (inputs, outputs): (usize, usize), y: &[E]) -> usize {
    assert!(inputs > 0 && outputs > 0, "{kernel}: {inputs} inputs and {outputs} outputs, expected at least one each");
    let rows = x.len() / inputs;
    let lengths = [
        ("x", x.len(), rows * inputs),
        ("w", w.len(), outputs * inputs),
        ("b", b.map_or(outputs, <[E]>::len), outputs),
        ("y", y.len(), rows * outputs),
    ];
    expect_lengths(kernel, &lengths);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};

    fn naive(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let inputs = w.len() / b.len();
        x.chunks(inputs).flat_map(|x| w.chunks(inputs).zip(b).map(|(w, b)| weighted(x, w) + b)).collect()
    }

    #[test]
    fn forward_and_decode_equal_the_definition() {
        for (rows, inputs, outputs) in [(1, 1, 1), (3, 17, 5), (9, 40, 33), (300, 70, 200)] {
            let x = normals::<f64>("x", rows * inputs);
            let (w, b) = (normals::<f64>("w", outputs * inputs), normals::<f64>("b", outputs));
            let mut y = vec![f64::NAN; rows * outputs];
            forward(&x, &w, Some(&b), (inputs, outputs), &mut y);
            assert_close(&y, &naive(&x, &w, &b), 1e-12);
            forward(&x, &w, None, (inputs, outputs), &mut y);
            assert_close(&y, &naive(&x, &w, &vec![0.0; outputs]), 1e-12);
            decode(&x, &w, Some(&b), (inputs, outputs), &mut y);
            assert_close(&y, &naive(&x, &w, &b), 1e-12);
            decode(&x, &w, None, (inputs, outputs), &mut y);
            assert_close(&y, &naive(&x, &w, &vec![0.0; outputs]), 1e-12);
        }
    }

    #[test]
    fn gradients_equal_central_differences() {
        let (rows, inputs, outputs) = (3, 5, 4);
        let (x, dy) = (normals::<f64>("x", rows * inputs), normals::<f64>("dy", rows * outputs));
        let (w, b) = (normals::<f64>("w", outputs * inputs), normals::<f64>("b", outputs));
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
        backward_input(&dy, &w, (inputs, outputs), &mut dx);
        backward_weight(&dy, &x, (inputs, outputs), &mut dw);
        backward_bias(&dy, outputs, &mut db);
        assert_gradient(&x, &dx, |x| weighted(&naive(x, &w, &b), &dy));
        assert_gradient(&w, &dw, |w| weighted(&naive(&x, w, &b), &dy));
        assert_gradient(&b, &db, |b| weighted(&naive(&x, &w, b), &dy));
        let once = dw.clone();
        backward_weight(&dy, &x, (inputs, outputs), &mut dw);
        assert_close(&dw, &once.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-12);
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let (rows, inputs, outputs) = (2100, 70, 40);
        let (x, dy) = (normals::<f32>("x", rows * inputs), normals::<f32>("dy", rows * outputs));
        let (w, b) = (normals::<f32>("w", outputs * inputs), normals::<f32>("b", outputs));
        assert_same_on_any_threads(|| {
            let (mut y, mut dx) = (vec![0.0; rows * outputs], vec![0.0; rows * inputs]);
            let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; outputs]);
            forward(&x, &w, Some(&b), (inputs, outputs), &mut y);
            backward_input(&dy, &w, (inputs, outputs), &mut dx);
            backward_weight(&dy, &x, (inputs, outputs), &mut dw);
            backward_bias(&dy, outputs, &mut db);
            [y, dx, dw, db].concat()
        });
        assert_same_on_any_threads(|| {
            let mut y = vec![0.0; rows * outputs];
            decode(&x, &w, Some(&b), (inputs, outputs), &mut y);
            y
        });
    }

    #[test]
    fn decode_of_a_row_does_not_depend_on_the_other_rows() {
        let (inputs, outputs) = (301, 67);
        let (x, w) = (normals::<f32>("x", 8 * inputs), normals::<f32>("w", outputs * inputs));
        let run = |rows: usize| {
            let mut y = vec![0f32; rows * outputs];
            decode(&x[..rows * inputs], &w, None, (inputs, outputs), &mut y);
            y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let all = run(8);
        for rows in [1, 3, 4, 7] {
            assert_eq!(run(rows), all[..rows * outputs], "{rows} rows");
        }
    }

    #[test]
    #[should_panic(expected = "linear::forward: `w` has 5 elements, expected 6")]
    fn a_weight_of_the_wrong_size_is_refused() {
        forward(&[0.0f32; 4], &[0.0; 5], None, (2, 3), &mut [0.0; 6]);
    }
}
