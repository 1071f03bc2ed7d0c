//! Which pattern each layer has (appendix B.1).

use super::Pattern;

/// The paper's patterns for `depth` layers, first layer first: the convolution only in the last one; before it, counting
/// layers i from 1, the column pattern where i − 2 is a multiple of 4 and the row pattern elsewhere. So: row, column,
/// row, row, row, column, …
pub fn paper_order(depth: usize, kernel: usize) -> Vec<Pattern> {
    (1..=depth)
        .map(|layer| match layer {
            _ if layer == depth => Pattern::Conv { kernel },
            _ if layer % 4 == 2 => Pattern::Column,
            _ => Pattern::Row,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_order_and_counts() {
        use Pattern::{Column, Row};
        let order = paper_order(64, 11);
        assert_eq!(order[..7], [Row, Column, Row, Row, Row, Column, Row]);
        let count = |pattern| order.iter().filter(|&&p| p == pattern).count();
        assert_eq!((count(Row), count(Column)), (47, 16));
        assert_eq!(order[63], Pattern::Conv { kernel: 11 });
        assert_eq!(paper_order(2, 3), [Row, Pattern::Conv { kernel: 3 }]);
        assert!(paper_order(0, 3).is_empty());
    }
}
