//! Several runs side by side: in which keys their specs differ, what came of them, and which differences are more than chance.
//!
//! Runs whose specs differ in the seed alone are a group: repeats of one experiment. Every group is held against the first.
//!
//! - Where both have the same two seeds or more, the interval is Student's of the differences seed by seed: runs of one seed share
//!   their data, their captions and often whole stages. Where the seeds are others, it is Welch's over either's. Both cover all that a
//!   seed moves: the data that are drawn, the first weights, the order of the batches, the captions and the samples.
//! - Else two runs are held against each other, of the same seed where there are such. Where both kept what each picture or caption
//!   came to ([`each`](crate::evaluate::each)) and some are the same, the interval is of the differences one by one; else it follows
//!   from the interval of either. It says nothing of what another seed would have given.
//!
//! A difference counts where its 95 % interval leaves out 0 ([`difference`](crate::evaluate::difference)). Of twenty that are none
//! about one does so too: [`Comparison::looked_at`] says how many were looked at. Nothing is corrected for that.

mod evaluated;
mod figures;
mod groups;
mod measured;
mod two;

pub use figures::{Difference, Figure, Row, Verdict};
pub use groups::{Group, Key};
pub use two::Over;

use super::catalog::{self, Entry};
use super::run_dir;
use crate::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;

/// Runs side by side.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The keys in which the specs of the groups differ.
    pub keys: Vec<Key>,
    /// Runs of one spec but for the seed, the first the one that others are held against.
    pub groups: Vec<Group>,
    /// What came of them, a row a figure.
    pub results: Vec<Row>,
    /// How many differences of [`Comparison::results`] have an interval, details apart.
    pub looked_at: usize,
    /// How many of those leave out 0.
    pub beyond: usize,
    /// What a reader has to know: runs that are left out, programs that differ.
    pub notes: Vec<String>,
}

impl Comparison {
    /// The runs at `paths`, each a run or a folder of runs, in this order; of a folder the oldest first. Of runs of one spec and
    /// seed only the newest counts: a repeat with the same numbers is none.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no run, or none with results; those of [`Entry::read`].
    pub fn of(paths: &[PathBuf]) -> Result<Comparison> {
        let (mut entries, mut notes): (Vec<Entry>, Vec<String>) = (Vec::new(), Vec::new());
        let mut named = std::collections::HashSet::new();
        for path in paths {
            let (mut found, unread) = match path.join("run.json").is_file() {
                true => (vec![Entry::read(path)?], Vec::new()),
                false => catalog::list(path),
            };
            if found.is_empty() && unread.is_empty() {
                // Says what was expected there.
                run_dir::find(path)?;
            }
            found.reverse();
            entries.extend(found.into_iter().filter(|entry| named.insert(entry.path.clone())));
            notes.extend(unread);
        }
        let groups = groups::groups(entries, &mut notes)?;
        if groups.is_empty() {
            let what = if notes.is_empty() { String::new() } else { format!(": {}", notes.join("; ")) };
            return Err(Error::data(paths.first().cloned().unwrap_or_default(), format!("no run with results{what}")));
        }
        let keys = groups::keys(&groups);
        groups::circumstances(&groups, &mut notes);
        let results = figures::rows(&groups, &mut notes);
        let known = || {
            let rows = results.iter().filter(|row| !row.detail);
            rows.flat_map(|row| &row.figures).filter_map(|figure| figure.as_ref()?.difference.as_ref())
        };
        let looked_at = known().filter(|difference| difference.verdict.is_some()).count();
        let beyond = known().filter(|difference| difference.is_beyond()).count();
        let groups = groups.into_iter().map(|group| group.group).collect();
        Ok(Comparison { keys, groups, results, looked_at, beyond, notes })
    }

    /// What a group says otherwise than others, in words; its letter where there is nothing to say.
    pub fn title(&self, group: usize) -> String {
        let words = self.keys.iter().map(|key| format!("{}={}", key.key, key.word(group)));
        let words = words.collect::<Vec<_>>().join(" ");
        let letter = &self.groups[group].letter;
        if words.is_empty() { letter.clone() } else { format!("{letter}: {words}") }
    }

    /// How many differences were looked at, and what that means.
    pub fn verdict(&self) -> String {
        match (self.groups.len(), self.looked_at) {
            (1, _) => "one group: nothing to hold it against".into(),
            (_, 0) => "no difference has an interval".into(),
            (_, looked_at) => format!(
                "{looked_at} differences were looked at, {} are beyond their 95 % intervals; about {:.0} of so many would be by \
                 chance alone",
                self.beyond,
                (looked_at as f64 / 20.0).ceil()
            ),
        }
    }
}
