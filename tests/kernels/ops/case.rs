//! What the tests of one operation share: a case says how to run it on some leaves; [`check`] does the rest.

use dalle::kernels::Real;
use dalle::ops::{Backend, to_vec};
use dalle::random::Rng;
use dalle::shape::Ranked;
use dfdx::prelude::*;
use std::fmt::Debug;

/// Which implementation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// The operation as models call it.
    Kernel,
    /// Its composition of dfdx operations.
    Composed,
}

/// What a run says: the result, and the gradient of Σ weight·result with respect to each leaf.
#[derive(Debug, Clone)]
pub struct Outcome<E> {
    pub values: Vec<E>,
    pub gradients: Vec<Vec<E>>,
}

pub type Traced<S, E> = Tensor<S, E, Cpu, OwnedTape<E, Cpu>>;

/// A tensor whose gradient is looked at.
pub trait Leaf<E: Real> {
    fn gradient(&self, gradients: &Gradients<E, Cpu>) -> Vec<E>;
}

impl<S: Ranked, E: Real> Leaf<E> for Tensor<S, E, Cpu>
where
    Cpu: Device<E>,
{
    fn gradient(&self, gradients: &Gradients<E, Cpu>) -> Vec<E> {
        to_vec(gradients.get(self)).expect("the CPU")
    }
}

impl<E: Real> Outcome<E>
where
    Cpu: Device<E>,
{
    /// Runs the tape of `y` backwards.
    pub fn of<S: Ranked>(y: Traced<S, E>, leaves: &[&dyn Leaf<E>]) -> Self {
        let values = to_vec(y.with_empty_tape().split_tape().0).expect("the CPU");
        let weights = weights(values.len()).into_iter().map(E::of).collect();
        let weights = y.device().tensor_from_vec(weights, *y.shape());
        let gradients = (y * weights).sum::<(), _>().backward();
        Outcome { values, gradients: leaves.iter().map(|leaf| leaf.gradient(&gradients)).collect() }
    }
}

/// A tensor of `values`.
pub fn tensor<S: Ranked, E: Real>(values: &[E], shape: S) -> Tensor<S, E, Cpu>
where
    Cpu: Device<E>,
{
    Cpu::default().tensor_from_vec(values.to_vec(), shape)
}

/// One operation on one shape.
pub trait Case: Debug {
    /// Values of the leaves, away from the operation's kinks; those that take no gradient come last.
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>>;

    /// Values and gradients.
    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>;

    /// Whether the gradient is that of the values (it is not with straight-through).
    fn smooth(&self) -> bool {
        true
    }
}

/// Compares both precisions with the composition in f64, and the gradient with central differences.
pub fn check(case: impl Case, seed: u64) {
    let mut rng = Rng::new(seed, "case", 0, 0);
    // Exact in f32, so that both precisions see the same numbers.
    let narrow: Vec<Vec<f32>> =
        case.leaves(&mut rng).iter().map(|leaf| leaf.iter().map(|&x| x as f32).collect()).collect();
    let wide: Vec<Vec<f64>> = narrow.iter().map(|leaf| leaf.iter().map(|&x| f64::from(x)).collect()).collect();
    let expected = case.run(&wide, Path::Composed);
    let kernel = case.run(&wide, Path::Kernel);
    assert_close(&case, &kernel, &expected, 1e-11);
    assert_close(&case, &case.run(&narrow, Path::Kernel), &expected, 3e-5);
    assert_close(&case, &case.run(&narrow, Path::Composed), &expected, 3e-5);
    if case.smooth() {
        assert_central_differences(&case, &wide, &kernel, &mut rng);
    }
}

fn assert_close<E: Real>(case: &impl Case, got: &Outcome<E>, expected: &Outcome<f64>, tolerance: f64) {
    let compare = |what: &str, got: &[E], expected: &[f64]| {
        assert_eq!(got.len(), expected.len(), "{case:?}: {what}");
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            let error = (got.as_f64() - expected).abs() / expected.abs().max(1.0);
            assert!(error <= tolerance, "{case:?}: {what} {i}: got {got:?}, expected {expected}, error {error:e}");
        }
    };
    compare("value", &got.values, &expected.values);
    assert_eq!(got.gradients.len(), expected.gradients.len(), "{case:?}");
    for (leaf, (got, expected)) in got.gradients.iter().zip(&expected.gradients).enumerate() {
        compare(&format!("gradient of leaf {leaf}, element"), got, expected);
    }
}

/// Elements of each leaf that are moved: all of a small one.
const MOVED: usize = 24;

fn assert_central_differences(case: &impl Case, leaves: &[Vec<f64>], outcome: &Outcome<f64>, rng: &mut Rng) {
    let step = 1e-5;
    let mut moved = leaves.to_vec();
    for leaf in 0..outcome.gradients.len() {
        for i in rng.permutation(leaves[leaf].len()).into_iter().take(MOVED) {
            let mut at = |offset: f64| {
                moved[leaf][i] = leaves[leaf][i] + offset;
                let values = case.run(&moved, Path::Kernel).values;
                values.iter().zip(weights(values.len())).map(|(y, weight)| y * weight).sum::<f64>()
            };
            let difference = (at(step) - at(-step)) / (2.0 * step);
            moved[leaf][i] = leaves[leaf][i];
            let gradient = outcome.gradients[leaf][i];
            let error = (gradient - difference).abs() / gradient.abs().max(difference.abs()).max(0.1);
            assert!(
                error < 1e-6,
                "{case:?}: leaf {leaf}, element {i}: gradient {gradient}, central difference {difference}"
            );
        }
    }
}

/// The weights of the scalar that is differentiated: no two alike, so that a transposed gradient shows.
fn weights(n: usize) -> Vec<f64> {
    let mut rng = Rng::new(3, "weights", 0, 0);
    (0..n).map(|_| rng.normal()).collect()
}

/// `n` standard normal numbers.
pub fn normals(rng: &mut Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| rng.normal()).collect()
}

/// `x` moved away from `kink`, to a distance that no difference or rounding bridges.
pub fn away_from(kink: f64, x: f64) -> f64 {
    let distance = x - kink;
    if distance.abs() < 1e-3 { kink + 1e-3f64.copysign(distance) * 2.0 } else { x }
}
