//! Two runs against each other, where one of their groups has a single seed: over the pictures and captions that they measured.

use super::groups::Read;
use crate::evaluate::difference::{independent, paired, paired_shares};
use crate::evaluate::each::{self, Each};
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::{ResultRow, SHARE};
use crate::harness::catalog::Entry;
use crate::{Error, Result};
use serde::Serialize;
use std::sync::{Arc, OnceLock};

/// What an interval is over: what was repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// The same seeds in both, one by one.
    SameSeeds,
    /// Seeds of both, which are others.
    Seeds,
    /// The same pictures or captions in two runs of one seed each, one by one.
    Pairs,
    /// Pictures or captions of two runs of one seed each, which are others or are not known.
    Each,
}

/// What two runs kept of each picture and caption, of which one is to stand for a group.
pub(super) struct Kept {
    theirs: Arc<Each>,
    own: Each,
}

/// What the runs of the first group kept: each is read once, however many groups are held against it.
pub(super) struct First<'a> {
    read: &'a Read,
    kept: Vec<OnceLock<std::result::Result<Arc<Each>, String>>>,
}

impl<'a> First<'a> {
    /// Of nothing that was read yet.
    pub fn new(read: &'a Read) -> First<'a> {
        First { read, kept: read.entries.iter().map(|_| OnceLock::new()).collect() }
    }

    fn each(&self, run: usize) -> std::result::Result<Arc<Each>, String> {
        let read = || each(&self.read.entries[run]).map(Arc::new).map_err(|error| error.to_string());
        self.kept[run].get_or_init(read).clone()
    }
}

/// What a run kept; of one that kept none there is nothing to pair.
fn each(entry: &Entry) -> Result<Each> {
    let Some(bytes) = entry.sealed(each::FILE)? else { return Ok(Each::default()) };
    serde_json::from_slice(&bytes).map_err(|error| Error::data(entry.path.join(each::FILE), error.to_string()))
}

impl Kept {
    /// Of the two runs that are held against each other where one of both groups has a single seed; `None` where no two are.
    ///
    /// # Errors
    /// A sentence, which the groups that are held against one run may have in common.
    pub fn of(read: &Read, first: &First<'_>) -> std::result::Result<Option<Kept>, String> {
        if read.entries.len() > 1 && first.read.entries.len() > 1 {
            return Ok(None);
        }
        let (theirs, ours) = common(&first.read.group.seeds, &read.group.seeds);
        let own = each(&read.entries[ours]).map_err(|error| error.to_string())?;
        Ok(Some(Kept { theirs: first.each(theirs)?, own }))
    }

    /// A mean of the run, with the interval that the values behind it give where it came without.
    pub fn with_interval(&self, own: Estimate, row: &ResultRow) -> Estimate {
        with_interval(own, &self.own, row)
    }
}

/// The places of the first seed that two groups have in common; of the first of each where there is none.
pub(super) fn common(theirs: &[u64], ours: &[u64]) -> (usize, usize) {
    let place =
        |seed: &u64| Some((theirs.iter().position(|their| their == seed)?, ours.iter().position(|our| our == seed)?));
    theirs.iter().find_map(place).unwrap_or((0, 0))
}

/// The difference of two runs.
pub(super) fn one_by_one(theirs: Estimate, ours: Estimate, row: &ResultRow, kept: Option<&Kept>) -> (Estimate, Over) {
    let Some(Kept { theirs: their_each, own }) = kept else { return (independent(&theirs, &ours), Over::Each) };
    if let Some(pairs) = their_each.pairs(own, &row.path) {
        let is_hit = |value: f64| value == 0.0 || value == 1.0;
        let hits = row.unit == SHARE && pairs.iter().all(|&(a, b)| is_hit(a) && is_hit(b));
        return (if hits { paired_shares(&pairs) } else { paired(&pairs) }, Over::Pairs);
    }
    (independent(&with_interval(theirs, their_each, row), &with_interval(ours, own, row)), Over::Each)
}

/// A mean of a run, with the interval that the values behind it give where it came without.
fn with_interval(own: Estimate, each: &Each, row: &ResultRow) -> Estimate {
    match each.values(&row.path) {
        Some(values) if own.interval.is_none() && values.len() > 1 => {
            let mean = Estimate::mean(&values);
            Estimate { value: own.value, ..mean }
        }
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_seed_are_held_against_each_other() {
        assert_eq!(common(&[0, 1, 2], &[7, 2]), (2, 1));
        assert_eq!(common(&[0], &[1]), (0, 0));
    }
}
