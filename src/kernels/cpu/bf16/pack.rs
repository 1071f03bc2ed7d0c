//! The factors as the units read them. What lies beyond a matrix is 0.

use super::layout::{LINE, Left, Line, SIDE, Tile, ZERO};
use super::round::{Bf16, pair};
use super::transpose::transpose;
use crate::kernels::cpu::lanes::vectorised;
use crate::kernels::cpu::parallel::rows_per_task;
use rayon::prelude::*;

/// a (m, k), row by row.
#[derive(Debug, Clone)]
pub struct Rows {
    lines: Vec<Line>,
    /// Lines from one row to the next: odd, so that a column of a tile does not fall into few sets of the cache.
    stride: usize,
    rows: usize,
    cols: usize,
}

impl Rows {
    fn zeros(rows: usize, cols: usize) -> Rows {
        let stride = cols.div_ceil(LINE) | 1;
        Rows { lines: vec![ZERO; rows.next_multiple_of(SIDE) * stride], stride, rows, cols }
    }

    /// Of x (rows, cols).
    pub fn of(x: &[f32], cols: usize) -> Rows {
        Rows::of_each(x, cols, |x| x)
    }

    /// Of max(x, 0).
    pub fn of_relu(x: &[f32], cols: usize) -> Rows {
        Rows::of_each(x, cols, relu)
    }

    /// [`Rows::of`] on the calling thread only.
    pub(in crate::kernels::cpu) fn of_seq(x: &[f32], cols: usize) -> Rows {
        let mut all = Rows::zeros(x.len() / cols.max(1), cols);
        round_rows(x, (cols, all.stride), &|x| x, &mut all.lines);
        all
    }

    fn of_each(x: &[f32], cols: usize, f: impl Fn(f32) -> f32 + Sync) -> Rows {
        let mut all = Rows::zeros(x.len() / cols.max(1), cols);
        let (stride, task) = (all.stride, rows_per_task(all.rows, cols));
        let tasks = all.lines.par_chunks_mut(task * stride).zip(x.par_chunks((task * cols).max(1)));
        tasks.for_each(|(lines, x)| round_rows(x, (cols, stride), &f, lines));
        all
    }

    /// Of the transpose of x (cols, rows).
    pub fn transposed(x: &[f32], rows: usize) -> Rows {
        let mut all = Rows::zeros(rows, x.len() / rows.max(1));
        let (cols, stride) = (all.cols, all.stride);
        let tasks = all.lines.par_chunks_mut(SIDE / 2 * stride).enumerate();
        tasks.for_each(|(block, lines)| transpose_rows(x, (rows, cols), block, lines));
        all
    }

    /// [`Rows::transposed`] on the calling thread only.
    pub(in crate::kernels::cpu) fn transposed_seq(x: &[f32], rows: usize) -> Rows {
        let mut all = Rows::zeros(rows, x.len() / rows.max(1));
        let (cols, stride) = (all.cols, all.stride);
        let tasks = all.lines.chunks_mut(SIDE / 2 * stride).enumerate();
        tasks.for_each(|(block, lines)| transpose_rows(x, (rows, cols), block, lines));
        all
    }

    /// m.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// k.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// 32 rows, each of `lines` lines; the first begins at the number that `segment` holds.
    pub(in crate::kernels::cpu) fn left<'a>(&'a self, segment: &'a [usize; 1], lines: usize) -> Left<'a> {
        Left { values: self.values(), stride: self.stride(), segments: segment, lines }
    }

    /// Numbers from one row to the next.
    pub(in crate::kernels::cpu) fn stride(&self) -> usize {
        self.stride * LINE
    }

    /// All of them, with what lies beyond the rows.
    fn values(&self) -> &[u16] {
        // SAFETY: a line is 32 numbers without anything between or beside them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * LINE) }
    }

