//! Every path of the convolution against its definition.

use super::*;
use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};
use proptest::prelude::*;

fn naive(c: Conv, x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let (pad, mut y) = (c.kernel / 2, Vec::new());
    for p in 0..c.pixels() {
        let (picture, row, column) = (p / c.width / c.height, p / c.width % c.height, p % c.width);
        for (o, b) in b.iter().enumerate() {
            let mut sum = *b;
            for ky in 0..c.kernel {
                for kx in 0..c.kernel {
                    let (y, z) = ((row + ky).wrapping_sub(pad), (column + kx).wrapping_sub(pad));
                    for i in (0..c.inputs).filter(|_| y < c.height && z < c.width) {
                        let x = x[((picture * c.height + y) * c.width + z) * c.inputs + i];
                        let x = if c.relu { x.max(0.0) } else { x };
                        sum += x * w[((o * c.inputs + i) * c.kernel + ky) * c.kernel + kx];
                    }
                }
            }
            y.push(sum);
        }
    }
    y
}

fn weights<E: Real>(c: Conv) -> (Vec<E>, Vec<E>) {
    (normals("w", c.outputs * c.inputs * c.kernel * c.kernel), normals("b", c.outputs))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn forward_equals_the_definition_and_backward_its_adjoint(
        (batch, height, width) in (1usize..4, 1usize..9, 1usize..9),
        (inputs, outputs, half) in (1usize..6, 1usize..6, 0usize..4),
        relu: bool,
    ) {
        let c = Conv { batch, height, width, inputs, outputs, kernel: 2 * half + 1, relu };
        let (x, dy) = (normals::<f64>("x", c.pixels() * inputs), normals::<f64>("dy", c.pixels() * outputs));
        let (w, b) = weights::<f64>(c);
        let expected = naive(c, &x, &w, &b);
        let mut y = vec![f64::NAN; c.pixels() * outputs];
        forward(c, &x, &w, &b, &mut y);
        assert_close(&y, &expected, 1e-12);
        let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<_>>();
        let mut y32 = vec![f32::NAN; y.len()];
        forward(c, &narrow(&x), &narrow(&w), &narrow(&b), &mut y32);
        assert_close(&y32, &expected, 1e-4);
        // y − b is linear in w and, as max(x, 0) = x·[x > 0], homogeneous in x: ⟨dy, y − b⟩ = ⟨dw, w⟩ = ⟨dx, x⟩.
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; outputs]);
        backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
        let product = weighted(&y, &dy) - weighted(&b, &db);
        assert_close(&[weighted(&dw, &w), weighted(&dx, &x)], &[product, product], 1e-11);
    }
}

#[test]
fn gradients_equal_central_differences_and_accumulate() {
    for (kernel, relu) in [(1, false), (1, true), (3, false), (3, true)] {
        let c = Conv { batch: 2, height: 3, width: 4, inputs: 2, outputs: 3, kernel, relu };
        let (x, dy) = (normals::<f64>("x", c.pixels() * 2), normals::<f64>("dy", c.pixels() * 3));
        let (w, b) = weights::<f64>(c);
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; 3]);
        backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
        assert_gradient(&x, &dx, |x| weighted(&naive(c, x, &w, &b), &dy));
        assert_gradient(&w, &dw, |w| weighted(&naive(c, &x, w, &b), &dy));
        assert_gradient(&b, &db, |b| weighted(&naive(c, &x, &w, b), &dy));
        let once = [dx.clone(), dw.clone(), db.clone()].concat();
        backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
        assert_close(&[dx, dw, db].concat(), &once.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-12);
    }
}

/// Enough channels for the transformed kernel: blocks of outputs that are full and not, sides that are odd, and pictures
/// smaller than a tile.
mod transformed {
    use super::*;

    fn channels() -> impl Strategy<Value = usize> {
        prop_oneof![Just(16usize), Just(32), 16usize..40, 60usize..70]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn forward_and_both_gradients_equal_the_definition(
            (batch, height, width) in (1usize..4, 1usize..12, 1usize..12),
            (inputs, outputs) in (channels(), channels()),
            relu: bool,
        ) {
            let c = Conv { batch, height, width, inputs, outputs, kernel: 3, relu };
            prop_assert!(c.is_transformed());
            let (x, dy) = (normals::<f64>("x", c.pixels() * inputs), normals::<f64>("dy", c.pixels() * outputs));
            let (w, b) = weights::<f64>(c);
            let expected = naive(c, &x, &w, &b);
            let mut y = vec![f64::NAN; dy.len()];
            forward(c, &x, &w, &b, &mut y);
            assert_close(&y, &expected, 1e-11);
            let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<_>>();
            let mut y32 = vec![f32::NAN; y.len()];
            forward(c, &narrow(&x), &narrow(&w), &narrow(&b), &mut y32);
            assert_close(&y32, &expected, 2e-4);
            // The other kernel's gradients are compared with central differences below.
            let (mut dx, mut dw, mut db) = (normals::<f64>("dx", x.len()), normals::<f64>("dw", w.len()), vec![0.0; outputs]);
            let (mut expected_dx, mut expected_dw) = (dx.clone(), dw.clone());
            backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
            backward_input_directly(c, &dy, &x, &w, &mut expected_dx);
            backward_weight::<f64, 4, LANES>(c, &dy, &x, &mut expected_dw);
            assert_close(&dx, &expected_dx, 1e-11);
            assert_close(&dw, &expected_dw, 1e-11);
        }
    }

