//! AdamW with decoupled decay, and the global gradient norm.
use crate::kernels::Real;
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    /// 1 for the first update.
    pub step: u64,
    /// Every gradient is multiplied by this first (global-norm clipping, accumulation).
    pub grad_scale: f64,
    /// An upper bound on the running variance v (5 in paper B.2), if any.
    pub max_variance: Option<f64>,
}
/// One update of `p` with its moments, in the order of torch.optim.AdamW: p *= 1 − lr·wd; m, v; p −= lr·m̂/(√v̂ + ε).
pub fn update<E: Real>(c: AdamW, p: &mut [E], g: &[E], m: &mut [E], v: &mut [E]) {
    todo!()
}
/// Σ g² in f64, in a fixed order. Not finite where an element is not.
pub fn sum_of_squares<E: Real>(g: &[E]) -> f64 {
    todo!()
}
