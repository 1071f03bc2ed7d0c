//! The element types of the kernels: f32 to train, f64 to check gradients and fixtures.

use dfdx::prelude::Dtype;
use num_traits::Float;
use rand_distr::uniform::SampleUniform;

/// A real number that dfdx can store, faer can multiply and a kernel can vectorise.
pub trait Real: Dtype + Float + SampleUniform + faer::traits::RealField + std::iter::Sum {
    /// Rounds from f64.
    fn of(value: f64) -> Self;
    /// Widens to f64.
    fn as_f64(self) -> f64;
    /// eˣ, written so that a loop over it vectorises. For f32 a polynomial with a relative error under 2e-7; for f64 the library's.
    fn fast_exp(self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> f32 {
        value as f32
    }

    #[inline(always)]
    fn as_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn fast_exp(self) -> f32 {
        // eˣ = 2ⁿ·eʳ with r = x − n·ln 2 in two parts, |r| ≤ ln 2 / 2; degree-6 Taylor polynomial in r.
        let x = self.clamp(-87.0, 88.0);
        let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0; // rounds to nearest
        let r = (x - n * 0.693_145_75) - n * 1.428_606_8e-6;
        let p = 1.0 / 720.0;
        let p = p * r + 1.0 / 120.0;
        let p = p * r + 1.0 / 24.0;
        let p = p * r + 1.0 / 6.0;
        let p = p * r + 0.5;
        let p = p * r + 1.0;
        let p = p * r + 1.0;
        let scaled = p * f32::from_bits((((n as i32) + 127) << 23) as u32);
        if self < -87.0 { 0.0 } else { scaled }
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> f64 {
        value
    }

    #[inline(always)]
    fn as_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn fast_exp(self) -> f64 {
        num_traits::Float::exp(self)
    }
}
