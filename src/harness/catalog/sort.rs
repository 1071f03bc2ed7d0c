//! Runs in the order of a figure, a key or a fact.

use super::{Entry, bare};
use serde_json::Value;
use std::borrow::Borrow;
use std::cmp::Ordering;

/// Sorts by the value under `key`, the least first, or the largest first where it is `-key`; those without one come last.
pub fn sort<E: Borrow<Entry>>(entries: &mut [E], key: &str) {
    let (key, down) = key.strip_prefix('-').map_or((key, false), |key| (key, true));
    entries.sort_by_cached_key(|entry| Rank(entry.borrow().value(key).filter(|value| !value.is_null()), down));
}

/// A value in the order of [`sort`].
#[derive(PartialEq)]
struct Rank(Option<Value>, bool);

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = match (&self.0, &other.0) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Greater,
            (_, None) => return Ordering::Less,
            (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => bare(a).cmp(&bare(b)),
            },
        };
        if self.1 { order.reverse() } else { order }
    }
}
