//! Figures with their uncertainty, and how near a reconstruction comes.

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

/// Peak signal-to-noise ratio in dB of two pictures with values in [0, 1]; infinite for equal ones.
pub fn psnr(a: &[f32], b: &[f32]) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a - b).powi(2)).sum();
    -10.0 * (squares / a.len().max(1) as f64).log10()
}

/// Structural similarity of two pictures (side, side, 3) with values in [0, 1]: the mean over channels and 7×7 windows, with
/// the sample covariance and the constants (0.01)² and (0.03)² of Wang et al. 2004.
pub fn ssim(a: &[f32], b: &[f32], side: usize) -> f64 {
    const WINDOW: usize = 7;
    const C1: f64 = 0.01 * 0.01;
    const C2: f64 = 0.03 * 0.03;
    let n = (WINDOW * WINDOW) as f64;
    let (mut total, mut windows) = (0.0, 0usize);
    for channel in 0..3 {
        for top in 0..=side.saturating_sub(WINDOW) {
            for left in 0..=side.saturating_sub(WINDOW) {
                let (mut sa, mut sb, mut saa, mut sbb, mut sab) = (0.0, 0.0, 0.0, 0.0, 0.0);
                for offset in 0..WINDOW * WINDOW {
                    let at = ((top + offset / WINDOW) * side + left + offset % WINDOW) * 3 + channel;
                    let (x, y) = (f64::from(a[at]), f64::from(b[at]));
                    (sa, sb, saa, sbb, sab) = (sa + x, sb + y, saa + x * x, sbb + y * y, sab + x * y);
                }
                let (ma, mb) = (sa / n, sb / n);
                let covariance = |s: f64, m: f64, k: f64| (s - n * m * k) / (n - 1.0);
                let (va, vb, cab) = (covariance(saa, ma, ma), covariance(sbb, mb, mb), covariance(sab, ma, mb));
                total += (2.0 * ma * mb + C1) * (2.0 * cab + C2) / ((ma * ma + mb * mb + C1) * (va + vb + C2));
                windows += 1;
            }
        }
    }
    total / windows.max(1) as f64
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

    #[test]
    fn psnr_of_a_known_error() {
        assert!((psnr(&[0.5; 12], &[0.6; 12]) - 20.0).abs() < 1e-4);
    }

    #[test]
    fn ssim_is_one_for_equal_pictures_and_less_for_others() {
        let a: Vec<f32> = (0..8 * 8 * 3).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let b: Vec<f32> = a.iter().map(|v| 1.0 - v).collect();
        assert!((ssim(&a, &a, 8) - 1.0).abs() < 1e-12);
        assert!(ssim(&a, &b, 8) < 0.0);
    }
}
