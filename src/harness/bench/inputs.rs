//! What benchmarks are given: random numbers, the same in every process.

use crate::random::Rng;

/// Normal numbers.
pub fn random(stream: &str, count: usize) -> Vec<f32> {
    let mut rng = Rng::new(0, stream, 0, 0);
    (0..count).map(|_| rng.normal() as f32).collect()
}

/// Numbers below `below`.
pub fn ids(stream: &str, count: usize, below: usize) -> Vec<u32> {
    let mut rng = Rng::new(0, stream, 0, 0);
    (0..count).map(|_| rng.below(below) as u32).collect()
}
