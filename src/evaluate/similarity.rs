//! How near a reconstruction comes to its original: PSNR, and SSIM (Wang et al. 2004) as scikit-image computes both.
//!
//! Pictures are (height, width, channels) with values in [0, 1], f32 or f64.

/// The window over which SSIM takes means, variances and the covariance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// 7×7, all weights equal, sample covariance: scikit-image's default.
    Uniform,
    /// 11×11, a Gaussian of σ = 1.5, population covariance: Wang et al.'s.
    Gaussian,
}

impl Window {
    /// The weights of one axis, which sum to 1.
    fn weights(self) -> Vec<f64> {
        let weight = |offset: i32| match self {
            Window::Uniform => 1.0,
            Window::Gaussian => (-0.5 * (f64::from(offset) / 1.5).powi(2)).exp(),
        };
        let half = if self == Window::Uniform { 3 } else { 5 };
        let total: f64 = (-half..=half).map(weight).sum();
        (-half..=half).map(|offset| weight(offset) / total).collect()
    }

    /// What the mean square deviation is multiplied by.
    fn correction(self) -> f64 {
        if self == Window::Uniform { 49.0 / 48.0 } else { 1.0 }
    }
}

/// Peak signal-to-noise ratio in dB; infinite for equal pictures.
pub fn psnr<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(&a, &b)| (a.into() - b.into()).powi(2)).sum();
    -10.0 * (squares / a.len().max(1) as f64).log10()
}

/// Structural similarity: the mean over channels and windows that lie inside the picture, with the constants (0.01)² and
/// (0.03)²; 0 for a picture that is smaller than the window.
pub fn ssim<T: Copy + Into<f64>>(a: &[T], b: &[T], shape: [usize; 3], window: Window) -> f64 {
    const C1: f64 = 0.01 * 0.01;
    const C2: f64 = 0.03 * 0.03;
    let [height, width, channels] = shape;
    let weights = window.weights();
    let (side, correction) = (weights.len(), window.correction());
    let (mut total, mut windows) = (0.0, 0usize);
    for channel in 0..channels {
        for top in 0..(height + 1).saturating_sub(side) {
            for left in 0..(width + 1).saturating_sub(side) {
                let (mut ma, mut mb, mut maa, mut mbb, mut mab) = (0.0, 0.0, 0.0, 0.0, 0.0);
                for (row, by_row) in weights.iter().enumerate() {
                    for (column, by_column) in weights.iter().enumerate() {
                        let at = ((top + row) * width + left + column) * channels + channel;
                        let (x, y, weight): (f64, f64, f64) = (a[at].into(), b[at].into(), by_row * by_column);
                        (ma, mb) = (ma + weight * x, mb + weight * y);
                        (maa, mbb, mab) = (maa + weight * x * x, mbb + weight * y * y, mab + weight * x * y);
                    }
                }
                let [va, vb, cab] = [maa - ma * ma, mbb - mb * mb, mab - ma * mb].map(|m| m * correction);
                total += (2.0 * ma * mb + C1) * (2.0 * cab + C2) / ((ma * ma + mb * mb + C1) * (va + vb + C2));
                windows += 1;
            }
        }
    }
    total / windows.max(1) as f64
}

/// One channel of (…, 3): 0.299 red, 0.587 green and 0.114 blue (ITU-R BT.601).
pub fn grey<T: Copy + Into<f64>>(rgb: &[T]) -> Vec<f64> {
    rgb.chunks_exact(3).map(|p| 0.299 * p[0].into() + 0.587 * p[1].into() + 0.114 * p[2].into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psnr_of_a_known_error() {
        assert!((psnr(&[0.5f32; 12], &[0.6; 12]) - 20.0).abs() < 1e-4);
        assert_eq!(psnr(&[0.5f64; 12], &[0.5; 12]), f64::INFINITY);
    }

    #[test]
    fn ssim_is_one_for_equal_pictures_and_less_for_others() {
        let a: Vec<f32> = (0..12 * 11 * 3).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let b: Vec<f32> = a.iter().map(|v| 1.0 - v).collect();
        for window in [Window::Uniform, Window::Gaussian] {
            assert!((ssim(&a, &a, [12, 11, 3], window) - 1.0).abs() < 1e-12);
            assert!(ssim(&a, &b, [12, 11, 3], window) < 0.0);
        }
        assert_eq!(ssim(&a, &a, [1, 132, 3], Window::Uniform), 0.0);
    }
}