    /// b's tiles for b = this (k, n), without another rounding.
    pub fn tiles(&self) -> Tiles {
        let (depth, stride) = (self.rows, self.stride);
        let mut tiles = Tiles::zeros(depth, self.cols);
        let deep = tiles.deep;
        tiles.tiles.par_chunks_mut(deep.max(1)).enumerate().for_each(|(column, tiles)| {
            vectorised!(|| for (at, tile) in tiles.iter_mut().enumerate() {
                for (half, lines) in tile.iter_mut().enumerate() {
                    for (p, to) in lines.iter_mut().enumerate() {
                        // Rows up to a multiple of 32 are there.
                        let row = (at * LINE + 2 * p) * stride + column;
                        let (first, second) = (&self.lines[row].0, &self.lines[row + stride].0);
                        let pairs: [u32; 16] = std::array::from_fn(|j| {
                            u32::from(first[half * 16 + j]) | u32::from(second[half * 16 + j]) << 16
                        });
                        *to = line(&pairs);
                    }
                }
            });
        });
        tiles
    }
}

/// 16 rows of the transpose of x (cols, rows).
fn transpose_rows(x: &[f32], (rows, cols): (usize, usize), block: usize, lines: &mut [Line]) {
    let first = block * SIDE / 2;
    let (width, stride) = (rows.saturating_sub(first).min(SIDE / 2), lines.len() / (SIDE / 2));
    vectorised!(|| for at in 0..cols.div_ceil(LINE) {
        // 16 pairs of rows of x, of which each becomes a column.
        let pairs = pairs(&x[at * LINE * rows..], rows, first, width);
        for (row, pairs) in transpose(pairs).iter().enumerate() {
            lines[row * stride + at] = line(pairs);
        }
    });
}

/// max(x, 0); NaN stays NaN.
#[inline(always)]
pub(in crate::kernels::cpu) fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

fn round_rows(x: &[f32], (cols, stride): (usize, usize), f: &impl Fn(f32) -> f32, lines: &mut [Line]) {
    vectorised!(|| for (lines, x) in lines.chunks_exact_mut(stride).zip(x.chunks_exact(cols)) {
        round_row(lines, x, f);
    });
}

#[inline(always)]
fn round_row(lines: &mut [Line], x: &[f32], f: impl Fn(f32) -> f32) {
    let (whole, rest) = x.as_chunks::<LINE>();
    for (line, x) in lines.iter_mut().zip(whole) {
        for (to, &x) in line.0.iter_mut().zip(x) {
            *to = Bf16::round(f(x)).0;
        }
    }
    if let Some(line) = lines.get_mut(whole.len()) {
        for (to, &x) in line.0.iter_mut().zip(rest) {
            *to = Bf16::round(f(x)).0;
        }
    }
}

/// The pairs of up to 32 rows of x (…, cols), at `width` columns from `first` on.
#[inline(always)]
fn pairs(x: &[f32], cols: usize, first: usize, width: usize) -> [[u32; 16]; 16] {
    let mut pairs = [[0; 16]; 16];
    let row = |r: usize| x.get(r * cols + first..r * cols + first + width);
    for (p, pairs) in pairs.iter_mut().enumerate() {
        match (row(2 * p), row(2 * p + 1)) {
            (Some(first), Some(second)) => {
                if let (Ok(first), Ok(second)) = (<&[f32; 16]>::try_from(first), <&[f32; 16]>::try_from(second)) {
                    *pairs = std::array::from_fn(|j| pair(first[j], second[j]));
                } else {
                    pairs.iter_mut().zip(first.iter().zip(second)).for_each(|(to, (a, b))| *to = pair(*a, *b));
                }
            }
            (Some(first), None) => pairs.iter_mut().zip(first).for_each(|(to, a)| *to = pair(*a, 0.0)),
            (None, _) => {}
        }
    }
    pairs
}

#[inline(always)]
fn line(pairs: &[u32; 16]) -> Line {
    let mut line = ZERO;
    for (to, pair) in line.0.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
        *to = [*pair as u16, (*pair >> 16) as u16];
    }
    line
}

/// b (k, n), in tiles: (⌈n/32⌉, ⌈k/32⌉) of them.
#[derive(Debug, Clone)]
pub struct Tiles {
    tiles: Vec<Tile>,
    /// ⌈k/32⌉
    deep: usize,
    depth: usize,
    cols: usize,
}

