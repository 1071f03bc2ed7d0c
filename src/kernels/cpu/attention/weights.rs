//! What one sequence attends to, for a picture of it. Plain loops: training and sampling never hold these weights.

use crate::kernels::{Real, compiled};

compiled! {
    /// The weights that attention mixes values with: from qkv (S, 3, H, D) of one sequence and the dense mask (S, S) to (H, S, S).
    pub fn weights(qkv: &[E], heads: usize, mask: &[bool]) -> Vec<E> = weights_of;
}

fn weights_of<E: Real>(qkv: &[E], heads: usize, mask: &[bool]) -> Vec<E> {
    let sequence = (mask.len() as f64).sqrt() as usize;
    let width = qkv.len() / (3 * sequence.max(1));
    let dim = width / heads;
    let scale = E::of((dim as f64).powf(-0.5));
    let mut weights = vec![E::zero(); heads * mask.len()];
    for (index, row) in weights.chunks_mut(sequence.max(1)).enumerate() {
        let (head, query) = (index / sequence, index % sequence);
        let vector = |slot: usize, third: usize| &qkv[(3 * slot + third) * width + head * dim..][..dim];
        let seen: Vec<usize> = (0..sequence).filter(|key| mask[query * sequence + key]).collect();
        let dot = |key: usize| vector(query, 0).iter().zip(vector(key, 1)).map(|(&q, &k)| q * k).sum::<E>() * scale;
        let scores: Vec<E> = seen.iter().map(|&key| dot(key)).collect();
        let largest = scores.iter().fold(E::neg_infinity(), |most, &score| most.max(score));
        let total: E = scores.iter().map(|&score| (score - largest).exp()).sum();
        for (&key, &score) in seen.iter().zip(&scores) {
            row[key] = (score - largest).exp() / total;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::attention::{Attention, BLOCK, forward};
    use crate::mask::{Layout, Pattern};
    use crate::random::Rng;

    #[test]
    fn values_mixed_with_the_weights_are_attention() {
        let (layout, heads, dim) = (Layout { text: 3, grid: 3 }, 2, 4);
        let sequence = layout.sequence();
        let mut rng = Rng::new(1, "attention weights", 0, 0);
        let qkv: Vec<f64> = (0..sequence * 3 * heads * dim).map(|_| rng.normal()).collect();
        for pattern in [Pattern::Full, Pattern::Row, Pattern::Column, Pattern::Conv { kernel: 3 }] {
            let found = weights(&qkv, heads, &pattern.dense(layout));
            assert!(found.chunks(sequence).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
            let sizes = Attention { batch: 1, heads, positions: sequence, dim };
            let (mut out, mut lse) = (vec![0.0; qkv.len() / 3], vec![0.0; heads * sequence]);
            forward(sizes, &qkv, &pattern.tiles(layout, BLOCK), &mut out, &mut lse);
            for (index, out) in out.iter().enumerate() {
                let (query, head, at) = (index / (heads * dim), index / dim % heads, index % dim);
                let row = &found[(head * sequence + query) * sequence..][..sequence];
                let value = |key: usize| qkv[((key * 3 + 2) * heads + head) * dim + at];
                let mixed: f64 = row.iter().enumerate().map(|(key, weight)| weight * value(key)).sum();
                assert!((mixed - out).abs() < 1e-12, "{pattern}, query {query}");
            }
        }
    }
}
