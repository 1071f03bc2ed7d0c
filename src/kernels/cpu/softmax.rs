//! Softmax of rows. Shapes: x, y (R, C).
use crate::kernels::Real;
pub fn forward<E: Real>(x: &[E], cols: usize, y: &mut [E]) {
    todo!()
}
/// dx += y·(dy − Σ y·dy), from the forward's output `y`
pub fn backward<E: Real>(dy: &[E], y: &[E], cols: usize, dx: &mut [E]) {
    todo!()
}
