//! Which keys each layer of ru-dalle sees.
//!
//! Row and column layers are the paper's. Its convolutions are not: they do not wrap as a flat raster offset, but at the
//! grid's edges (version 3) or around both of them (version 2). Slots are text, then the grid in raster order, whatever a
//! slot reads.

use super::Version;
use crate::mask::{Layout, Pattern};
use crate::ops::Mask;

/// The side of the window, fixed in the published code.
pub const KERNEL: usize = 11;

/// What a layer sees of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Pattern::Row`].
    Row,
    /// [`Pattern::Column`].
    Column,
    /// The causal part of a window of [`KERNEL`] rows and columns around the position.
    Conv,
}

/// The kinds of `depth` layers: counted from 0, a column where `i − 1` is a multiple of 4, else a convolution in the last
/// layer, else a row. So a last layer that falls on a column is a column, and there is no convolution.
pub fn order(depth: usize) -> Vec<Kind> {
    (0..depth)
        .map(|layer| match layer {
            _ if layer % 4 == 1 => Kind::Column,
            _ if layer + 1 == depth => Kind::Conv,
            _ => Kind::Row,
        })
        .collect()
}

/// One mask per layer.
pub fn masks(depth: usize, layout: Layout, version: Version) -> Vec<Mask> {
    // Layers of one kind share their mask.
    let [row, column, conv] =
        [Kind::Row, Kind::Column, Kind::Conv].map(|kind| Mask::dense(dense(kind, layout, version)));
    let of = |kind| match kind {
        Kind::Row => row.clone(),
        Kind::Column => column.clone(),
        Kind::Conv => conv.clone(),
    };
    order(depth).into_iter().map(of).collect()
}

/// The mask of one kind, row-major `[sequence, sequence]`: true where the query (row) sees the key (column).
pub fn dense(kind: Kind, layout: Layout, version: Version) -> Vec<bool> {
    match kind {
        Kind::Row => Pattern::Row.dense(layout),
        Kind::Column => Pattern::Column.dense(layout),
        Kind::Conv => window(layout, KERNEL, version),
    }
}

/// The convolution's mask with any odd `kernel`.
pub fn window(layout: Layout, kernel: usize, version: Version) -> Vec<bool> {
    let sequence = layout.sequence();
    let near = |a: usize, b: usize| {
        let apart = a.abs_diff(b);
        match version {
            Version::V2 => apart.min(layout.grid - apart) <= kernel / 2,
            Version::V3 => apart <= kernel / 2,
        }
    };
    let sees = |query: usize, key: usize| {
        if key > query || key < layout.text {
            return key <= query;
        }
        let (query, key) = (query - layout.text, key - layout.text);
        near(query / layout.grid, key / layout.grid) && near(query % layout.grid, key % layout.grid)
    };
    (0..sequence * sequence).map(|pair| sees(pair / sequence, pair % sequence)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_layer_may_be_a_column() {
        use Kind::{Column, Conv, Row};
        assert_eq!(order(4), [Row, Column, Row, Conv]);
        assert_eq!(order(5), [Row, Column, Row, Row, Conv]);
        assert_eq!(order(6), [Row, Column, Row, Row, Row, Column]);
        assert_eq!(order(2), [Row, Column]);
        assert_eq!(order(1), [Conv]);
    }

    #[test]
    fn version_2_wraps_around_the_grid() {
        let layout = Layout { text: 2, grid: 8 };
        let keys = |version, query: usize| -> Vec<usize> {
            let mask = window(layout, 3, version);
            (0..64).filter(|key| mask[(2 + query) * layout.sequence() + 2 + key]).collect()
        };
        assert_eq!(keys(Version::V3, 8), [0, 1, 8]);
        assert_eq!(keys(Version::V2, 8), [0, 1, 7, 8]);
        assert_eq!(keys(Version::V2, 57), [0, 1, 2, 48, 49, 50, 56, 57]);
    }
}
