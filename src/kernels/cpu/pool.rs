//! 2×2 max-pool and nearest ×2 upsampling of NHWC pictures. `(batch, height, width, channels)` are those of the larger picture.
use crate::kernels::Real;
/// x (B, H, W, C) → y (B, H/2, W/2, C); `argmax[i]` is the index into `x` that y[i] came from (the first one on ties).
pub fn max_forward<E: Real>(dims: (usize, usize, usize, usize), x: &[E], y: &mut [E], argmax: &mut [u32]) {
    todo!()
}
/// dx[argmax[i]] += dy[i]
pub fn max_backward<E: Real>(dims: (usize, usize, usize, usize), dy: &[E], argmax: &[u32], dx: &mut [E]) {
    todo!()
}
/// x (B, H/2, W/2, C) → y (B, H, W, C)
pub fn nearest_forward<E: Real>(dims: (usize, usize, usize, usize), x: &[E], y: &mut [E]) {
    todo!()
}
pub fn nearest_backward<E: Real>(dims: (usize, usize, usize, usize), dy: &[E], dx: &mut [E]) {
    todo!()
}
