//! Image tokens that are given: the top rows of a picture (image-to-image, paper §3.3) or any set of positions.

/// The first `rows` rows of a grid of `codes` of side `grid` are forced, the rest is drawn.
pub fn prime_rows(codes: &[u32], grid: usize, rows: usize) -> Vec<Option<u32>> {
    forced_rows(codes, grid, |row, _| row < rows)
}

/// Positions (row, column) that `keep` names are forced to the picture's codes: completion by constraint. What comes before
/// a kept position in raster order is drawn without knowing of it.
pub fn forced_rows(codes: &[u32], grid: usize, keep: impl Fn(usize, usize) -> bool) -> Vec<Option<u32>> {
    codes.iter().enumerate().map(|(i, &code)| keep(i / grid, i % grid).then_some(code)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_rows_are_given() {
        let codes = [5, 6, 7, 8, 9, 10, 11, 12, 13];
        let forced = prime_rows(&codes, 3, 2);
        assert_eq!(forced[..6].iter().flatten().copied().collect::<Vec<_>>(), codes[..6]);
        assert!(forced[6..].iter().all(Option::is_none));
    }
}
