//! What is left to do for one index of a sweep.

use super::frozen::Frozen;
use crate::files::lock_in_turn;
use crate::harness::notice;
use crate::harness::resume::{self, Begun};
use crate::harness::run_dir;
use crate::{Error, Result};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// What is left to do.
#[derive(Debug)]
pub enum Index {
    /// Nothing: the run is done.
    Done(PathBuf),
    /// To go on with a run.
    Begun(Box<Begun>),
    /// Everything.
    Absent,
}

/// The newest run of each spec's hash.
#[derive(Debug, Default)]
pub struct Runs(HashMap<String, PathBuf>);

impl Runs {
    /// All runs of the sweep's name below `results`.
    pub fn of(results: impl AsRef<Path>, name: &str) -> Runs {
        let mut found = HashMap::new();
        for run in run_dir::runs(results.as_ref().join(name)) {
            if let Ok(facts) = run_dir::read_run(&run)
                && let Some(hash) = facts["spec_hash"].as_str()
            {
                found.entry(hash.to_owned()).or_insert(run);
            }
        }
        Runs(found)
    }
}

/// What is left to do for `index` of `frozen`, as `runs` are.
///
/// # Errors
/// Those of [`Frozen::spec`] and [`resume::by_spec`].
pub fn index(frozen: &Frozen, index: usize, runs: &Runs, presets: &[&str]) -> Result<Index> {
    let loaded = frozen.spec(index, presets)?;
    let Some(run) = frozen.rows.get(index).and_then(|(hash, _)| runs.0.get(hash)) else { return Ok(Index::Absent) };
    let begun = resume::by_spec(run, loaded, presets)?;
    Ok(if resume::is_finished(&begun)? { Index::Done(begun.path) } else { Index::Begun(Box::new(begun)) })
}

/// Held while an index is run, so that no two processes run it at once; the system drops it with the process.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Frozen {
    /// Holds `index`. Where another process does, waits for its end, and says so.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn hold(&self, index: usize) -> Result<Hold> {
        let path = self.file(index);
        // To write, which nobody does: some network file systems lock no other files.
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(Error::io("open", &path))?;
        // Where there are no locks the run's own says what happens then.
        let waits = || notice::line(format_args!("{}: another process runs it: waiting for its end", path.display()));
        lock_in_turn(&file, waits).map_err(Error::io("lock", &path))?;
        Ok(Hold { _file: file })
    }
}
