//! What tests draw patterns from.

use super::{Edge, Pattern};
use proptest::prelude::*;

/// Every kind of pattern, with small kernels.
pub fn patterns() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        Just(Pattern::Full),
        Just(Pattern::Row),
        Just(Pattern::Column),
        Just(Pattern::Conv { kernel: 3 }),
        Just(Pattern::Conv { kernel: 5 }),
        Just(Pattern::Window { kernel: 3, edge: Edge::Torus }),
        Just(Pattern::AxialRow),
        Just(Pattern::AxialColumn),
        Just(Pattern::ConvLike { kernel: 3 }),
    ]
}