    #[test]
    fn gradients_equal_central_differences() {
        let c = Conv { batch: 1, height: 3, width: 4, inputs: 16, outputs: 17, kernel: 3, relu: true };
        assert!(c.is_transformed());
        let (x, dy) = (normals::<f64>("x", c.pixels() * 16), normals::<f64>("dy", c.pixels() * 17));
        let (w, b) = weights::<f64>(c);
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; 17]);
        backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
        assert_gradient(&x, &dx, |x| weighted(&naive(c, x, &w, &b), &dy));
        assert_gradient(&w[..300], &dw[..300], |some| {
            let w = [some, &w[300..]].concat();
            weighted(&naive(c, &x, &w, &b), &dy)
        });
        assert_gradient(&b, &db, |b| weighted(&naive(c, &x, &w, b), &dy));
    }

    /// Several tasks, or one of several blocks; several ranges of channels, and groups of tiles.
    #[test]
    fn split_work_equals_the_definition_on_any_threads() {
        for (batch, (height, width), inputs, outputs) in
            [(2, (33, 31), 20, 19), (2, (33, 31), 70, 66), (1, (26, 28), 20, 19)]
        {
            let c = Conv { batch, height, width, inputs, outputs, kernel: 3, relu: true };
            let (x, dy) = (normals::<f64>("x", c.pixels() * inputs), normals::<f64>("dy", c.pixels() * outputs));
            let (w, b) = weights::<f64>(c);
            let run = || {
                let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
                let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; outputs]);
                forward(c, &x, &w, &b, &mut y);
                backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
                [y, dx, dw].concat()
            };
            assert_same_on_any_threads(run);
            let all = run();
            let (y, rest) = all.split_at(dy.len());
            let (dx, dw) = rest.split_at(x.len());
            assert_close(y, &naive(c, &x, &w, &b), 1e-11);
            let (mut expected_dx, mut expected_dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
            backward_input_directly(c, &dy, &x, &w, &mut expected_dx);
            backward_weight::<f64, 4, LANES>(c, &dy, &x, &mut expected_dw);
            assert_close(dx, &expected_dx, 1e-10);
            assert_close(dw, &expected_dw, 1e-10);
        }
    }

    /// dx as the direct kernel computes it, whose result is pinned by central differences.
    fn backward_input_directly(c: Conv, dy: &[f64], x: &[f64], w: &[f64], dx: &mut [f64]) {
        let turned = Conv { inputs: c.outputs, outputs: c.inputs, relu: false, ..c };
        let store = if c.relu { Store::AddWherePositive(x) } else { Store::Add };
        convolve_by::<f64, 4, LANES>(turned, dy, &packed(turned, c.weights(w, true)), &vec![0.0; c.inputs], dx, store);
    }
}

#[test]
fn a_nan_passes_through_the_relu() {
    for (channels, kernel) in [(4, 1), (16, 1), (4, 3), (16, 3), (4, 5), (16, 5)] {
        let c = Conv { batch: 1, height: 4, width: 4, inputs: channels, outputs: channels, kernel, relu: true };
        let mut x = vec![1f32; c.pixels() * channels];
        x[5 * channels] = f32::NAN;
        let (w, b) = weights::<f32>(c);
        let mut y = vec![0f32; x.len()];
        forward(c, &x, &w, &b, &mut y);
        assert!(y[5 * channels].is_nan(), "{channels} channels, kernel {kernel}");
    }
}

/// Several bands a picture or several blocks of pixels, more outputs than one tile holds and fewer.
#[test]
fn split_work_equals_the_definition_on_any_threads() {
    for (kernel, relu, outputs) in [(5, false, 19), (5, true, 19), (5, true, 6), (1, true, 19)] {
        let c = Conv { batch: 3, height: 27, width: 29, inputs: 20, outputs, kernel, relu };
        assert!(if kernel == 1 { pointwise::block(c) < c.pixels() } else { c.bands().len() > c.batch });
        let (x, dy) = (normals::<f64>("x", c.pixels() * 20), normals::<f64>("dy", c.pixels() * outputs));
        let (w, b) = weights::<f64>(c);
        let run = || {
            let mut y = vec![0.0; dy.len()];
            let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; outputs]);
            forward(c, &x, &w, &b, &mut y);
            backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
            let mut first_layer = (vec![0.0; w.len()], vec![0.0; outputs]);
            backward(c, &dy, &x, &w, None, &mut first_layer.0, &mut first_layer.1);
            assert!(first_layer == (dw.clone(), db.clone()));
            [y, dx, dw, db].concat()
        };
        assert_same_on_any_threads(run);
        let all = run();
        let (y, rest) = all.split_at(dy.len());
        let (dx, rest) = rest.split_at(x.len());
        let (dw, db) = rest.split_at(w.len());
        assert_close(y, &naive(c, &x, &w, &b), 1e-12);
        let product = weighted(y, &dy) - weighted(&b, db);
        assert_close(&[weighted(dx, &x), weighted(dw, &w)], &[product, product], 1e-10);
    }
}

#[test]
#[should_panic(expected = "conv::forward: `w` has 4 elements, expected 9")]
fn a_kernel_of_the_wrong_size_is_refused() {
    let c = Conv { batch: 1, height: 1, width: 1, inputs: 1, outputs: 1, kernel: 3, relu: false };
    forward(c, &[0.0f32], &[0.0; 4], &[0.0], &mut [0.0]);
}
