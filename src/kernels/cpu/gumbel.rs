//! Gumbel-softmax relaxation and the analytic KL to the uniform prior (paper A.2). Shapes: logits, noise, z (R, V), kl (R).
use crate::kernels::Real;
/// z = softmax((logits + noise)/τ)
pub fn relax_forward<E: Real>(logits: &[E], noise: &[E], vocab: usize, tau: f64, z: &mut [E]) {
    todo!()
}
/// dlogits += (z·(dz − Σ z·dz))/τ
pub fn relax_backward<E: Real>(dz: &[E], z: &[E], vocab: usize, tau: f64, dlogits: &mut [E]) {
    todo!()
}
/// kl[r] = Σ_v q ln q + ln V, q = softmax(logits[r]); in [0, ln V] nats
pub fn kl_forward<E: Real>(logits: &[E], vocab: usize, kl: &mut [E]) {
    todo!()
}
/// dlogits += dkl[r]·q·(ln q − Σ q ln q)
pub fn kl_backward<E: Real>(dkl: &[E], logits: &[E], vocab: usize, dlogits: &mut [E]) {
    todo!()
}
