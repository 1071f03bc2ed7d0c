//! CLIP's symmetric contrastive loss (arXiv 2103.00020, figure 3).

use crate::kernels::Real;
use crate::ops::Backend;
use dfdx::prelude::*;

/// The mean of the two cross-entropies of `logits` (B, B), by row and by column, with the pairs on the diagonal; in nats.
pub fn contrastive<E: Real, D: Backend<E>, T: Tape<E, D>>(
    logits: Tensor<(usize, usize), E, D, T>,
) -> Result<Tensor<(), E, D, T>, D::Err> {
    let pairs: Vec<u32> = (0..logits.shape().0 as u32).collect();
    let by_text = logits.with_empty_tape().try_permute::<(usize, usize), Axes2<1, 0>>()?;
    let of_images = D::cross_entropy(logits, &pairs)?.try_mean::<(), _>()?;
    let of_texts = D::cross_entropy(by_text, &pairs)?.try_mean::<(), _>()?;
    of_images.try_add(of_texts)?.try_mul(E::of(0.5))
}
