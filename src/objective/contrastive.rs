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

/// [`contrastive`] of plain numbers, `size` rows of `size`; no number for none.
pub fn contrastive_of(logits: &[f32], size: usize) -> f64 {
    let nll = |pair: usize, at: &dyn Fn(usize) -> f64| {
        let largest = (0..size).map(at).fold(f64::NEG_INFINITY, f64::max);
        largest + (0..size).map(|other| (at(other) - largest).exp()).sum::<f64>().ln() - at(pair)
    };
    let logit = |row: usize, column: usize| f64::from(logits[row * size + column]);
    let both = |pair: usize| nll(pair, &|column| logit(pair, column)) + nll(pair, &|row| logit(row, pair));
    (0..size).map(both).sum::<f64>() / (2 * size) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_give_what_tensors_do() {
        let logits = [3.0f32, -1.0, 0.5, 0.0, 80.0, 2.0, -0.5, 79.0, 1.0];
        let device = Cpu::default();
        let tensor = device.tensor_from_vec(logits.to_vec(), (3, 3));
        let expected = contrastive::<f32, Cpu, NoneTape>(tensor).unwrap().array();
        let found = contrastive_of(&logits, 3);
        assert!((found - f64::from(expected)).abs() < 1e-5, "{found} {expected}");
        // Nothing learned: ln of their number.
        assert!((contrastive_of(&[0.0; 16], 4) - 4f64.ln()).abs() < 1e-12);
        assert!(contrastive_of(&[], 0).is_nan());
    }
}
