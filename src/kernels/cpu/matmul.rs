//! Matrix products through faer, split over threads by blocks of the result. Sizes: c (m, n) = a (m, k) · b (k, n).

use crate::kernels::Real;
use faer::linalg::matmul::matmul as product;
use faer::reborrow::ReborrowMut;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// A strided view of a matrix: element (i, j) is `data[i·row + j·col]`. One of the strides must be 1.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, E> {
    /// The elements, from (0, 0) on; they may go on past the last one.
    pub data: &'a [E],
    /// Elements from one row to the next.
    pub row: usize,
    /// Elements from one column to the next.
    pub col: usize,
}

impl<'a, E> View<'a, E> {
    /// Row-major with `cols` columns.
    pub fn rows(data: &'a [E], cols: usize) -> Self {
        View { data, row: cols, col: 1 }
    }

    /// The transpose of this view.
    pub fn t(self) -> Self {
        View { data: self.data, row: self.col, col: self.row }
    }

    /// faer's view of the first `rows` × `cols` elements.
    fn matrix(self, rows: usize, cols: usize) -> MatRef<'a, E> {
        if self.col == 1 && self.row >= cols {
            MatRef::from_row_major_slice_with_stride(self.data, rows, cols, self.row)
        } else {
            assert!(
                self.row == 1 && self.col >= rows,
                "matmul: a {rows} × {cols} view with strides ({}, {}): expected one stride of 1 and no overlap",
                self.row,
                self.col
            );
            MatRef::from_column_major_slice_with_stride(self.data, rows, cols, self.col)
        }
    }
}

/// Rows and columns of the blocks of c that are computed apart: about 2 MFLOP or more each, at most 16, and such that the
/// least of a and b is packed more than once: a for every block across, b for every block down.
fn block((m, n, k): (usize, usize, usize)) -> (usize, usize) {
    // Narrower blocks would spend their time packing the operands.
    const NARROW: usize = 96;
    let power_of_two = |x: usize| 1 << x.max(1).ilog2();
    let tasks = power_of_two((m * n * k) >> 20).min(16);
    let (most_down, most_across) = (power_of_two(m / NARROW), power_of_two(n / NARROW));
    let split = |down: usize| (down, (tasks / down).min(most_across));
    let splits = (0..=4).map(|i| 1 << i).filter(|&down| down <= most_down.min(tasks)).map(split);
    let cost = |&(down, across): &(usize, usize)| (usize::MAX - down * across, m * across + n * down);
    let (down, across) = splits.min_by_key(cost).unwrap_or((1, 1));
    (m.div_ceil(down).next_multiple_of(8), n.div_ceil(across).next_multiple_of(16))
}

/// c (m, n; row-major) = a (m, k) · b (k, n), or += where `accumulate`.
///
/// # Panics
/// If `c` does not have m·n elements or a view is too short or strided both ways.
pub fn matmul<E: Real>(
    c: &mut [E],
    (m, n, k): (usize, usize, usize),
    a: View<'_, E>,
    b: View<'_, E>,
    accumulate: bool,
) {
    assert_eq!(c.len(), m * n, "matmul: the elements of c, expected {m} × {n}");
    let tasks = block((m, n, k));
    if m <= tasks.0 && n <= tasks.1 {
        return matmul_seq(c, (m, n, k), a, b, accumulate);
    }
    let (a, b) = (a.matrix(m, k), b.matrix(k, n));
    blocks(c, (m, n), tasks).into_par_iter().with_max_len(1).for_each(|(i, j, c)| {
        let (a, b) = (a.subrows(i, c.nrows()), b.subcols(j, c.ncols()));
        product(c, mode(accumulate), a, b, E::of(1.0), Par::Seq);
    });
}

/// c (m, n; row-major) = a (m, k) · b (k, n), each piece of a row of which goes to `finish` while it is in the cache: with
/// the same piece of `also` (m, n), if that is not empty, and its first column.
pub fn matmul_then<E: Real>(
    c: &mut [E],
    also: &mut [E],
    (m, n, k): (usize, usize, usize),
    a: View<'_, E>,
    b: View<'_, E>,
    finish: impl Fn(&mut [E], &mut [E], usize) + Sync,
) {
    assert_eq!(c.len(), m * n, "matmul_then: the elements of c, expected {m} × {n}");
    let (a, b) = (a.matrix(m, k), b.matrix(k, n));
    let tasks = block((m, n, k));
    let also = if also.is_empty() { Vec::new() } else { blocks(also, (m, n), tasks) };
    let also = also.into_iter().map(|(_, _, also)| Some(also)).chain(std::iter::repeat_with(|| None));
    let all: Vec<_> = blocks(c, (m, n), tasks).into_iter().zip(also).collect();
    all.into_par_iter().with_max_len(1).for_each(|((i, j, mut c), mut also)| {
        let (a, b) = (a.subrows(i, c.nrows()), b.subcols(j, c.ncols()));
        product(c.rb_mut(), Accum::Replace, a, b, E::of(1.0), Par::Seq);
        for i in 0..c.nrows() {
            finish(row(&mut c, i), also.as_mut().map_or(&mut [], |also| row(also, i)), j);
        }
    });
}

/// The blocks of a row-major matrix x (m, n), at most `down` × `across`, each with its first row and column.
pub(super) fn blocks<E>(
    x: &mut [E],
    (m, n): (usize, usize),
    (down, across): (usize, usize),
) -> Vec<(usize, usize, MatMut<'_, E>)> {
    let mut blocks = Vec::new();
    let mut below = MatMut::from_row_major_slice_mut(x, m, n);
    for i in (0..m).step_by(down.max(1)) {
        let (mut rest, next) = below.split_at_row_mut(down.min(m - i));
        below = next;
        for j in (0..n).step_by(across.max(1)) {
            let (block, right) = rest.split_at_col_mut(across.min(n - j));
            rest = right;
            blocks.push((i, j, block));
        }
    }
    blocks
}

