//! Which keys each layer of ru-dalle sees. Slots are text, then the grid in raster order, whatever a slot reads.

use super::Version;
use crate::mask::{Edge, Layout, Pattern};
use crate::ops::Mask;

/// The side of the convolution's window, fixed in the published code.
pub const KERNEL: usize = 11;

/// The patterns of `depth` layers: counted from 0, a column where `i − 1` is a multiple of 4, else a convolution in the
/// last layer, else a row. So a last layer that falls on a column is a column, and there is no convolution.
pub fn order(depth: usize, version: Version) -> Vec<Pattern> {
    let edge = match version {
        Version::V2 => Edge::Torus,
        Version::V3 => Edge::Clip,
    };
    (0..depth)
        .map(|layer| match layer {
            _ if layer % 4 == 1 => Pattern::Column,
            _ if layer + 1 == depth => Pattern::Window { kernel: KERNEL, edge },
            _ => Pattern::Row,
        })
        .collect()
}

/// One mask per layer.
pub fn masks(depth: usize, layout: Layout, version: Version) -> Vec<Mask> {
    order(depth, version).into_iter().map(|pattern| Mask::new(pattern, layout)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_layer_may_be_a_column() {
        use Pattern::{Column, Row};
        let conv = |edge| Pattern::Window { kernel: KERNEL, edge };
        assert_eq!(order(4, Version::V3), [Row, Column, Row, conv(Edge::Clip)]);
        assert_eq!(order(5, Version::V2), [Row, Column, Row, Row, conv(Edge::Torus)]);
        assert_eq!(order(6, Version::V3), [Row, Column, Row, Row, Row, Column]);
        assert_eq!(order(2, Version::V3), [Row, Column]);
        assert_eq!(order(1, Version::V3), [conv(Edge::Clip)]);
    }
}
