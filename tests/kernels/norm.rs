//! Layer norm and its gradients, norm.cu.

use super::grids::Grid;
use super::harness::{Kernels, error, noted, tensor, tensor_mut, uniform};
use proptest::prelude::*;
use std::sync::LazyLock;

type Forward = unsafe extern "C" fn(u64, u64, u64, u64, *mut f32, *mut f32, u32, f32);
type Backward = unsafe extern "C" fn(u64, u64, u64, *const f32, *const f32, u64, *mut f32, u64, u32);
type Sums = unsafe extern "C" fn(*const f32, u64, u64, u32, u32);

static NORM: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("norm"));
const EPSILON: f32 = 1e-5;

struct Case {
    columns: usize,
    x: Vec<f32>,
    dy: Vec<f32>,
    gain: Vec<f32>,
    bias: Vec<f32>,
}

/// y, mean and rstd, then dx, dgain and dbias, in a row.
type Results<T> = [Vec<T>; 6];

impl Case {
    fn new(rows: usize, columns: usize, seed: u64) -> Case {
        let values = |count, seed| uniform(count, seed);
        // A mean far from 0 shows what cancels.
        let x = values(rows * columns, seed).iter().map(|x| 2.0 * x + 3.0).collect();
        Case {
            columns,
            x,
            dy: values(rows * columns, seed + 1),
            gain: values(columns, seed + 2),
            bias: values(columns, seed + 3),
        }
    }

    /// Backward in no more blocks than `most`; the gradients start at the numbers that `uniform` gives for seed 9.
    fn run(&self, most: u32) -> Results<f32> {
        let (columns, rows) = (self.columns, self.x.len() / self.columns);
        let forward: Forward = NORM.function("norm_forward");
        let backward: Backward = NORM.function("norm_backward");
        let sums: Sums = NORM.function("norm_backward_sums");
        let (mut y, mut mean, mut rstd) = (vec![f32::NAN; rows * columns], vec![f32::NAN; rows], vec![f32::NAN; rows]);
        let (x, gain, bias) = (tensor(&self.x), tensor(&self.gain), tensor(&self.bias));
        let (y_at, grid) = (tensor_mut(&mut y), Grid::row_blocks(rows, columns));
        let (mean_at, rstd_at) = (mean.as_mut_ptr(), rstd.as_mut_ptr());
        NORM.launch(grid.blocks, grid.threads, || {
            // SAFETY: the slices have the lengths that rows and columns say.
            unsafe { forward(noted(&x), gain, noted(&bias), noted(&y_at), mean_at, rstd_at, columns as u32, EPSILON) }
        });
        let grid = Grid::norm_backward(rows, columns);
        let blocks = grid.blocks[0].min(most);
        let mut parts = vec![f32::NAN; 2 * blocks as usize * columns];
        let (mut dx, mut dgain, mut dbias) = (uniform(rows * columns, 9), uniform(columns, 9), uniform(columns, 9));
        let (dy, dx_at, parts_at) = (tensor(&self.dy), tensor_mut(&mut dx), parts.as_mut_ptr());
        NORM.launch([blocks, 1, 1], grid.threads, || {
            // SAFETY: as above.
            unsafe {
                backward(dy, noted(&x), noted(&gain), mean_at, rstd_at, dx_at, parts_at, rows as u64, columns as u32)
            }
        });
        let (dgain_at, dbias_at, grid) =
            (tensor_mut(&mut dgain), tensor_mut(&mut dbias), Grid::norm_backward_sums(columns));
        NORM.launch(grid.blocks, grid.threads, || {
            // SAFETY: as above.
            unsafe { sums(parts_at, dgain_at, dbias_at, blocks, columns as u32) }
        });
        [y, mean, rstd, dx, dgain, dbias]
    }

    fn expected(&self) -> Results<f64> {
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (columns, gain, bias) = (self.columns, wide(&self.gain), wide(&self.bias));
        let mut dx = wide(&uniform(self.x.len(), 9));
        let (mut dgain, mut dbias) = (wide(&uniform(columns, 9)), wide(&uniform(columns, 9)));
        let (mut y, mut means, mut rstds) = (Vec::new(), Vec::new(), Vec::new());
        let rows = self.x.chunks(columns).zip(self.dy.chunks(columns)).zip(dx.chunks_mut(columns));
        for ((x, dy), dx) in rows {
            let (x, dy) = (wide(x), wide(dy));
            let average = |f: &dyn Fn(usize) -> f64| (0..columns).map(f).sum::<f64>() / columns as f64;
            let mean = average(&|i| x[i]);
            let rstd = 1.0 / (average(&|i| (x[i] - mean).powi(2)) + f64::from(EPSILON)).sqrt();
            let normal = |i: usize| (x[i] - mean) * rstd;
            let (sum, product) = (average(&|i| dy[i] * gain[i]), average(&|i| dy[i] * gain[i] * normal(i)));
            for i in 0..columns {
                y.push(normal(i) * gain[i] + bias[i]);
                dx[i] += rstd * (dy[i] * gain[i] - sum - normal(i) * product);
                dgain[i] += dy[i] * normal(i);
                dbias[i] += dy[i];
            }
            means.push(mean);
            rstds.push(rstd);
        }
        [y, means, rstds, dx, dgain, dbias]
    }

    fn errors(&self, most: u32) -> [f64; 6] {
        let (got, expected) = (self.run(most), self.expected());
        std::array::from_fn(|i| error(&got[i], &expected[i]))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn equals_the_definition_and_its_gradients(rows in 1..12usize, columns in 8..140usize, seed in 0..1000u64, most in 1..8u32) {
        let errors = Case::new(rows, columns, seed).errors(most);
        prop_assert!(errors.iter().all(|&error| error < 5e-5), "{errors:?}");
    }
}

#[test]
fn rows_of_several_warps_and_fours() {
    for (rows, columns) in [(3, 4096), (5, 1023), (2, 514), (70, 12), (6, 3), (2, 1)] {
        let errors = Case::new(rows, columns, 5).errors(u32::MAX);
        assert!(errors.iter().all(|&error| error < 2e-5), "{rows}×{columns}: {errors:?}");
    }
}

#[test]
fn a_large_mean_does_not_cancel() {
    let mut case = Case::new(1, 512, 1);
    case.x.iter_mut().for_each(|x| *x += 1000.0);
    let errors = case.errors(1);
    assert!(errors[0] < 1e-3 && errors[2] < 1e-4, "{errors:?}");
}

#[test]
fn the_same_bits_each_time() {
    let case = Case::new(70, 40, 3);
    assert_eq!(case.run(4), case.run(4));
}
