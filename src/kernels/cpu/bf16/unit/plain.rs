//! For every CPU: a tile's factors are widened, and multiplied as f32.

use super::super::layout::{LINE, Left, SIDE, Sums, Tile};
use crate::kernels::cpu::lanes::vectorised;

/// Rows and columns of sums in registers.
const ROWS: usize = 4;
const COLS: usize = 16;

pub(super) fn block(a: Left<'_>, b: &[&[Tile]], sums: &mut Sums) {
    *sums = [[0.0; SIDE]; SIDE];
    let (mut left, mut right) = ([[0.0; LINE]; SIDE], [[[0.0; COLS]; LINE]; 2]);
    vectorised!(|| for (at, tile) in b.iter().copied().flatten().enumerate() {
        for (row, wide) in left.iter_mut().enumerate() {
            for (to, &bits) in wide.iter_mut().zip(a.line(at / a.lines, row, at % a.lines)) {
                *to = f32::from_bits(u32::from(bits) << 16);
            }
        }
        for (half, wide) in tile.iter().zip(&mut right) {
            for (line, [even, odd]) in half.iter().zip(wide.as_chunks_mut::<2>().0) {
                for ((even, odd), pair) in even.iter_mut().zip(odd).zip(line.0.as_chunks::<2>().0) {
                    *even = f32::from_bits(u32::from(pair[0]) << 16);
                    *odd = f32::from_bits(u32::from(pair[1]) << 16);
                }
            }
        }
        for (left, sums) in left.as_chunks::<ROWS>().0.iter().zip(sums.as_chunks_mut::<ROWS>().0) {
            for (half, right) in right.iter().enumerate() {
                multiply(left, right, half * COLS, sums);
            }
        }
    });
}

/// sums += left·right at 16 columns. The sums go in and out by value, and so stay in registers meanwhile.
#[inline(always)]
fn multiply(left: &[[f32; LINE]; ROWS], right: &[[f32; COLS]; LINE], first: usize, sums: &mut [[f32; SIDE]; ROWS]) {
    let mut own = [[0.0; COLS]; ROWS];
    for (own, sums) in own.iter_mut().zip(&*sums) {
        own.copy_from_slice(&sums[first..first + COLS]);
    }
    for (k, right) in right.iter().enumerate() {
        for (own, left) in own.iter_mut().zip(left) {
            let x = left[k];
            for (sum, &y) in own.iter_mut().zip(right) {
                *sum = x.mul_add(y, *sum);
            }
        }
    }
    for (own, sums) in own.iter().zip(sums) {
        sums[first..first + COLS].copy_from_slice(own);
    }
}
