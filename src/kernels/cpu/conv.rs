//! Same-padded, stride-1 convolution of NHWC pictures by im2col in cache-sized strips and a matrix product.
//! Shapes: x (B, H, W, I), w (O, I, K, K) as the published checkpoints store it, b (O), y (B, H, W, O). K odd.
use crate::kernels::Real;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    /// Convolve max(x, 0) instead of x (the ReLU before every convolution of a residual block, without its copy).
    pub relu: bool,
}

pub fn forward<E: Real>(c: Conv, x: &[E], w: &[E], b: &[E], y: &mut [E]) {
    todo!()
}
/// dx +=, dw +=, db += ; `dx` is `None` for the first layer, whose input is a picture.
pub fn backward<E: Real>(c: Conv, dy: &[E], x: &[E], w: &[E], dx: Option<&mut [E]>, dw: &mut [E], db: &mut [E]) {
    todo!()
}
