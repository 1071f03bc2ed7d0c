//! The inception score (Salimans et al. 2016): how sure a classifier is of each picture, and how varied its answers are.

/// exp(mean of KL(p ‖ p̄)) of each of `splits` runs of rows, run i being rows ⌊i·N/splits⌋ to ⌊(i+1)·N/splits⌋, p̄ the mean of
/// the run's rows; each is in [1, `classes`]. `probabilities` are N rows of `classes` that sum to 1. An empty run scores 1.
pub fn inception_scores(probabilities: &[f64], classes: usize, splits: usize) -> Vec<f64> {
    let rows = probabilities.len() / classes.max(1);
    let score = |split: usize| {
        let run = &probabilities[split * rows / splits * classes..(split + 1) * rows / splits * classes];
        let count = (run.len() / classes).max(1) as f64;
        let mean: Vec<f64> =
            (0..classes).map(|class| run.iter().skip(class).step_by(classes).sum::<f64>() / count).collect();
        let divergence = |(&p, &mean): (&f64, &f64)| if p > 0.0 { p * (p.ln() - mean.ln()) } else { 0.0 };
        let total: f64 = run.chunks(classes).flat_map(|row| row.iter().zip(&mean)).map(divergence).sum();
        (total / count).exp()
    };
    (0..splits).map(score).collect()
}

/// Mean and standard deviation over the splits (of the population, as is the custom for this score).
pub fn mean_and_deviation(scores: &[f64]) -> (f64, f64) {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / count;
    (mean, (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_the_range() {
        // Sure and varied: as many as there are classes. Always the same answer: 1.
        let sure: Vec<f64> = (0..16).map(|i| f64::from(u8::from(i % 5 == 0))).collect();
        assert_eq!(inception_scores(&sure, 4, 1), [4.0]);
        assert_eq!(inception_scores(&[0.25; 16], 4, 2), [1.0, 1.0]);
        assert_eq!(inception_scores(&sure, 4, 4), [1.0; 4]);
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), (2.0, 1.0));
    }
}
