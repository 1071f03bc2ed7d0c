//! One stored tensor: where its values lie, and how they are read in row-major order without holding more than a view.

use super::source::Source;
use crate::error::Result;
use safetensors::Dtype;

/// How much is copied at once.
const PIECE: u64 = 1 << 20;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The dotted path of the published checkpoints.
    pub name: String,
    /// As stored.
    pub dtype: Dtype,
    /// The sides; none for a scalar.
    pub shape: Vec<usize>,
    /// The step along each axis, in values.
    strides: Vec<usize>,
    /// Of its first value, in bytes of the file.
    start: u64,
}

impl Stored {
    /// A view of `count` values from byte `base` of the file on, `offset` of them skipped.
    ///
    /// # Errors
    /// What does not fit: a side that overflows, values past the storage's end, or more values than it has.
    pub(super) fn view(
        name: String,
        dtype: Dtype,
        (base, count): (u64, u64),
        offset: u64,
        shape: &[usize],
        strides: &[usize],
    ) -> std::result::Result<Stored, String> {
        let tensor = Stored { name, dtype, shape: shape.to_vec(), strides: strides.to_vec(), start: 0 };
        let over = |what: &str| format!("tensor {}: {what}; the storage has {count} values", tensor.name);
        let sides = || shape.iter().map(|&side| side as u64);
        let values = match sides().filter(|&side| side != 0).try_fold(1u64, u64::checked_mul) {
            Some(_) if shape.contains(&0) => 0,
            Some(values) if values <= count => values,
            _ => return Err(over(&format!("shape {shape:?} is too large"))),
        };
        let reach = sides().zip(strides).try_fold(offset, |end, (side, &stride)| {
            end.checked_add(side.saturating_sub(1).checked_mul(stride as u64)?)
        });
        if values != 0 && reach.is_none_or(|last| last >= count) {
            return Err(over(&format!(
                "offset {offset} and strides {strides:?} of shape {shape:?} reach past the end"
            )));
        }
        // An empty tensor reads nothing, wherever it claims to begin.
        let offset = if values == 0 { 0 } else { offset };
        let start = base + offset * tensor.value_size();
        Ok(Stored { start, ..tensor })
    }

    /// A tensor in row-major order at byte `start`; `bytes` there are its own.
    pub(super) fn dense(name: String, dtype: Dtype, shape: Vec<usize>, start: u64) -> Stored {
        let mut strides = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
        }
        Stored { name, dtype, shape, strides, start }
    }

    /// How many values.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&side| side as u64).product()
    }

    /// Their size in bytes.
    pub fn size(&self) -> u64 {
        self.elements() * self.dtype.bitsize() as u64 / 8
    }

    fn value_size(&self) -> u64 {
        self.dtype.bitsize() as u64 / 8
    }

    /// Values from the first to the last of the view, those between its rows included.
    fn span(&self) -> u64 {
        match self.elements() {
            0 => 0,
            _ => {
                1 + self
                    .shape
                    .iter()
                    .zip(&self.strides)
                    .map(|(&side, &step)| (side as u64 - 1) * step as u64)
                    .sum::<u64>()
            }
        }
    }

    /// The bytes that reading it takes from the file, or those that it is, if they are more.
    pub(super) fn cost(&self) -> u64 {
        self.size().max(self.span() * self.value_size())
    }

    fn is_dense(&self) -> bool {
        let mut step = 1;
        self.elements() == 0
            || self.shape.iter().zip(&self.strides).rev().all(|(&side, &stride)| {
                let fits = side == 1 || stride == step;
                step *= side;
                fits
            })
    }

    /// Hands the values to `put` in row-major order, little-endian, in pieces.
    ///
    /// # Errors
    /// What reading says, or `put`.
    pub(super) fn copy(&self, source: &Source, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.is_dense() {
            let (mut at, end) = (self.start, self.start + self.size());
            let mut piece = vec![0; PIECE.min(end - at) as usize];
            while at < end {
                let piece = &mut piece[..PIECE.min(end - at) as usize];
                source.read(at, piece)?;
                put(piece)?;
                at += piece.len() as u64;
            }
            return Ok(());
        }
        let size = self.value_size() as usize;
        let span = source.bytes(self.start, self.span() * size as u64)?;
        let axes = self.shape.len();
        let (side, stride) = (self.shape[axes - 1], self.strides[axes - 1]); // a scalar is dense
        let mut index = vec![0; axes - 1];
        let mut row = Vec::with_capacity(side * size);
        loop {
            let first: usize = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
            row.clear();
            for value in 0..side {
                let at = (first + value * stride) * size;
                row.extend_from_slice(&span[at..at + size]);
            }
            put(&row)?;
            // The next row: the last axis that has one steps, those after it begin again.
            let Some(axis) = (0..axes - 1).rev().find(|&axis| index[axis] + 1 < self.shape[axis]) else {
                return Ok(());
            };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
    }
}

/// The values of `bytes` as f32: exact for f16, bf16 and f32, rounded for f64. `None` for integers.
pub(super) fn widen(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves =
        |convert: fn(u16) -> f32| bytes.chunks_exact(2).map(|b| convert(u16::from_le_bytes([b[0], b[1]]))).collect();
    Some(match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => halves(f16),
        Dtype::BF16 => halves(|bits| f32::from_bits(u32::from(bits) << 16)),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        _ => return None,
    })
}

/// IEEE half precision: five bits of exponent, ten of fraction.
fn f16(bits: u16) -> f32 {
    let (exponent, fraction) = (u32::from(bits >> 10) & 0x1f, u32::from(bits) & 0x3ff);
    let magnitude = match exponent {
        0 => fraction as f32 / 16_777_216.0, // subnormal: fraction·2⁻²⁴
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        _ => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3555, 0.333_251_95),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(f16(bits), value, "{bits:#06x}");
        }
        assert!(f16(0x7e00).is_nan());
        assert!(f16(0x8000).is_sign_negative());
    }

    #[test]
    fn a_view_that_leaves_its_storage_is_refused() {
        let view = |count, offset, shape: &[usize], strides: &[usize]| {
            Stored::view("x".into(), Dtype::F32, (0, count), offset, shape, strides)
        };
        assert!(view(12, 0, &[4, 3], &[1, 4]).is_ok());
        assert!(view(0, 9, &[0, 3], &[3, 1]).is_ok());
        for (count, offset, shape, strides) in [
            (12, 1, &[4, 3][..], &[1, 4][..]),
            (12, 0, &[13], &[0]),
            (12, u64::MAX, &[2], &[1]),
            (12, 0, &[2], &[usize::MAX]),
            (12, 0, &[1 << 40, 1 << 40], &[0, 0]),
        ] {
            assert!(view(count, offset, shape, strides).is_err(), "{shape:?} {strides:?}");
        }
    }
}
