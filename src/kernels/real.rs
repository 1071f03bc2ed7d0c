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
    /// eˣ, written so that a loop over it vectorises and gives the same bits on every CPU. For f32 a polynomial with a
    /// relative error under 2e-7 for x in [−87, 88], 0 below that range and e⁸⁸ above it; for f64 the library's. NaN
    /// stays NaN.
    fn fast_exp(self) -> Self;
    /// The same numbers where they are f32: what is rounded to fewer bits.
    fn singles(x: &[Self]) -> Option<&[f32]>;
    /// [`Real::singles`] that can be written.
    fn singles_mut(x: &mut [Self]) -> Option<&mut [f32]>;
    /// The kernel for this type.
    fn of_both<S: Signature>(kernel: &Both<S>) -> &S::Of<Self>;
}

/// The type of a kernel.
pub trait Signature {
    /// For numbers of the type `E`.
    type Of<E: Real>;
}

/// A kernel for either type of number.
#[derive(Debug)]
pub struct Both<S: Signature> {
    /// For `f32`.
    pub single: S::Of<f32>,
    /// For `f64`.
    pub double: S::Of<f64>,
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
        // eˣ = 2ⁿ·eʳ with r = x − n·ln 2 (ln 2 in two parts), |r| ≤ ln 2 / 2; degree-7 Taylor polynomial in r.
        // Adding 1.5·2²³ rounds x / ln 2 to the nearest integer and leaves n in the low bits of the sum.
        let x = self.clamp(-87.0, 88.0);
        let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
        let n = shifted - 12_582_912.0;
        let r = (x - n * 0.693_145_75) - n * 1.428_606_8e-6;
        let p = 1.0 / 5040.0;
        let p = p * r + 1.0 / 720.0;
        let p = p * r + 1.0 / 120.0;
        let p = p * r + 1.0 / 24.0;
        let p = p * r + 1.0 / 6.0;
        let p = p * r + 0.5;
        let p = p * r + 1.0;
        let p = p * r + 1.0;
        let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
        if self < -87.0 { 0.0 } else { p * power }
    }

    fn singles(x: &[f32]) -> Option<&[f32]> {
        Some(x)
    }

    fn singles_mut(x: &mut [f32]) -> Option<&mut [f32]> {
        Some(x)
    }

    fn of_both<S: Signature>(kernel: &Both<S>) -> &S::Of<f32> {
        &kernel.single
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

    fn singles(_: &[f64]) -> Option<&[f32]> {
        None
    }

    fn singles_mut(_: &mut [f64]) -> Option<&mut [f32]> {
        None
    }

    fn of_both<S: Signature>(kernel: &Both<S>) -> &S::Of<f64> {
        &kernel.double
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_exp_is_exact_to_its_stated_error() {
        for step in 0..175_000 {
            let x = -87.0 + step as f32 * 1e-3;
            let (got, want) = (f64::from(x.fast_exp()), f64::from(x).exp());
            assert!(((got - want) / want).abs() < 2e-7, "e^{x}: got {got:e}, expected {want:e}");
        }
        assert_eq!(1.5f64.fast_exp(), 1.5f64.exp());
    }

    #[test]
    fn fast_exp_at_the_ends() {
        assert_eq!(0f32.fast_exp(), 1.0);
        assert_eq!(f32::NEG_INFINITY.fast_exp(), 0.0);
        assert_eq!((-1e4f32).fast_exp(), 0.0);
        assert!(f32::INFINITY.fast_exp() > 1e38);
        assert!(f32::NAN.fast_exp().is_nan());
    }
}
