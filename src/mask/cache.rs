//! Where a key-value cache keeps each key: a place is taken again once no later query reaches what it held.

use super::{Layout, Pattern, Reach};

/// The places of one layer's keys while a sequence is generated position by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachePlan {
    size: usize,
    pinned: usize,
    places: Vec<usize>,
    seen: Vec<u32>,
    /// Where each query's part of `seen` begins, and where the last one ends.
    starts: Vec<usize>,
}

impl CachePlan {
    /// The places of the keys of the mask `sees(query, key)`, which is asked for pairs with key ≤ query.
    pub fn from_fn(sequence: usize, sees: &dyn Fn(usize, usize) -> bool) -> CachePlan {
        let reach = Reach::from_fn(sequence, sees);
        let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); sequence];
        let (mut free, mut size, mut pinned) = (Vec::new(), 0, usize::MAX);
        let (mut places, mut seen, mut starts) = (Vec::with_capacity(sequence), Vec::new(), vec![0]);
        for query in 0..sequence {
            let place = free.pop().unwrap_or(size);
            if place == size {
                size += 1;
            } else {
                pinned = pinned.min(place);
            }
            places.push(place);
            leaving[reach.last()[query]].push(place);
            let keys = (0..=query).filter(|&key| sees(query, key));
            seen.extend(keys.map(|key| places[key] as u32));
            starts.push(seen.len());
            free.append(&mut leaving[query]);
        }
        CachePlan { size, pinned: pinned.min(size), places, seen, starts }
    }

    /// The places that there are: [`Reach::peak`].
    pub fn size(&self) -> usize {
        self.size
    }

    /// The first places, which are never taken again: place p < pinned holds the key of position p to the end.
    pub fn pinned(&self) -> usize {
        self.pinned
    }

    /// The positions of a whole sequence.
    pub fn positions(&self) -> usize {
        self.places.len()
    }

    /// Where the key of `position` goes, in the step of that position.
    pub fn place(&self, position: usize) -> usize {
        self.places[position]
    }

    /// How many positions from `start` on, up to `end`, can put their keys in place before any of them reads: until one of them
    /// takes a place that an earlier one sees.
    pub fn together(&self, start: usize, end: usize) -> usize {
        let mut read = vec![false; self.size];
        let free = |&position: &usize| {
            let free = !read[self.place(position)];
            self.seen(position).iter().for_each(|&place| read[place as usize] = true);
            free
        };
        (start..end).take_while(free).count()
    }

    /// The places of the keys that `query` sees in its own step, by increasing key.
    pub fn seen(&self, query: usize) -> &[u32] {
        &self.seen[self.starts[query]..self.starts[query + 1]]
    }
}

impl Pattern {
    /// The places of the pattern's keys.
    pub fn cache_plan(self, layout: Layout) -> CachePlan {
        CachePlan::from_fn(layout.sequence(), &|query, key| self.sees(layout, query, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::testing::patterns;
    use proptest::prelude::*;

    proptest! {
        /// Written and read step by step, a cache shows each query the keys of the definition, in their order.
        #[test]
        fn each_query_finds_the_keys_that_it_sees(pattern in patterns(), text in 1..9usize, grid in 1..7usize) {
            let layout = Layout { text, grid };
            let plan = pattern.cache_plan(layout);
            prop_assert_eq!(plan.positions(), layout.sequence());
            prop_assert_eq!(plan.size(), pattern.reach(layout).peak());
            let later = |place| (place + 1..plan.positions()).all(|position| plan.place(position) != place);
            prop_assert!((0..plan.pinned()).all(|place| plan.place(place) == place && later(place)));
            let taken_again = |place| (plan.size()..plan.positions()).any(|position| plan.place(position) == place);
            prop_assert!(plan.pinned() == plan.size() || taken_again(plan.pinned()), "more places could be shared");
            let mut held = vec![usize::MAX; plan.size()];
            let mut start = 0;
            while start < layout.sequence() {
                let end = start + plan.together(start, layout.sequence());
                prop_assert!(end > start);
                (start..end).for_each(|position| held[plan.place(position)] = position);
                for query in start..end {
                    let found: Vec<usize> = plan.seen(query).iter().map(|&place| held[place as usize]).collect();
                    let expected: Vec<usize> = (0..=query).filter(|&key| pattern.sees(layout, query, key)).collect();
                    prop_assert_eq!(found, expected, "positions {}..{} at once", start, end);
                }
                start = end;
            }
            held.fill(usize::MAX);
            for query in 0..layout.sequence() {
                held[plan.place(query)] = query;
                let found: Vec<usize> = plan.seen(query).iter().map(|&place| held[place as usize]).collect();
                let expected: Vec<usize> = (0..=query).filter(|&key| pattern.sees(layout, query, key)).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
