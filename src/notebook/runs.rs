//! Several runs: found below a folder, chosen by what they say and what came of them, and looked at together.

use super::chart::Chart;
use super::comparison::Comparison;
use super::run::Run;
use super::show::{Rich, Show, shown};
use super::table::Table;
use crate::harness::catalog::{self, Condition, Entry, bare};
use crate::harness::notice;
use crate::harness::table::cut;
use crate::report::{axis, duration};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longer lists of what a spec says are cut.
const LONGEST: usize = 80;

/// Runs as they were when they were looked for: a run that has gone on since is found anew. Keys are those of `experiment list`:
/// `name`, `preset`, `status`, `seed`, `started`, `seconds`, `tags`, any key of the spec, and any path into the results, such as
/// `elbo_validation.psnr`.
#[derive(Clone)]
pub struct Runs {
    entries: Vec<Arc<Entry>>,
}

impl Runs {
    /// All runs below `folder`, the newest first: `results`, or `results/NAME` for those of a name.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no such folder.
    pub fn find(folder: impl AsRef<Path>) -> Result<Runs> {
        let folder = folder.as_ref();
        if !folder.is_dir() {
            return Err(Error::data(folder, "no such folder"));
        }
        let (entries, unread) = catalog::list(folder);
        unread.iter().for_each(|text| notice::line(format_args!("warning: {text}")));
        Ok(Runs { entries: entries.into_iter().map(Arc::new).collect() })
    }

    /// Those at `paths`.
    pub(super) fn at(paths: &[PathBuf]) -> Result<Runs> {
        let read = |path: &PathBuf| Entry::read(path).map(Arc::new);
        Ok(Runs { entries: paths.iter().map(read).collect::<Result<_>>()? })
    }

    /// Those of which `condition` holds: `status=done`, `tag!=good`, `transformer.steps=800`.
    ///
    /// # Errors
    /// [`Error::Usage`] for anything but a key and a value, or a key that none of them knows.
    pub fn filter(&self, condition: &str) -> Result<Runs> {
        let condition = Condition::parse(condition)?;
        catalog::known(&self.entries, [condition.key.as_str()])?;
        Ok(Runs { entries: self.entries.iter().filter(|entry| condition.of(entry)).cloned().collect() })
    }

    /// The same runs by the value under `key`, the least first, or the largest first by `-key`; those without one come last.
    ///
    /// # Errors
    /// [`Error::Usage`] for a key that none of them knows.
    pub fn sorted(&self, key: &str) -> Result<Runs> {
        catalog::known(&self.entries, [key.strip_prefix('-').unwrap_or(key)])?;
        let mut entries = self.entries.clone();
        catalog::sort(&mut entries, key);
        Ok(Runs { entries })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Run `index`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Usage`] past the last; [`Error::Data`] where it has gone.
    pub fn get(&self, index: usize) -> Result<Run> {
        let none = || Error::Usage(format!("run {index}: there are {}, counted from 0", self.len()));
        Run::at(&self.entries.get(index).ok_or_else(none)?.path)
    }

    /// All of them.
    ///
    /// # Errors
    /// [`Error::Data`] where one has gone.
    pub fn all(&self) -> Result<Vec<Run>> {
        self.entries.iter().map(|entry| Run::at(&entry.path)).collect()
    }

    /// What each of them has under `keys`, a row a run; a dash where it has nothing there.
    ///
    /// # Errors
    /// [`Error::Usage`] for a key that none of them knows.
    pub fn table(&self, keys: &[&str]) -> Result<Table> {
        catalog::known(&self.entries, keys.iter().copied())?;
        Ok(self.rows(keys))
    }

    fn rows(&self, keys: &[&str]) -> Table {
        let mut table = Table::new(["run", "status", "took", "says"].into_iter().chain(keys.iter().copied()));
        for (entry, says) in self.entries.iter().zip(self.names()) {
            let took = entry.seconds().map_or_else(String::new, duration);
            let says = cut(&says, LONGEST);
            let value = |key: &&str| match entry.value(key) {
                Some(value) => value.as_f64().map_or_else(|| bare(&value), axis::number),
                None => "–".into(),
            };
            table.row([folder_of(entry), entry.status.clone(), took, says].into_iter().chain(keys.iter().map(value)));
        }
        table
    }

    /// One quantity of all of them in one chart, each named by what it says that others do not.
    ///
    /// # Errors
    /// Those of [`Run::overlay`].
    pub fn overlay(&self, stage: &str, quantity: &str) -> Result<Chart> {
        let names = self.names();
        Run::overlay(&self.all()?, &names.iter().map(String::as_str).collect::<Vec<_>>(), stage, quantity)
    }

    /// What differs between them, what came of them, and which differences are more than chance: each held against the first.
    ///
    /// # Errors
    /// Those of [`Comparison::of`].
    pub fn compare(&self) -> Result<Comparison> {
        Comparison::at(self.entries.iter().map(|entry| entry.path.clone()).collect())
    }

    /// What each says otherwise than the defaults, but for what all of them say; its folder where that is nothing.
    fn names(&self) -> Vec<String> {
        let says: Vec<String> = self.entries.iter().map(|entry| entry.says(&BTreeSet::new())).collect();
        let words: Vec<Vec<&str>> = says.iter().map(|says| says.split(' ').collect()).collect();
        let own = |(entry, own): (&Arc<Entry>, &Vec<&str>)| {
            let of_all = |word: &&str| self.len() > 1 && words.iter().all(|words| words.contains(word));
            let own: Vec<&str> = own.iter().copied().filter(|word| !of_all(word)).collect();
            if own.concat().is_empty() { folder_of(entry) } else { own.join(" ") }
        };
        self.entries.iter().zip(&words).map(own).collect()
    }
}

/// The run's folder, without those around it.
fn folder_of(entry: &Entry) -> String {
    entry.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Display for Runs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.rows(&[]).fmt(f)
    }
}

impl Show for Runs {
    fn rich(&self) -> Result<Rich> {
        self.rows(&[]).rich()
    }
}

shown!(Runs);
