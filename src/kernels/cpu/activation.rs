//! Pointwise nonlinearities with their derivatives.
use crate::kernels::Real;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x·σ(1.702x), Child et al. and CLIP
    QuickGelu,
    /// 0.5x(1+tanh(√(2/π)(x+0.044715x³))), ruDALL-E
    TanhGelu,
    /// 0.5x(1+erf(x/√2))
    ErfGelu,
    /// x·σ(x)
    Silu,
}
pub fn forward<E: Real>(kind: Activation, x: &[E], y: &mut [E]) {
    todo!()
}
/// dx += dy·f′(x)
pub fn backward<E: Real>(kind: Activation, dy: &[E], x: &[E], dx: &mut [E]) {
    todo!()
}
