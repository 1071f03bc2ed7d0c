//! Reranking: pictures by the cosine of their CLIP features with a caption's.

/// The cosines of each row of `left` with each row of `right`, both unit rows of `width` values: L·R values, row by row.
pub fn cosines(left: &[f32], right: &[f32], width: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    left.chunks(width.max(1)).flat_map(|a| right.chunks(width.max(1)).map(move |b| dot(a, b))).collect()
}

/// softmax(scale·cosine) of each row of `columns` cosines: how likely CLIP holds each of several captions of a picture to be.
pub fn probabilities(cosines: &[f32], columns: usize, scale: f32) -> Vec<f32> {
    let row = |row: &[f32]| {
        let largest = row.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
        let weights: Vec<f32> = row.iter().map(|&x| (scale * (x - largest)).exp()).collect();
        let sum: f32 = weights.iter().sum();
        weights.into_iter().map(move |w| w / sum)
    };
    cosines.chunks(columns.max(1)).flat_map(row).collect()
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
    fn probabilities_sum_to_one_and_follow_the_scale() {
        let p = probabilities(&[0.0, 1.0, 0.5, 0.5], 2, 3f32.ln());
        assert!(p.iter().zip([0.25, 0.75, 0.5, 0.5]).all(|(p, expected)| (p - expected).abs() < 1e-6), "{p:?}");
        assert!(probabilities(&[1.0, -1.0], 2, 1e4)[0] == 1.0);
    }

    #[test]
    fn the_best_comes_first_and_ties_keep_their_order() {
        assert_eq!(rank(&[0.1, 0.9, 0.5, 0.9]), [1, 3, 2, 0]);
        assert_eq!(cosines(&[1.0, 0.0, 0.0, 1.0], &[0.6, 0.8], 2), [0.6, 0.8]);
    }
}
