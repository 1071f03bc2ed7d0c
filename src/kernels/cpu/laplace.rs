//! Logit-Laplace negative log-likelihood (paper A.3) of x in (0, 1): ln 2 + ln b + ln x(1−x) + |logit x − μ|·e^{−ln b}.
//! Shapes: x (P, C), stats (P, 2C): the first C maps are μ, the last C ln b; nll (P, C).
use crate::kernels::Real;
/// `clamp` bounds ln b (to ±7 in training; `None` in parity). A clamped ln b passes no gradient.
pub fn forward<E: Real>(x: &[E], stats: &[E], channels: usize, clamp: Option<f64>, nll: &mut [E]) {
    todo!()
}
pub fn backward<E: Real>(dnll: &[E], x: &[E], stats: &[E], channels: usize, clamp: Option<f64>, dstats: &mut [E]) {
    todo!()
}
