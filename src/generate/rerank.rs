//! Reranking: pictures by the cosine of their CLIP features with a caption's.

/// The cosines of each row of `left` with each row of `right`, both unit rows of `width` values: L·R values, row by row.
pub fn cosines(left: &[f32], right: &[f32], width: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    left.chunks(width).flat_map(|a| right.chunks(width).map(move |b| dot(a, b))).collect()
}

/// Indices by descending score; ties go to the lower index.
pub fn rank(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_comes_first_and_ties_keep_their_order() {
        assert_eq!(rank(&[0.1, 0.9, 0.5, 0.9]), [1, 3, 2, 0]);
        assert_eq!(cosines(&[1.0, 0.0, 0.0, 1.0], &[0.6, 0.8], 2), [0.6, 0.8]);
    }
}
