//! Masks as attention walks them: tiles for whole sequences, a plan of places for a cache.

use crate::kernels::cpu::attention::BLOCK;
use crate::mask::{CachePlan, Layout, Pattern, Tiles};
use std::borrow::Cow;
use std::sync::Arc;

/// Which keys each query of an attention sees, in the forms that the kernels walk: made once, shared by all layers that have it.
/// The `Mask` at the crate's root is for looking at a pattern.
#[derive(Debug, Clone)]
pub enum Mask {
    /// Every query sees every key.
    Full,
    /// Keys before the query, or at it, as a pattern or a function of one's own says: made by [`Mask::new`] and
    /// [`Mask::from_fn`].
    Causal(Arc<Forms>),
}

/// What a mask that looks back shows.
#[derive(Debug)]
pub struct Forms {
    /// None for a mask of one's own.
    #[cfg(feature = "cuda")]
    pattern: Option<(Pattern, Layout)>,
    pub(super) tiles: Tiles,
    pub(super) plan: CachePlan,
}

impl Mask {
    /// What `pattern` says.
    pub fn new(pattern: Pattern, layout: Layout) -> Self {
        let (tiles, plan) = (pattern.tiles(layout, BLOCK), pattern.cache_plan(layout));
        Mask::Causal(Arc::new(Forms {
            #[cfg(feature = "cuda")]
            pattern: Some((pattern, layout)),
            tiles,
            plan,
        }))
    }

    /// A mask of one's own over `sequence` slots: slot `query` sees the earlier slot `key` where `sees(query, key)` says so, and
    /// always itself. It is asked for earlier keys only: no mask looks ahead.
    ///
    /// ```
    /// use dalle::ops::Mask;
    /// let window = Mask::from_fn(80, &|query, key| query - key <= 8); // itself and the eight before
    /// ```
    pub fn from_fn(sequence: usize, sees: &dyn Fn(usize, usize) -> bool) -> Self {
        let causal = |query, key| key == query || (key < query && sees(query, key));
        Mask::Causal(Arc::new(Forms {
            #[cfg(feature = "cuda")]
            pattern: None,
            tiles: Tiles::from_fn((0..sequence).collect(), BLOCK, &causal),
            plan: CachePlan::from_fn(sequence, &causal),
        }))
    }

    /// Each of `sequence` queries sees itself and what lies before.
    pub fn causal(sequence: usize) -> Self {
        Mask::new(Pattern::Full, Layout { text: sequence, grid: 0 })
    }

    /// Whether both show every query the same keys: surely so where they are one, or of one pattern.
    #[cfg(feature = "cuda")]
    pub(super) fn is(&self, other: &Mask) -> bool {
        match (self, other) {
            (Mask::Full, Mask::Full) => true,
            (Mask::Causal(one), Mask::Causal(two)) => {
                Arc::ptr_eq(one, two) || (one.pattern.is_some() && one.pattern == two.pattern)
            }
            _ => false,
        }
    }

    /// For `positions`, in tiles of `block`×`block`.
    #[cfg(feature = "cuda")]
    pub(super) fn tiles_of(&self, positions: usize, block: usize) -> Tiles {
        let Mask::Causal(forms) = self else { return Tiles::full(positions, block) };
        match forms.pattern {
            Some((pattern, layout)) => pattern.tiles(layout, block),
            None => {
                let (order, dense) = (forms.tiles.order.clone(), forms.tiles.dense());
                let sequence = order.len();
                Tiles::from_fn(order, block, &|query, key| dense[query * sequence + key])
            }
        }
    }

    /// The places of a cache's keys, if not every key is seen.
    pub(crate) fn plan(&self) -> Option<&CachePlan> {
        match self {
            Mask::Full => None,
            Mask::Causal(forms) => Some(&forms.plan),
        }
    }

    /// For `sequence` positions.
    pub(super) fn tiles(&self, sequence: usize) -> Cow<'_, Tiles> {
        match self {
            Mask::Full => Cow::Owned(Tiles::full(sequence, BLOCK)),
            Mask::Causal(forms) => Cow::Borrowed(&forms.tiles),
        }
    }
}
