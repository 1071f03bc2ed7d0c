//! Softmax cross-entropy with a weight per row: loss = Σ_r weight[r]·(logsumexp(logits[r]) − logits[r, target[r]]). Shapes: logits (R, V).
use crate::kernels::Real;
/// Returns the loss per row *unweighted* in `nll` (R) and the logsumexp per row in `lse` (R).
pub fn forward<E: Real>(logits: &[E], vocab: usize, targets: &[u32], nll: &mut [E], lse: &mut [E]) {
    todo!()
}
/// dlogits += dnll[r]·(softmax(logits[r]) − onehot(target[r]))
pub fn backward<E: Real>(dnll: &[E], logits: &[E], lse: &[E], vocab: usize, targets: &[u32], dlogits: &mut [E]) {
    todo!()
}
