//! Figures with their uncertainty.

use serde::Serialize;

/// A share with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The share found.
    pub value: f64,
    /// Lower end of Wilson's 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Trials.
    pub n: usize,
}

impl Estimate {
    /// `hits` of `n` trials.
    pub fn of(hits: usize, n: usize) -> Self {
        if n == 0 {
            return Estimate { value: 0.0, low: 0.0, high: 1.0, n };
        }
        let (p, trials, z) = (hits as f64 / n as f64, n as f64, 1.959_964);
        let z2 = z * z / trials;
        let centre = (p + z2 / 2.0) / (1.0 + z2);
        let half = z / (1.0 + z2) * (p * (1.0 - p) / trials + z2 / (4.0 * trials)).sqrt();
        Estimate { value: p, low: (centre - half).max(0.0), high: (centre + half).min(1.0), n }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilsons_interval_is_the_textbooks() {
        let e = Estimate::of(7, 10);
        assert!((e.low - 0.3968).abs() < 1e-3 && (e.high - 0.8922).abs() < 1e-3, "{e:?}");
        assert_eq!(Estimate::of(0, 0).n, 0);
        assert!(Estimate::of(10, 10).high <= 1.0 && Estimate::of(10, 10).low < 0.75);
    }
}
