//! Seeded counter streams: every random draw of the project is a pure function of (seed, stream, step, index).
//! Exact resume, and results that do not depend on batch size or thread count, follow from that.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A generator for one (seed, stream, step, index).
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// `stream` names the use ("gumbel", "order", "sample"…); `step` and `index` count within it.
    pub fn new(seed: u64, stream: &str, step: u64, index: u64) -> Self {
        let mut key = blake3::Hasher::new();
        for number in [seed, step, index] {
            key.update(&number.to_le_bytes());
        }
        Rng(ChaCha8Rng::from_seed(*key.update(stream.as_bytes()).finalize().as_bytes()))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in the open interval (0, 1): never 0, so that its logarithm is finite.
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..n`; `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// One of `items`; it must not be empty.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Standard normal (Box–Muller, one draw of two).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Standard Gumbel: −ln(−ln u).
    pub fn gumbel(&mut self) -> f64 {
        -(-self.uniform().ln()).ln()
    }

    /// A uniformly random order of `0..n` (Fisher–Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_functions_of_their_coordinates() {
        let draw = |seed, stream, step, index| Rng::new(seed, stream, step, index).bits();
        assert_eq!(draw(1, "a", 2, 3), draw(1, "a", 2, 3));
        for other in [draw(2, "a", 2, 3), draw(1, "b", 2, 3), draw(1, "a", 3, 3), draw(1, "a", 2, 4)] {
            assert_ne!(draw(1, "a", 2, 3), other);
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::new(7, "moments", 0, 0);
        let n = 40_000;
        let mean = |f: &mut dyn FnMut() -> f64| (0..n).map(|_| f()).sum::<f64>() / n as f64;
        assert!((mean(&mut || rng.uniform()) - 0.5).abs() < 0.01);
        assert!(mean(&mut || rng.normal()).abs() < 0.02);
        assert!((mean(&mut || rng.gumbel()) - 0.5772).abs() < 0.03);
        let mut seen = rng.permutation(50);
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    }
}
