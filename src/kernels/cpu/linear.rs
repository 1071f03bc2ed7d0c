//! y = x·wᵀ + b. Shapes: x (R, I), w (O, I), b (O), y (R, O).
use crate::kernels::Real;

pub fn forward<E: Real>(x: &[E], w: &[E], b: Option<&[E]>, (inputs, outputs): (usize, usize), y: &mut [E]) {
    todo!()
}
/// dx += dy·w
pub fn backward_input<E: Real>(dy: &[E], w: &[E], (inputs, outputs): (usize, usize), dx: &mut [E]) {
    todo!()
}
/// dw += dyᵀ·x
pub fn backward_weight<E: Real>(dy: &[E], x: &[E], (inputs, outputs): (usize, usize), dw: &mut [E]) {
    todo!()
}
/// db += Σ_rows dy  (`outputs` columns)
pub fn backward_bias<E: Real>(dy: &[E], outputs: usize, db: &mut [E]) {
    todo!()
}
/// The decode path: like `forward`, but every output element is summed in one order that depends on `inputs` alone,
/// whatever the rows and threads: a sample does not depend on its batch.
pub fn decode<E: Real>(x: &[E], w: &[E], b: Option<&[E]>, (inputs, outputs): (usize, usize), y: &mut [E]) {
    todo!()
}
