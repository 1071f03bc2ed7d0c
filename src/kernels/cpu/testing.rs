//! What the kernels' tests share: seeded inputs, comparisons, central differences, and the law that threads change nothing.

use crate::kernels::Real;
use crate::random::Rng;

/// `n` standard normal numbers, a function of `stream` and the index.
pub fn normals<E: Real>(stream: &str, n: usize) -> Vec<E> {
    let mut rng = Rng::new(1, stream, 0, 0);
    (0..n).map(|_| E::of(rng.normal())).collect()
}

/// Every element within `tolerance`, relative to the larger of 1 and the expected magnitude.
#[track_caller]
pub fn assert_close<E: Real>(got: &[E], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got.as_f64() - expected).abs() / expected.abs().max(1.0);
        assert!(error <= tolerance, "element {i}: got {got:?}, expected {expected}, error {error:e}");
    }
}

/// Compares `gradient` with central differences of `function` around `x`, to a relative error of 1e-6.
#[track_caller]
pub fn assert_gradient(x: &[f64], gradient: &[f64], function: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len());
    let step = 1e-5;
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        let mut at = |offset: f64| {
            moved[i] = x[i] + offset;
            function(&moved)
        };
        let difference = (at(step) - at(-step)) / (2.0 * step);
        moved[i] = x[i];
        let error = (gradient[i] - difference).abs() / gradient[i].abs().max(difference.abs()).max(0.01);
        assert!(
            error < 1e-6,
            "element {i}: gradient {}, central difference {difference}, error {error:e}",
            gradient[i]
        );
    }
}

/// Runs `kernel` on 1, 2 and 4 threads: the bits must agree.
#[track_caller]
pub fn assert_same_on_any_threads<E: Real>(kernel: impl Fn() -> Vec<E> + Sync) {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        // f32 widens to f64 without loss, so equal f64 bits are equal bits.
        pool.install(&kernel).into_iter().map(|x| x.as_f64().to_bits()).collect::<Vec<_>>()
    };
    let one = on(1);
    assert!(!one.is_empty());
    assert!(one == on(2) && one == on(4), "the bits depend on the number of threads");
}

/// A scalar to differentiate: Σ weightᵢ·xᵢ.
pub fn weighted(x: &[f64], weight: &[f64]) -> f64 {
    x.iter().zip(weight).map(|(x, w)| x * w).sum()
}
