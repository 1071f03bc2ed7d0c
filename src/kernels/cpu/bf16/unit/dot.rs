//! AVX512-BF16: 16 sums of pairs of products in an instruction.

use super::super::layout::{LINE, Left, Line, SIDE, Sums, Tile};

use std::arch::x86_64::*;

/// Rows of sums in registers, two registers each.
const ROWS: usize = 8;

pub(super) fn is_here() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

pub(super) fn block(a: Left<'_>, b: &[&[Tile]], sums: &mut Sums) {
    assert!(is_here(), "Unit::Dot: this CPU has no AVX512-BF16");
    // SAFETY: the CPU has the instructions.
    unsafe { rows(a, b, sums) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn rows(a: Left<'_>, b: &[&[Tile]], sums: &mut Sums) {
    for first in (0..SIDE).step_by(ROWS) {
        let mut all = [[_mm512_setzero_ps(); 2]; ROWS];
        for (at, tile) in b.iter().copied().flatten().enumerate() {
            let rows: [&[u16; LINE]; ROWS] = std::array::from_fn(|row| a.line(at / a.lines, first + row, at % a.lines));
            for p in 0..LINE / 2 {
                let b = [load(&tile[0][p]), load(&tile[1][p])];
                for (sums, row) in all.iter_mut().zip(&rows) {
                    let a = _mm512_set1_epi32(i32::from(row[2 * p]) | i32::from(row[2 * p + 1]) << 16);
                    // SAFETY: both types are 64 bytes of which any will do.
                    let a = unsafe { std::mem::transmute::<__m512i, __m512bh>(a) };
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = _mm512_dpbf16_ps(*sum, a, b);
                    }
                }
            }
        }
        for (sums, all) in sums[first..].iter_mut().zip(&all) {
            for (sums, all) in sums.as_chunks_mut::<16>().0.iter_mut().zip(all) {
                // SAFETY: 16 f32 are 64 bytes.
                unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *all) }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn load(line: &Line) -> __m512bh {
    // SAFETY: a line is 64 bytes, aligned; both types are 64 bytes of which any will do.
    unsafe { std::mem::transmute(_mm512_load_si512(line.0.as_ptr().cast())) }
}
