//! How well pictures fit captions by a CLIP's embeddings: cosines, and what is made of them. "Similarity" is 100·cosine
//! everywhere; "CLIPScore" is Hessel et al.'s, of captions with their prefix, which only published CLIPs know.

/// The cosine of each row of `a` with the row of `b` at its place; rows of `width`. 0 where a row is zero.
pub fn cosines(a: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    a.chunks(width.max(1)).zip(b.chunks(width.max(1))).map(|(a, b)| cosine(a, b)).collect()
}

/// The cosine of every row of `a` with every row of `b`: row-major, a's rows down.
pub fn similarities(a: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    a.chunks(width.max(1)).flat_map(|a| b.chunks(width.max(1)).map(move |b| cosine(a, b))).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}

/// What stands before a caption whose picture is to be scored (Hessel et al. 2021, section 3).
pub const PREFIX: &str = "A photo depicts ";

/// CLIPScore (Hessel et al. 2021): the mean of 2.5·max(cos, 0). The captions are to be embedded with [`PREFIX`].
pub fn clip_score(cosines: &[f64]) -> f64 {
    2.5 * mean(cosines.iter().map(|cosine| cosine.max(0.0)))
}

/// The mean of 100·max(cos, 0).
pub fn percent(cosines: &[f64]) -> f64 {
    100.0 * mean(cosines.iter().map(|cosine| cosine.max(0.0)))
}

/// max(100·mean cos, 0): what torchmetrics calls CLIPScore.
pub fn percent_of_mean(cosines: &[f64]) -> f64 {
    (100.0 * mean(cosines.iter().copied())).max(0.0)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_scores_differ_where_a_cosine_is_negative() {
        let (images, texts) = ([3.0, 4.0, 1.0, 0.0], [6.0, 8.0, -1.0, 0.0]);
        let found = cosines(&images, &texts, 2);
        assert_eq!(found, [1.0, -1.0]);
        assert_eq!((clip_score(&found), percent(&found), percent_of_mean(&found)), (1.25, 50.0, 0.0));
        assert_eq!(similarities(&images, &texts, 2), [1.0, -0.6, 0.6, -1.0]);
        assert_eq!(cosines(&[0.0, 0.0], &[1.0, 0.0], 2), [0.0]);
    }
}