/// Row `i` of a block of a row-major matrix.
pub(super) fn row<'a, E>(block: &'a mut MatMut<'_, E>, i: usize) -> &'a mut [E] {
    block.rb_mut().row_mut(i).try_as_row_major_mut().expect("a block of rows").as_slice_mut()
}

/// [`matmul`] on the calling thread only: for use inside a parallel loop.
pub fn matmul_seq<E: Real>(
    c: &mut [E],
    (m, n, k): (usize, usize, usize),
    a: View<'_, E>,
    b: View<'_, E>,
    accumulate: bool,
) {
    assert_eq!(c.len(), m * n, "matmul: the elements of c, expected {m} × {n}");
    let c = MatMut::from_row_major_slice_mut(c, m, n);
    product(c, mode(accumulate), a.matrix(m, k), b.matrix(k, n), E::of(1.0), Par::Seq);
}

fn mode(accumulate: bool) -> Accum {
    if accumulate { Accum::Add } else { Accum::Replace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_same_on_any_threads, normals};
    use proptest::prelude::*;

    fn naive((m, n, k): (usize, usize, usize), a: View<'_, f64>, b: View<'_, f64>, c: &[f64]) -> Vec<f64> {
        let at = |v: View<'_, f64>, i: usize, j: usize| v.data[i * v.row + j * v.col];
        (0..m * n).map(|x| c[x] + (0..k).map(|l| at(a, x / n, l) * at(b, l, x % n)).sum::<f64>()).collect()
    }

    proptest! {
        #[test]
        fn equals_the_definition(m in 1usize..40, n in 1usize..40, k in 0usize..40, flags in 0u8..8) {
            let (a, b, c) = (normals::<f64>("a", m * k), normals::<f64>("b", k * n), normals::<f64>("c", m * n));
            let a = if flags & 1 == 0 { View::rows(&a, k) } else { View::rows(&a, m).t() };
            let b = if flags & 2 == 0 { View::rows(&b, n) } else { View::rows(&b, k).t() };
            let accumulate = flags & 4 != 0;
            let start = if accumulate { c.clone() } else { vec![0.0; m * n] };
            let expected = naive((m, n, k), a, b, &start);
            let narrow = |v: View<'_, f64>| v.data.iter().map(|x| *x as f32).collect::<Vec<_>>();
            let mut got = c.clone();
            matmul(&mut got, (m, n, k), a, b, accumulate);
            assert_close(&got, &expected, 1e-12);
            let mut got: Vec<f32> = c.iter().map(|x| *x as f32).collect();
            let (a32, b32) = (narrow(a), narrow(b));
            let a = View { data: &a32[..], row: a.row, col: a.col };
            let b = View { data: &b32[..], row: b.row, col: b.col };
            matmul(&mut got, (m, n, k), a, b, accumulate);
            assert_close(&got, &expected, 2e-5);
        }
    }

    /// Large enough to be split both ways, with ragged edges.
    const SPLIT: (usize, usize, usize) = (203, 1001, 130);

    #[test]
    fn split_products_equal_unsplit_ones_on_any_threads() {
        let (m, n, k) = SPLIT;
        let (a, b) = (normals::<f64>("a", m * k), normals::<f64>("b", k * n));
        let (down, across) = block(SPLIT);
        assert!(down < m && across < n);
        let run = || {
            let mut c = vec![0.0; m * n];
            matmul(&mut c, SPLIT, View::rows(&a, k), View::rows(&b, n), false);
            c
        };
        assert_same_on_any_threads(run);
        assert_close(&run(), &naive(SPLIT, View::rows(&a, k), View::rows(&b, n), &vec![0.0; m * n]), 1e-12);
    }

    #[test]
    fn bits_do_not_depend_on_where_the_slices_start() {
        for (m, n, k) in [(1, 300, 70), (300, 1, 70), (40, 50, 60), (8, 512, 300)] {
            let at = |offset: usize| {
                let (a, b) = (normals::<f32>("a", 16 + m * k), normals::<f32>("b", 16 + k * n));
                let mut shifted_a = vec![0.0; offset];
                shifted_a.extend_from_slice(&a);
                let mut shifted_b = vec![0.0; offset];
                shifted_b.extend_from_slice(&b);
                let mut c = vec![0f32; offset + m * n];
                let (a, b) = (View::rows(&shifted_a[offset..], k), View::rows(&shifted_b[offset..], n));
                matmul(&mut c[offset..], (m, n, k), a, b, false);
                c[offset..].iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            assert!((1..16).all(|offset| at(offset) == at(0)), "{m} × {n} × {k}");
        }
    }

    #[test]
    fn the_larger_operand_is_packed_less_often() {
        assert_eq!((block((800, 3072, 768)), block((3072, 800, 768))), ((400, 384), (384, 400)));
    }

    #[test]
    fn empty_products_are_zeros() {
        let mut c = vec![1.0f64; 6];
        matmul(&mut c, (2, 3, 0), View::rows(&[], 0), View::rows(&[], 3), false);
        assert_eq!(c, [0.0; 6]);
        matmul(&mut [0f64; 0], (0, 3, 2), View::rows(&[], 2), View::rows(&[0.0; 6], 3), false);
    }

    #[test]
    #[should_panic(expected = "the elements of c")]
    fn a_result_of_the_wrong_size_is_refused() {
        matmul(&mut [0f64; 5], (2, 3, 1), View::rows(&[0.0; 2], 1), View::rows(&[0.0; 3], 3), false);
    }
}
