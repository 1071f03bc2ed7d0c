//! Layer normalisation of rows: y = (x − mean)/√(var + ε)·gain + bias. Shapes: x, y (R, C), gain, bias (C), mean, rstd (R).
use crate::kernels::Real;
pub fn forward<E: Real>(x: &[E], gain: &[E], bias: &[E], epsilon: f64, y: &mut [E], mean: &mut [E], rstd: &mut [E]) {
    todo!()
}
pub fn backward<E: Real>(
    dy: &[E],
    x: &[E],
    gain: &[E],
    mean: &[E],
    rstd: &[E],
    dx: &mut [E],
    dgain: &mut [E],
    dbias: &mut [E],
) {
    todo!()
}
