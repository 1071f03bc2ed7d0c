//! Retrieval: whether a picture finds its caption among all, and a caption its picture.

/// How many of the n rows of `similarities` (n × n, row i belonging to column i) have fewer than `k` columns that are at
/// least as similar as their own: ties count against it.
pub fn found(similarities: &[f64], n: usize, k: usize) -> usize {
    let ahead = |(i, row): (usize, &[f64])| {
        row.iter().enumerate().filter(|&(column, &value)| column != i && value >= row[i]).count()
    };
    similarities.chunks(n.max(1)).enumerate().map(ahead).filter(|&ahead| ahead < k).count()
}

/// The other direction's.
pub fn transposed(similarities: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|at| similarities[at % n * n + at / n]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_counted_and_ties_are_lost() {
        let rows = [0.9, 0.1, 0.2, 0.8, 0.5, 0.1, 0.3, 0.3, 0.3];
        assert_eq!([1, 2, 3].map(|k| found(&rows, 3, k)), [1, 2, 3]);
        let columns = transposed(&rows, 3);
        assert_eq!(columns[..3], [0.9, 0.8, 0.3]);
        assert_eq!([1, 2, 3].map(|k| found(&columns, 3, k)), [3, 3, 3]);
    }
}
