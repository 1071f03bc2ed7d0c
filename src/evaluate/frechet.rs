//! The Fréchet distance of two sets of features, taken for Gaussians: "FID" where an Inception network made the features
//! (Heusel et al. 2017).
//!
//! |μ₁ − μ₂|² + tr S₁ + tr S₂ − 2 tr √(S₁S₂). S₁S₂ is not symmetric, but has the eigenvalues of √S₁·S₂·√S₁, which is:
//! so no root of a general matrix is needed, and covariances without full rank do no harm.

use crate::{Error, Result};
use faer::{Mat, Side};

/// Mean and covariance of a set of features.
#[derive(Debug, Clone)]
pub struct Moments {
    /// μ: one number for each feature.
    pub mean: Vec<f64>,
    /// The sample covariance, symmetric, row-major.
    pub covariance: Vec<f64>,
}

impl Moments {
    /// Of the rows of `features`, each `width` long.
    ///
    /// # Errors
    /// [`Error::Usage`] for fewer than two rows or features that are not finite.
    pub fn of(features: &[f64], width: usize) -> Result<Self> {
        let rows = features.len() / width.max(1);
        if rows < 2 || rows * width != features.len() {
            let got = features.len();
            return Err(usage(format!("at least two rows of {width} features, got {got} numbers")));
        }
        if !features.iter().all(|value| value.is_finite()) {
            return Err(usage("finite features, got one that is not".into()));
        }
        let mean: Vec<f64> =
            (0..width).map(|feature| features.iter().skip(feature).step_by(width).sum::<f64>() / rows as f64).collect();
        let centred = Mat::from_fn(rows, width, |row, feature| features[row * width + feature] - mean[feature]);
        let products = centred.transpose() * &centred;
        let scale = 1.0 / (rows - 1) as f64;
        let covariance = (0..width * width).map(|at| products[(at / width, at % width)] * scale).collect();
        Ok(Moments { mean, covariance })
    }

    /// The Fréchet distance, at least 0 but for rounding.
    ///
    /// # Errors
    /// [`Error::Usage`] if the widths differ or the eigenvalues are not found.
    pub fn frechet_distance(&self, other: &Moments) -> Result<f64> {
        let width = self.mean.len();
        if other.mean.len() != width {
            return Err(usage(format!("two sets of equally many features, got {width} and {}", other.mean.len())));
        }
        let means: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let trace = |moments: &Moments| moments.covariance.iter().step_by(width + 1).sum::<f64>();
        Ok(means + trace(self) + trace(other) - 2.0 * self.trace_of_root(other)?)
    }

    /// tr √(S₁S₂).
    fn trace_of_root(&self, other: &Moments) -> Result<f64> {
        let width = self.mean.len();
        let none = |e| usage(format!("covariances with eigenvalues, got {e:?}"));
        let matrix = |of: &[f64]| Mat::from_fn(width, width, |row, column| of[row * width + column]);
        let own = matrix(&self.covariance).self_adjoint_eigen(Side::Lower).map_err(none)?;
        let roots: Vec<f64> = (0..width).map(|i| own.S()[i].max(0.0).sqrt()).collect();
        let scaled = Mat::from_fn(width, width, |row, column| own.U()[(row, column)] * roots[column]);
        // In the basis of S₁'s eigenvectors, which leaves the eigenvalues as they are.
        let product = scaled.transpose() * matrix(&other.covariance) * &scaled;
        let values = product.self_adjoint_eigenvalues(Side::Lower).map_err(none)?;
        // The root of what rounding leaves of a 0 is no longer small: below its size a value counts as 0.
        let noise = width as f64 * f64::EPSILON * values.iter().copied().fold(0.0, f64::max);
        Ok(values.iter().filter(|&&value| value > noise).map(|value| value.sqrt()).sum())
    }
}

fn usage(expected: String) -> Error {
    Error::Usage(format!("Fréchet distance: expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_independent_features_it_is_the_sum_of_each_ones() {
        // Means 0 and 3, deviations 1 and 2; then means 1 and 1, deviations 0 and 2.
        let moments =
            |mean: [f64; 2], covariance: [f64; 4]| Moments { mean: mean.into(), covariance: covariance.into() };
        let a = moments([0.0, 1.0], [1.0, 0.0, 0.0, 0.0]);
        let b = moments([3.0, 1.0], [4.0, 0.0, 0.0, 4.0]);
        let expected = 9.0 + (2.0f64 - 1.0).powi(2) + 4.0;
        assert!((a.frechet_distance(&b).unwrap() - expected).abs() < 1e-12);
        assert!((b.frechet_distance(&a).unwrap() - expected).abs() < 1e-12);
        assert!(b.frechet_distance(&b).unwrap().abs() < 1e-12);
    }

    #[test]
    fn what_has_no_covariance_is_refused() {
        assert!(Moments::of(&[1.0, 2.0], 2).is_err());
        assert!(Moments::of(&[1.0, 2.0, 3.0], 2).is_err());
        assert!(Moments::of(&[1.0, f64::NAN], 1).is_err());
        let one = Moments::of(&[1.0, 2.0], 1).unwrap();
        assert_eq!((one.mean[0], one.covariance[0]), (1.5, 0.5));
        let two = Moments::of(&[1.0, 2.0, 3.0, 5.0], 2).unwrap();
        assert!(matches!(one.frechet_distance(&two), Err(Error::Usage(_))));
    }
}
