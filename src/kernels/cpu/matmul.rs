//! Matrix products through faer, split over threads by rows of the result.
use crate::kernels::Real;

/// A strided view of a matrix: element (i, j) is `data[i·row + j·col]`.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, E> {
    pub data: &'a [E],
    pub row: usize,
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
}

/// c (m, n; row-major) = a (m, k) · b (k, n), or += where `accumulate`.
pub fn matmul<E: Real>(
    c: &mut [E],
    (m, n, k): (usize, usize, usize),
    a: View<'_, E>,
    b: View<'_, E>,
    accumulate: bool,
) {
    todo!()
}
/// The same on the calling thread only: for use inside a parallel loop.
pub fn matmul_seq<E: Real>(
    c: &mut [E],
    (m, n, k): (usize, usize, usize),
    a: View<'_, E>,
    b: View<'_, E>,
    accumulate: bool,
) {
    todo!()
}
