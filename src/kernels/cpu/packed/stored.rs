//! How a weight is kept, and how it becomes a number again.

use crate::kernels::Real;

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

impl<E: Real> Stored<E> for Half {
    #[inline(always)]
    fn widen(self) -> E {
        E::of(f64::from(f32::from_bits(u32::from(self.0) << 16)))
    }
}

impl<E: Real> Stored<E> for i8 {
    #[inline(always)]
    fn widen(self) -> E {
        E::of(f64::from(self))
    }
}

/// The upper half of an f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Half(pub u16);

impl Half {
    /// To nearest, ties to even; infinities and NaN stay what they are.
    pub(super) fn round(x: f32) -> Half {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        Half(if x.is_finite() { rounded >> 16 } else { bits >> 16 | u32::from(x.is_nan()) } as u16)
    }
}
