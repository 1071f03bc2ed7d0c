//! Bias, nonlinearity and their gradients, activation.cu.

use super::grids::Grid;
use super::harness::{Kernels, error, noted, tensor, tensor_mut, uniform};
use proptest::prelude::*;
use std::f64::consts::PI;
use std::sync::LazyLock;

type Forward = unsafe extern "C" fn(u64, u64, u64, u64, u64, u32, u32);
type Backward = unsafe extern "C" fn(u64, u64, u64, u64, u32, u32);
type Sums = unsafe extern "C" fn(u64, u64, u64, u32, u32);

static ACTIVATION: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("activation"));
const KINDS: std::ops::Range<u32> = 0..6;
const RELU: u32 = 1;

/// Φ(x) by Simpson's rule over the density.
fn normal_cdf(x: f64) -> f64 {
    let (n, width) = (400, x / 400.0);
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * PI).sqrt();
    let inner: f64 = (1..n).map(|i| density(f64::from(i) * width) * f64::from(2 + 2 * (i % 2))).sum();
    0.5 + (density(0.0) + inner + density(x)) * width / 3.0
}

fn f(kind: u32, x: f64) -> f64 {
    match kind {
        0 => x,
        1 => x.max(0.0),
        2 => x / (1.0 + (-1.702 * x).exp()),
        3 => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        4 => x * normal_cdf(x),
        5 => x / (1.0 + (-x).exp()),
        _ => unreachable!(),
    }
}

fn slope(kind: u32, x: f64) -> f64 {
    if kind == RELU { f64::from(u8::from(x > 0.0)) } else { (f(kind, x + 1e-4) - f(kind, x - 1e-4)) / 2e-4 }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Numbers from −6 to 6, and the places where functions turn.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut numbers: Vec<f32> = uniform(count, seed).iter().map(|x| 6.0 * x).collect();
    numbers.iter_mut().zip([0.0, -100.0, 100.0, 1e-3]).for_each(|(number, edge)| *number = edge);
    numbers
}

