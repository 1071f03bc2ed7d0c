//! The optimiser: adamw.cu.

use super::grids::Grid;
use super::harness::{Kernels, error, noted, tensor, tensor_mut, uniform};
use proptest::prelude::*;
use std::sync::LazyLock;

type Update =
    unsafe extern "C" fn(u64, u64, *mut f32, *mut f32, u64, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32);
type AddGradient = unsafe extern "C" fn(*mut f32, u64, u64);
type Average = unsafe extern "C" fn(*mut f32, u64, u64, f32);
type SquareParts = unsafe extern "C" fn(u64, *mut f64, u64);
type SquareSum = unsafe extern "C" fn(*const f64, *mut f64, u32);

static ADAMW: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("adamw"));

const LR: f64 = 0.01;
const DECAY: f64 = 0.045;
const BETA: (f64, f64) = (0.9, 0.96);
const EPSILON: f64 = 1e-8;

/// A parameter with its moments.
#[derive(Debug, Clone, PartialEq)]
struct State<T> {
    p: Vec<T>,
    m: Vec<T>,
    v: Vec<T>,
}

fn update(state: &mut State<f32>, g: &[f32], scale: f32, step: i32, bound: f64, top: f32) {
    let kernel: Update = ADAMW.function("adamw");
    let (weight, count) = (tensor_mut(&mut state.p), g.len() as u64);
    let (m, v) = (state.m.as_mut_ptr(), state.v.as_mut_ptr());
    let (keep, rate) = (1.0 - LR * DECAY, LR / (1.0 - BETA.0.powi(step)));
    let (root_scale, of) = (1.0 / (1.0 - BETA.1.powi(step)).sqrt(), |x: f64| x as f32);
    let [beta1, rest1, beta2, rest2] = [BETA.0, 1.0 - BETA.0, BETA.1, 1.0 - BETA.1].map(of);
    let [keep, rate, root_scale, epsilon, bound] = [keep, rate, root_scale, EPSILON, bound].map(of);
    let (gradient, grid) = (tensor(g), Grid::values(g.len().div_ceil(4)));
    ADAMW.launch(grid.blocks, grid.threads, || {
        let weight = noted(&weight);
        // SAFETY: all have the gradient's length.
        unsafe {
            kernel(
                weight, gradient, m, v, count, scale, keep, beta1, rest1, beta2, rest2, rate, root_scale, epsilon,
                bound, top,
            )
        }
    });
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn updates_equal_the_published_algorithm(count in 1..3000usize, factor in 0.1..1f32, seed in 0..1000u64) {
        let zeros = vec![0.0; count];
        let mut state = State { p: uniform(count, seed), m: zeros.clone(), v: zeros };
        let mut exact = State { p: wide(&state.p), m: wide(&state.m), v: wide(&state.v) };
        let (mut bounded, mut held) = (0, 0);
        for step in 1..=3 {
            // Large enough that the bound on v is met.
            let g: Vec<f32> = uniform(count, seed + step as u64).iter().map(|g| 6.0 * g / step as f32).collect();
            update(&mut state, &g, factor, step, 0.3, 0.9);
            for (i, &g) in g.iter().enumerate() {
                let g = f64::from(g) * f64::from(factor);
                exact.p[i] *= 1.0 - LR * DECAY;
                exact.m[i] = BETA.0 * exact.m[i] + (1.0 - BETA.0) * g;
                exact.v[i] = (BETA.1 * exact.v[i] + (1.0 - BETA.1) * g * g).min(0.3);
                bounded += usize::from(exact.v[i] == 0.3);
                let corrected = exact.v[i] / (1.0 - BETA.1.powi(step));
                exact.p[i] -= LR * exact.m[i] / (1.0 - BETA.0.powi(step)) / (corrected.sqrt() + EPSILON);
                held += usize::from(exact.p[i] > 0.9);
                exact.p[i] = exact.p[i].min(f64::from(0.9f32));
            }
        }
        prop_assert!(count < 1000 || factor < 0.7 || (bounded > 0 && bounded < 3 * count));
        prop_assert!(count < 1000 || (held > 0 && held < 3 * count));
        let errors = [error(&state.p, &exact.p), error(&state.m, &exact.m), error(&state.v, &exact.v)];
        prop_assert!(errors.iter().all(|&error| error < 1e-6), "{errors:?}");
    }

    #[test]
    fn squares_are_summed(count in 1..9000usize, seed in 0..1000u64) {
        let g = uniform(count, seed);
        let exact: f64 = g.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
        prop_assert!((square_sum(&g) - exact).abs() < 1e-9 * exact);
    }

    #[test]
    fn gradients_of_parts_are_added(count in 1..3000usize, seed in 0..1000u64) {
        let kernel: AddGradient = ADAMW.function("add_gradient");
        let (mut sum, g) = (uniform(count, seed), uniform(count, seed + 1));
        let expected: Vec<f32> = sum.iter().zip(&g).map(|(s, g)| s + g).collect();
        let (at, g, grid) = (sum.as_mut_ptr(), tensor(&g), Grid::values(count.div_ceil(4)));
        // SAFETY: both have `count` values.
        ADAMW.launch(grid.blocks, grid.threads, || unsafe { kernel(at, noted(&g), count as u64) });
        prop_assert_eq!(sum, expected);
    }

    #[test]
    fn averages_follow_the_weights(count in 1..3000usize, decay in 0.1..1f32, seed in 0..1000u64) {
        let kernel: Average = ADAMW.function("moving_average");
        let (mut average, weights) = (uniform(count, seed), uniform(count, seed + 1));
        let mix = |(a, w): (&f32, &f32)| f64::from(decay) * f64::from(*a) + (1.0 - f64::from(decay)) * f64::from(*w);
        let expected: Vec<f64> = average.iter().zip(&weights).map(mix).collect();
        let (at, weights, grid) = (average.as_mut_ptr(), tensor(&weights), Grid::values(count.div_ceil(4)));
        // SAFETY: both have `count` values.
        ADAMW.launch(grid.blocks, grid.threads, || unsafe { kernel(at, noted(&weights), count as u64, decay) });
        prop_assert!(error(&average, &expected) < 1e-6);
    }
}

/// In the two passes that the GPU takes.
fn square_sum(g: &[f32]) -> f64 {
    let first: SquareParts = ADAMW.function("square_parts");
    let second: SquareSum = ADAMW.function("square_sum");
    let grid = Grid::values(g.len().div_ceil(4));
    let (mut parts, mut sum) = (vec![f64::NAN; grid.blocks[0] as usize], f64::NAN);
    let (at, parts_at) = (tensor(g), parts.as_mut_ptr());
    // SAFETY: a part for each block.
    ADAMW.launch(grid.blocks, grid.threads, || unsafe { first(noted(&at), parts_at, g.len() as u64) });
    // SAFETY: as above.
    ADAMW.launch([1, 1, 1], [256, 1, 1], || unsafe { second(parts_at, &raw mut sum, grid.blocks[0]) });
    sum
}

#[test]
fn many_values() {
    let g = vec![0.5f32; 600_003];
    assert_eq!(square_sum(&g), 600_003.0 * 0.25);
}

#[test]
fn squares_of_what_is_not_finite_are_not() {
    for (wrong, finite) in [(f32::NAN, false), (f32::INFINITY, false), (1e30, true)] {
        let mut g = uniform(900, 3);
        g[700] = wrong;
        assert_eq!(square_sum(&g).is_finite(), finite);
    }
}
