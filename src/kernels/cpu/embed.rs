//! Rows of a table by id. Shapes: table (V, C), ids (R), y (R, C). The id [`ABSENT`] stands for a row of zeros without gradient.
use crate::kernels::Real;
pub const ABSENT: u32 = u32::MAX;
/// y = table[ids]
pub fn forward<E: Real>(table: &[E], cols: usize, ids: &[u32], y: &mut [E]) {
    todo!()
}
/// dtable[ids] += dy, in row order whatever the threads
pub fn backward<E: Real>(dy: &[E], cols: usize, ids: &[u32], dtable: &mut [E]) {
    todo!()
}
