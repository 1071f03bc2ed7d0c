//! What a key-value cache must hold: how far into the future each key is still seen.
//!
//! Legend: positions are slots of the sequence; one slot is generated a step, and its key enters the cache in that step.

use super::{Layout, Pattern};

/// For each key, the last query that sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    last: Vec<usize>,
}

impl Reach {
    /// That of the mask `sees(query, key)`, which is asked for pairs with key ≤ query.
    pub fn from_fn(sequence: usize, sees: &dyn Fn(usize, usize) -> bool) -> Reach {
        let last = |key| (key..sequence).rev().find(|&query| sees(query, key)).unwrap_or(key);
        Reach { last: (0..sequence).map(last).collect() }
    }

    /// The last query that sees each key, `[sequence]`; never before the key itself.
    pub fn last(&self) -> &[usize] {
        &self.last
    }

    /// The keys, by increasing slot, that the step of `query` finds in the cache: those up to `query` that it or a later
    /// query sees. A key that is missing here may be dropped before that step and is never needed again.
    pub fn kept(&self, query: usize) -> impl Iterator<Item = usize> + '_ {
        self.last.iter().take(query + 1).enumerate().filter(move |&(_, &last)| last >= query).map(|(key, _)| key)
    }

    /// How many keys are kept at the step of each query, `[sequence]`.
    pub fn held(&self) -> Vec<usize> {
        let mut dropped_after = vec![0; self.last.len()];
        for &last in &self.last {
            dropped_after[last] += 1;
        }
        let mut held = 0;
        dropped_after
            .iter()
            .map(|dropped| {
                held += 1;
                let now = held;
                held -= dropped;
                now
            })
            .collect()
    }

    /// The most keys that are ever kept at once: the size of a cache that drops what it can.
    pub fn peak(&self) -> usize {
        self.held().into_iter().max().unwrap_or(0)
    }
}

impl Pattern {
    /// How long each key is needed while the sequence is generated slot by slot.
    pub fn reach(self, layout: Layout) -> Reach {
        Reach::from_fn(layout.sequence(), &|query, key| self.sees(layout, query, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_caches() {
        let layout = Layout { text: 256, grid: 32 };
        assert_eq!(Pattern::Full.reach(layout).peak(), 1280);
        assert_eq!(Pattern::Row.reach(layout).peak(), 256 + 33);
        assert_eq!(Pattern::Conv { kernel: 11 }.reach(layout).peak(), 256 + 166);
        // A column is needed until its last row is reached.
        let column = Pattern::Column.reach(layout);
        assert_eq!(column.last()[256 + 5], 1280 - 32 + 5);
        assert_eq!(column.peak(), 1280 - 31);
        assert_eq!(column.kept(1279).count(), 256 + 32);
    }
}
