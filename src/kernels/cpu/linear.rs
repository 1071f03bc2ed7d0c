//! y = x·wᵀ + b. Shapes: x (R, I), w (O, I), b (O), y (R, O); sizes are given as (I, O).

pub mod rounded;

use super::activation::{self, Activation};
use super::matmul::{View, matmul, matmul_then};
use super::parallel::expect_lengths;
use super::reduce;
use crate::kernels::{Real, compiled};

compiled! {
    /// y = x·wᵀ + b. For many rows: the products go through [`matmul`](super::matmul).
    pub fn forward(x: &[E], w: &[E], b: Option<&[E]>, sides: (usize, usize), y: &mut [E]) = forward_of;

    /// z = x·wᵀ + b and y = f(z), of each piece of z as soon as it is there.
    pub fn forward_activated(x: &[E], w: &[E], b: Option<&[E]>, sides: (usize, usize), f: Activation, out: (&mut [E], &mut [E])) = forward_activated_of;

    /// dx += dy·w
    pub fn backward_input(dy: &[E], w: &[E], sides: (usize, usize), dx: &mut [E]) = backward_input_of;

    /// dw += dyᵀ·x
    pub fn backward_weight(dy: &[E], x: &[E], sides: (usize, usize), dw: &mut [E]) = backward_weight_of;

    /// db += Σ_rows dy  (`outputs` columns)
    pub fn backward_bias(dy: &[E], outputs: usize, db: &mut [E]) = backward_bias_of;
}

fn forward_of<E: Real>(x: &[E], w: &[E], b: Option<&[E]>, (inputs, outputs): (usize, usize), y: &mut [E]) {
    let rows = check("linear::forward", x.len(), w, b, (inputs, outputs), y);
    let (sizes, x, w) = ((rows, outputs, inputs), View::rows(x, inputs), View::rows(w, inputs).t());
    match b {
        Some(b) => matmul_then(y, &mut [], sizes, x, w, |y, _, first| reduce::add(y, &b[first..])),
        None => matmul(y, sizes, x, w, false),
    }
}

fn forward_activated_of<E: Real>(
    x: &[E],
    w: &[E],
    b: Option<&[E]>,
    (inputs, outputs): (usize, usize),
    f: Activation,
    (z, y): (&mut [E], &mut [E]),
) {
    let rows = check("linear::forward_activated", x.len(), w, b, (inputs, outputs), z);
    expect_lengths("linear::forward_activated", &[("y", y.len(), rows * outputs)]);
    let (x, w) = (View::rows(x, inputs), View::rows(w, inputs).t());
    matmul_then(z, y, (rows, outputs, inputs), x, w, |z, y, first| {
        if let Some(b) = b {
            reduce::add(z, &b[first..]);
        }
        activation::forward_seq(f, z, y);
    });
}

fn backward_input_of<E: Real>(dy: &[E], w: &[E], (inputs, outputs): (usize, usize), dx: &mut [E]) {
    let rows = check("linear::backward_input", dx.len(), w, None, (inputs, outputs), dy);
    matmul(dx, (rows, inputs, outputs), View::rows(dy, outputs), View::rows(w, inputs), true);
}

fn backward_weight_of<E: Real>(dy: &[E], x: &[E], (inputs, outputs): (usize, usize), dw: &mut [E]) {
    check("linear::backward_weight", x.len(), dw, None, (inputs, outputs), dy);
    reduce::outer_product(dy, x, (outputs, inputs), dw);
}

fn backward_bias_of<E: Real>(dy: &[E], outputs: usize, db: &mut [E]) {
    let rows = dy.len() / outputs;
    expect_lengths("linear::backward_bias", &[("dy", dy.len(), rows * outputs), ("db", db.len(), outputs)]);
    reduce::column_sums(dy, outputs, db);
}

/// Every row of y = b.
pub(super) fn fill_rows<E: Real>(y: &mut [E], b: &[E]) {
    for row in y.chunks_exact_mut(b.len()) {
        row.copy_from_slice(b);
    }
}

/// Asserts the lengths; returns the rows.
#[track_caller]
fn check<E>(kernel: &str, x: usize, w: &[E], b: Option<&[E]>, (inputs, outputs): (usize, usize), y: &[E]) -> usize {
    assert!(inputs > 0 && outputs > 0, "{kernel}: {inputs} inputs and {outputs} outputs, expected at least one each");
    let rows = x / inputs;
    let lengths = [
        ("x", x, rows * inputs),
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
    fn forward_equals_the_definition() {
        for (rows, inputs, outputs) in [(1, 1, 1), (3, 17, 5), (9, 40, 33), (300, 70, 200)] {
            let x = normals::<f64>("x", rows * inputs);
            let (w, b) = (normals::<f64>("w", outputs * inputs), normals::<f64>("b", outputs));
            let mut y = vec![f64::NAN; rows * outputs];
            forward(&x, &w, Some(&b), (inputs, outputs), &mut y);
            assert_close(&y, &naive(&x, &w, &b), 1e-12);
            forward(&x, &w, None, (inputs, outputs), &mut y);
            assert_close(&y, &naive(&x, &w, &vec![0.0; outputs]), 1e-12);
            let mut z = y.clone();
            for (f, b) in [(Activation::Relu, Some(&b[..])), (Activation::QuickGelu, None)] {
                forward_activated(&x, &w, b, (inputs, outputs), f, (&mut z, &mut y));
                let expected = naive(&x, &w, b.unwrap_or(&vec![0.0; outputs]));
                assert_close(&z, &expected, 1e-12);
                let mut activated = vec![0.0; y.len()];
                activation::forward(f, &expected, &mut activated);
                assert_close(&y, &activated, 1e-12);
            }
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
            let mut z = y.clone();
            forward_activated(&x, &w, None, (inputs, outputs), Activation::Silu, (&mut z, &mut y));
            [y, z, dx, dw, db].concat()
        });
    }

    #[test]
    fn no_rows_are_no_work() {
        let mut none = [0f32; 0];
        forward(&[], &[0.0; 6], Some(&[1.0, 2.0]), (3, 2), &mut none);
        forward_activated(&[], &[0.0; 6], None, (3, 2), Activation::Relu, (&mut none, &mut []));
    }

    #[test]
    #[should_panic(expected = "linear::forward: `w` has 5 elements, expected 6")]
    fn a_weight_of_the_wrong_size_is_refused() {
        forward(&[0.0f32; 4], &[0.0; 5], None, (2, 3), &mut [0.0; 6]);
    }
}
