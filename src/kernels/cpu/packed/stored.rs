//! How a weight is kept, and how it becomes a number again.

use crate::kernels::Real;
use crate::kernels::cpu::bf16::Bf16;

/// How a weight is kept.
pub(super) trait Stored<E>: Copy + Send + Sync {
    /// As a number to calculate with; for whole numbers without their scale.
    fn widen(self) -> E;
}

impl<E: Real> Stored<E> for E {
    #[inline(always)]
    fn widen(self) -> E {
        self
    }
}

impl<E: Real> Stored<E> for Bf16 {
    #[inline(always)]
    fn widen(self) -> E {
        E::of(f64::from(Bf16::widen(self)))
    }
}

impl<E: Real> Stored<E> for i8 {
    #[inline(always)]
    fn widen(self) -> E {
        E::of(f64::from(self))
    }
}
