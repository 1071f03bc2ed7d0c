//! The rounding.

/// The upper half of an f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Bf16 {
    /// To nearest, ties to even; infinities and NaN stay what they are.
    #[inline(always)]
    pub fn round(x: f32) -> Bf16 {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // A NaN must not become an infinity by losing the bits that make it one.
        Bf16(if x.is_nan() { bits >> 16 | 1 } else { rounded } as u16)
    }

    /// Exactly.
    #[inline(always)]
    pub fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// Two neighbours, the first in the lower half.
#[inline(always)]
pub(super) fn pair(first: f32, second: f32) -> u32 {
    u32::from(Bf16::round(first).0) | u32::from(Bf16::round(second).0) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_and_ties_go_to_even() {
        let round = |x: f32| Bf16::round(x).widen();
        // 1 + 2⁻⁸ lies between 1 and 1 + 2⁻⁷; 1 + 3·2⁻⁸ between 1 + 2⁻⁷ and 1 + 2⁻⁶.
        assert_eq!([1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8)].map(round), [1.0, 1.0 + 2f32.powi(-6)]);
        assert_eq!(round(1.0 + 1.01 * 2f32.powi(-8)), 1.0 + 2f32.powi(-7));
        assert_eq!(round(0.1), 205.0 / 2048.0);
        assert_eq!(round(f32::MAX), f32::INFINITY);
        assert_eq!(
            [f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0].map(|x| round(x).to_bits()),
            [f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0].map(f32::to_bits)
        );
        for bits in [0x7f80_0001, 0x7fc0_0000, 0xff80_0001, 0x7fff_ffff] {
            assert!(round(f32::from_bits(bits)).is_nan(), "{bits:x}");
        }
    }

    #[test]
    fn every_bf16_is_itself() {
        for bits in 0..=u16::MAX {
            let x = Bf16(bits);
            assert!(x.widen().is_nan() || Bf16::round(x.widen()) == x, "{bits:x}");
        }
    }
}
