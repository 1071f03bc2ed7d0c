//! Figures with their uncertainty.

use serde::Serialize;

/// The normal distribution's 97.5 % quantile.
const Z: f64 = 1.959_964;

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// What was found.
    pub value: f64,
    /// Lower end of the interval: Wilson's for a share.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How many it was found in.
    pub n: usize,
}

impl Estimate {
    /// Of no trial: no figure, which JSON writes as null.
    const NOTHING: Self = Estimate { value: f64::NAN, low: f64::NAN, high: f64::NAN, n: 0 };

    /// `hits` of `n` trials.
    pub fn of(hits: usize, n: usize) -> Self {
        if n == 0 {
            return Estimate::NOTHING;
        }
        let (p, trials) = (hits as f64 / n as f64, n as f64);
        let z2 = Z * Z / trials;
        let centre = (p + z2 / 2.0) / (1.0 + z2);
        let half = Z / (1.0 + z2) * (p * (1.0 - p) / trials + z2 / (4.0 * trials)).sqrt();
        Estimate { value: p, low: (centre - half).max(0.0), high: (centre + half).min(1.0), n }
    }

    /// The mean of `values`, normal.
    pub fn mean(values: &[f64]) -> Self {
        if values.is_empty() {
            return Estimate::NOTHING;
        }
        let (mean, deviation) = moments(values);
        Estimate::normal(mean, deviation / (values.len().max(1) as f64).sqrt(), values.len())
    }

    /// The mean of shares, which its interval does not leave.
    pub fn mean_share(shares: &[f64]) -> Self {
        if shares.is_empty() {
            return Estimate::NOTHING;
        }
        let mean = Estimate::mean(shares);
        Estimate { low: mean.low.max(0.0), high: mean.high.min(1.0), ..mean }
    }

    /// `value` with the spread of what it is on other draws, such as resampled ones.
    pub fn resampled(value: f64, others: &[f64], n: usize) -> Self {
        Estimate::normal(value, moments(others).1, n)
    }

    fn normal(value: f64, deviation: f64, n: usize) -> Self {
        Estimate { value, low: value - Z * deviation, high: value + Z * deviation, n }
    }
}

/// Mean and sample deviation.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_is_no_figure() {
        for nothing in [Estimate::of(0, 0), Estimate::mean(&[]), Estimate::mean_share(&[])] {
            let json = serde_json::json!(nothing);
            assert!(json["value"].is_null() && json["n"] == 0, "{json}");
        }
    }

    #[test]
    fn wilsons_interval_is_the_textbooks() {
        let e = Estimate::of(7, 10);
        assert!((e.low - 0.3968).abs() < 1e-3 && (e.high - 0.8922).abs() < 1e-3, "{e:?}");
        let e = Estimate::mean(&[1.0, 2.0, 3.0, 4.0]);
        assert!((e.value - 2.5).abs() < 1e-12 && (e.high - 2.5 - 1.959_964 * 0.645_497).abs() < 1e-5, "{e:?}");
        let e = Estimate::resampled(7.0, &[1.0, 2.0, 3.0], 9);
        assert!((e.value, e.n) == (7.0, 9) && (e.low - 7.0 + 1.959_964).abs() < 1e-5, "{e:?}");
        assert!(Estimate::mean_share(&[0.0, 0.0, 0.1]).low == 0.0);
        assert!(Estimate::of(10, 10).high <= 1.0 && Estimate::of(10, 10).low < 0.75);
    }
}
