//! Masked attention: softmax(q·kᵀ/√d + mask)·v, one softmax over all keys that a query may see.
//! Shapes: q, out (B, Q, H, D), k, v (B, K, H, D) — as they leave the projections, no permuted copies; lse (B, H, Q);
//! mask (Q, K), true where a query sees a key; every row sees at least one.
use crate::kernels::Real;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    pub batch: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub dim: usize,
}
pub fn forward<E: Real>(a: Attention, q: &[E], k: &[E], v: &[E], mask: Option<&[bool]>, out: &mut [E], lse: &mut [E]) {
    todo!()
}
/// dq +=, dk +=, dv += ; the probabilities are recomputed from `lse`.
#[allow(clippy::too_many_arguments)]
pub fn backward<E: Real>(
    a: Attention,
    dout: &[E],
    q: &[E],
    k: &[E],
    v: &[E],
    out: &[E],
    lse: &[E],
    mask: Option<&[bool]>,
    dq: &mut [E],
    dk: &mut [E],
    dv: &mut [E],
) {
    todo!()
}
/// The decode path: queries are the last `a.queries` of `a.keys` positions; k, v are caches of `capacity` positions per batch
/// entry (B, capacity, H, D) of which the first `a.keys` are filled; mask rows (Q, capacity). Every output element is summed in
/// one order that depends on the key positions alone, whatever the batch, the number of queries in the call and the threads.
pub fn decode<E: Real>(a: Attention, capacity: usize, q: &[E], k: &[E], v: &[E], mask: &[bool], out: &mut [E]) {
    todo!()
}
