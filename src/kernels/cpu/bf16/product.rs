//! c in blocks: which thread computes which, and what becomes of them.

use super::layout::{LINE, SIDE, Sums};
use super::pack::{Rows, Tiles};
use super::unit::Unit;
use crate::kernels::cpu::lanes::vectorised;
use crate::kernels::cpu::matmul::{self, blocks};
use faer::MatMut;
use rayon::prelude::*;

/// Lines of k that are summed before the sums go to c: 32 rows of them and 128 columns of tiles stay in the second cache.
const DEEP: usize = 2048 / LINE;
/// Tiles across, of which the second cache keeps [`DEEP`].
const ACROSS: usize = 4;

/// c (m, n; row-major) = a·b, or += where `accumulate`.
///
/// # Panics
/// If c does not have m·n elements or the factors do not fit.
pub fn multiply(unit: Unit, c: &mut [f32], a: &Rows, b: &Tiles, accumulate: bool) {
    all(unit, c, &mut [], a, b, accumulate, |_, _, _| {});
}

/// c (m, n; row-major) = a·b, each piece of a row of which goes to `finish` once it is whole: with the same piece of `also`
/// (m, n), if that is not empty, and its first column.
///
/// # Panics
/// As [`multiply`]; if `also` is neither empty nor as long as c.
pub fn multiply_then(
    unit: Unit,
    c: &mut [f32],
    also: &mut [f32],
    a: &Rows,
    b: &Tiles,
    finish: impl Fn(&mut [f32], &mut [f32], usize) + Sync,
) {
    all(unit, c, also, a, b, false, finish);
}

fn all(
    unit: Unit,
    c: &mut [f32],
    also: &mut [f32],
    a: &Rows,
    b: &Tiles,
    accumulate: bool,
    finish: impl Fn(&mut [f32], &mut [f32], usize) + Sync,
) {
    let (m, n, k) = (a.rows(), b.cols(), a.cols());
    assert_eq!(k, b.depth(), "bf16: columns of a and rows of b");
    assert_eq!(c.len(), m * n, "bf16: the elements of c, expected {m} × {n}");
    assert!(also.is_empty() || also.len() == c.len(), "bf16: {} elements beside {} of c", also.len(), c.len());
    let task = task((m, n, k));
    let c = parts(c, (m, n), task);
    let also: Vec<Option<Block<'_>>> = match also {
        [] => c.iter().map(|_| None).collect(),
        also => parts(also, (m, n), task).into_iter().map(Some).collect(),
    };
    let tasks: Vec<_> = c.into_iter().zip(also).collect();
    tasks.into_par_iter().with_max_len(1).for_each(|(mut c, mut also)| {
        unit.ready(|| c.compute(unit, a, b, accumulate, also.as_mut(), &finish));
    });
}

/// Rows and columns of c for a task: about 16 MFLOP or more each, at most 32.
fn task((m, n, k): (usize, usize, usize)) -> (usize, usize) {
    let tasks = ((m * n * k) >> 23).clamp(1, 32);
    let (strips, columns) = (m.div_ceil(SIDE).max(1), n.div_ceil(SIDE).max(1));
    // First down: a task then reads its rows once, and all of b.
    let down = tasks.min(strips);
    let across = (tasks / down).clamp(1, columns);
    (strips.div_ceil(down) * SIDE, columns.div_ceil(across) * SIDE)
}

/// A part of c, with its first row and column.
struct Block<'a> {
    row: usize,
    column: usize,
    values: MatMut<'a, f32>,
}

/// The parts of x (m, n), at most `down` × `across`.
fn parts(x: &mut [f32], sizes: (usize, usize), task: (usize, usize)) -> Vec<Block<'_>> {
    blocks(x, sizes, task).into_iter().map(|(row, column, values)| Block { row, column, values }).collect()
}

impl Block<'_> {
    fn compute(
        &mut self,
        unit: Unit,
        a: &Rows,
        b: &Tiles,
        accumulate: bool,
        mut also: Option<&mut Block<'_>>,
        finish: &impl Fn(&mut [f32], &mut [f32], usize),
    ) {
        let (rows, columns) = (self.values.nrows(), self.values.ncols());
        let lines = a.cols().div_ceil(LINE);
        let mut sums: Sums = [[0.0; SIDE]; SIDE];
        // No factors are a pass too: of zeros.
        for start in (0..lines.max(1)).step_by(DEEP) {
            let (end, add) = (lines.min(start + DEEP), accumulate || start > 0);
            for group in (0..columns).step_by(ACROSS * SIDE) {
                let group = group..columns.min(group + ACROSS * SIDE);
                for top in (0..rows).step_by(SIDE) {
                    for left in group.clone().step_by(SIDE) {
                        let tiles = &b.column((self.column + left) / SIDE)[start..end];
                        let first = (self.row + top) * a.stride() + start * LINE;
                        unit.block(a.left(&[first], end - start), &[tiles], &mut sums);
                        self.put(&sums, (top, left), add);
                    }
                    if end == lines {
                        let first = self.column + group.start;
                        for row in top..rows.min(top + SIDE) {
                            let also = also.as_deref_mut().map(|also| &mut also.line(row)[group.clone()]);
                            finish(&mut self.line(row)[group.clone()], also.unwrap_or_default(), first);
                        }
                    }
                }
            }
        }
    }

    /// As much of the sums as lies within.
    fn put(&mut self, sums: &Sums, (top, left): (usize, usize), add: bool) {
        let (rows, width) = (self.values.nrows(), SIDE.min(self.values.ncols() - left));
        vectorised!(|| for (sums, row) in sums.iter().zip(top..rows) {
            let c = &mut self.line(row)[left..left + width];
            match <&mut [f32; SIDE]>::try_from(&mut *c) {
                Ok(c) if add => c.iter_mut().zip(sums).for_each(|(c, sum)| *c += sum),
                Ok(c) => *c = *sums,
                Err(_) if add => c.iter_mut().zip(sums).for_each(|(c, sum)| *c += sum),
                Err(_) => c.copy_from_slice(&sums[..width]),
            }
        });
    }

    fn line(&mut self, row: usize) -> &mut [f32] {
        matmul::row(&mut self.values, row)
    }
}