impl Tiles {
    fn zeros(depth: usize, cols: usize) -> Tiles {
        let deep = depth.div_ceil(LINE);
        Tiles { tiles: vec![[[ZERO; SIDE / 2]; 2]; cols.div_ceil(SIDE) * deep], deep, depth, cols }
    }

    /// Of x (k, n).
    pub fn of(x: &[f32], cols: usize) -> Tiles {
        let mut all = Tiles::zeros(x.len() / cols.max(1), cols);
        let tasks = all.tiles.par_chunks_mut(all.deep.max(1)).enumerate();
        tasks.for_each(|(column, tiles)| interleave(x, cols, column, tiles));
        all
    }

    /// [`Tiles::of`] on the calling thread only.
    pub(in crate::kernels::cpu) fn of_seq(x: &[f32], cols: usize) -> Tiles {
        let mut all = Tiles::zeros(x.len() / cols.max(1), cols);
        let tasks = all.tiles.chunks_mut(all.deep.max(1)).enumerate();
        tasks.for_each(|(column, tiles)| interleave(x, cols, column, tiles));
        all
    }

    /// Of the transpose of x (n, k).
    pub fn transposed(x: &[f32], depth: usize) -> Tiles {
        let mut all = Tiles::zeros(depth, x.len() / depth.max(1));
        let (cols, tasks) = (all.cols, all.tiles.par_chunks_mut(all.deep.max(1)).enumerate());
        tasks.for_each(|(column, tiles)| interleave_transposed(x, (cols, depth), column, tiles));
        all
    }

    /// [`Tiles::transposed`] on the calling thread only.
    pub(in crate::kernels::cpu) fn transposed_seq(x: &[f32], depth: usize) -> Tiles {
        let mut all = Tiles::zeros(depth, x.len() / depth.max(1));
        let (cols, tasks) = (all.cols, all.tiles.chunks_mut(all.deep.max(1)).enumerate());
        tasks.for_each(|(column, tiles)| interleave_transposed(x, (cols, depth), column, tiles));
        all
    }

    /// k.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// n.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The tiles of 32 columns.
    pub(in crate::kernels::cpu) fn column(&self, column: usize) -> &[Tile] {
        &self.tiles[column * self.deep..(column + 1) * self.deep]
    }
}

/// The tiles of 32 columns of x (k, n).
fn interleave(x: &[f32], cols: usize, column: usize, tiles: &mut [Tile]) {
    vectorised!(|| for (at, tile) in tiles.iter_mut().enumerate() {
        for (half, lines) in tile.iter_mut().enumerate() {
            let first = column * SIDE + half * 16;
            let width = cols.saturating_sub(first).min(16);
            for (to, pairs) in lines.iter_mut().zip(&pairs(&x[at * LINE * cols..], cols, first, width)) {
                *to = line(pairs);
            }
        }
    });
}

/// The tiles of 32 columns of the transpose of x (n, k).
fn interleave_transposed(x: &[f32], (cols, depth): (usize, usize), column: usize, tiles: &mut [Tile]) {
    vectorised!(|| for (at, tile) in tiles.iter_mut().enumerate() {
        let width = depth.saturating_sub(at * LINE).min(LINE);
        for (half, lines) in tile.iter_mut().enumerate() {
            let mut rows = [[0; 16]; 16];
            for (row, j) in rows.iter_mut().zip(column * SIDE + half * 16..cols) {
                let x = &x[j * depth + at * LINE..][..width];
                match <&[f32; LINE]>::try_from(x) {
                    Ok(x) => *row = std::array::from_fn(|p| pair(x[2 * p], x[2 * p + 1])),
                    Err(_) => {
                        let at = |i: usize| x.get(i).copied().unwrap_or(0.0);
                        *row = std::array::from_fn(|p| pair(at(2 * p), at(2 * p + 1)));
                    }
                }
            }
            for (to, pairs) in lines.iter_mut().zip(&transpose(rows)) {
                *to = line(pairs);
            }
        }
    });
}