/// What is kept, and y; in place takes `x` for what is kept, and for y where nothing is kept.
fn forward(
    x: &[f32],
    bias: Option<&[f32]>,
    columns: usize,
    kind: u32,
    kept: bool,
    in_place: bool,
) -> (Vec<f32>, Vec<f32>) {
    let kernel: Forward = ACTIVATION.function("bias_activation");
    let rows = x.len() / columns;
    let (mut product, mut before, mut y) = (x.to_vec(), vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
    let product_at = tensor_mut(&mut product);
    let (mut before_at, mut y_at) = (tensor_mut(&mut before), tensor_mut(&mut y));
    match (in_place, kept) {
        (true, true) => before_at = product_at,
        (true, false) => y_at = product_at,
        (false, _) => {}
    }
    let (bias_at, before_word) = (bias.map_or(0, tensor), if kept { before_at } else { 0 });
    let grid = Grid::bias_activation(rows, columns);
    ACTIVATION.launch(grid.blocks, grid.threads, || {
        // SAFETY: the slices have the lengths that rows and columns say.
        unsafe { kernel(noted(&product_at), bias_at, before_word, noted(&y_at), rows as u64, columns as u32, kind) }
    });
    match (in_place, kept) {
        (true, true) => (product, y),
        (true, false) => (before, product),
        (false, _) => (before, y),
    }
}

fn backward(dy: &[f32], before: &[f32], dx: Option<&[f32]>, kind: u32) -> Vec<f32> {
    let kernel: Backward = ACTIVATION.function("activation_backward");
    let mut got = dx.unwrap_or(dy).to_vec();
    let dx_at = tensor_mut(&mut got);
    // Overwritten, dx is dy itself.
    let (dy_at, add) = if dx.is_some() { (tensor(dy), 1) } else { (dx_at, 0) };
    let (before_at, grid) = (if kind == 0 { 0 } else { tensor(before) }, Grid::activation_backward(dy.len()));
    ACTIVATION.launch(grid.blocks, grid.threads, || {
        // SAFETY: all have the same length.
        unsafe { kernel(noted(&dy_at), before_at, dx_at, dy.len() as u64, kind, add) }
    });
    got
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn forward_and_backward_equal_the_definitions(
        (rows, columns, seed) in (1..20usize, 1..70usize, 0..1000u64), kind in KINDS, (kept, in_place, biased) in any::<(bool, bool, bool)>()
    ) {
        let (x, bias) = (numbers(rows * columns, seed), uniform(columns, seed + 1));
        let (before, y) = forward(&x, biased.then_some(&bias[..]), columns, kind, kept, in_place);
        let shifted: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + if biased { bias[i % columns] } else { 0.0 }).collect();
        if kept {
            prop_assert_eq!(&before, &shifted);
        } else {
            prop_assert!(in_place || before.iter().all(|x| x.is_nan()));
        }
        let expected: Vec<f64> = wide(&shifted).iter().map(|&x| f(kind, x)).collect();
        let worst = error(&y, &expected);
        prop_assert!(worst < 1e-6, "{worst}");

        let (dy, sum) = (uniform(x.len(), seed + 2), uniform(x.len(), seed + 3));
        let exact = |start: Option<&[f32]>| -> Vec<f64> {
            (0..x.len()).map(|i| start.map_or(0.0, |start| f64::from(start[i])) + f64::from(dy[i]) * slope(kind, f64::from(shifted[i]))).collect()
        };
        for start in [None, Some(&sum[..])] {
            let worst = error(&backward(&dy, &shifted, start, kind), &exact(start));
            prop_assert!(worst < 2e-6, "{worst}");
        }
    }

    #[test]
    fn sums_of_columns_come_in_two_passes(rows in 1..900usize, columns in 1..100usize, seed in 0..1000u64) {
        let kernel: Sums = ACTIVATION.function("column_sums");
        let (x, mut sums) = (uniform(rows * columns, seed), uniform(columns, seed + 1));
        let grid = Grid::column_sums(rows, columns);
        let mut parts = vec![f32::NAN; grid.blocks[1] as usize * columns];
        let mut expected = wide(&sums);
        x.chunks(columns).for_each(|row| expected.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x)));
        let (x, parts_at, sums_at) = (tensor(&x), tensor_mut(&mut parts), tensor_mut(&mut sums));
        // SAFETY: x has `rows` rows and the parts as many as the grid has blocks along y.
        ACTIVATION.launch(grid.blocks, grid.threads, || unsafe { kernel(noted(&x), parts_at, rows as u64, columns as u32, 0) });
        let blocks = [grid.blocks[0], 1, 1];
        // SAFETY: as above.
        ACTIVATION.launch(blocks, grid.threads, || unsafe { kernel(parts_at, sums_at, grid.blocks[1].into(), columns as u32, 1) });
        let worst = error(&sums, &expected);
        prop_assert!(worst < 1e-5, "{worst}");
    }
}

#[test]
fn wide_rows_and_more_rows_than_blocks() {
    for (rows, columns) in [(3, 4096), (1, 70_000), (9000, 4), (2, 1025)] {
        let (x, bias) = (numbers(rows * columns, 1), uniform(columns, 2));
        let (_, y) = forward(&x, Some(&bias), columns, 2, false, true);
        let expected: Vec<f64> = x.iter().enumerate().map(|(i, x)| f(2, f64::from(x + bias[i % columns]))).collect();
        assert!(error(&y, &expected) < 1e-6, "{rows}×{columns}");
    }
}

#[test]
fn far_tails_are_finite_and_nan_stays_nan() {
    let x = [-1e4, 1e4, f32::NAN];
    for kind in KINDS {
        let (_, y) = forward(&x, None, 3, kind, false, false);
        assert!((kind == 0 || y[0].abs() < 1e-3) && y[1] == 1e4 && y[2].is_nan(), "{kind}: {y:?}");
        let dx = backward(&[1.0; 3], &x, None, kind);
        assert!((kind == 0 || dx[0].abs() < 1e-3) && dx[1] == 1.0, "{kind}: {dx:?}");
    }
}
