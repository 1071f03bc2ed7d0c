//! What anybody may read of a run, while another process writes it.

use super::folders::newest_first;
use super::lock::{Holder, holder};
use super::metrics::Lines;
use super::seal::unchanged;
use super::{RESOLVED, RUN, TOKENIZER};
use crate::harness::loaded::{Loaded, reopen};
use crate::spec::Spec;
use crate::{Error, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The run at `path`: the folder itself, or the newest run in `results/<name>`.
///
/// # Errors
/// [`Error::Data`] if there is none.
pub fn find(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    if path.join(RUN).is_file() {
        return Ok(path.to_owned());
    }
    newest_first(path).into_iter().next().ok_or_else(|| {
        Error::data(path, "no run here: expected a folder with run.json, or one that holds such folders")
    })
}

/// The runs in `folder`, the newest first.
pub fn runs(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    newest_first(folder.as_ref())
}

/// The newest run of a spec that means the same as `spec`, to resume.
///
/// # Errors
/// Those of [`Spec::hash`].
pub fn find_same(results: impl AsRef<Path>, spec: &Spec) -> Result<Option<PathBuf>> {
    let hash = spec.hash()?;
    // Not by its name: a run that went on with more steps keeps the name that it had.
    let same = |run: &PathBuf| read_run(run).is_ok_and(|facts| facts["spec_hash"] == hash.as_str());
    Ok(newest_first(&results.as_ref().join(&spec.name)).into_iter().find(same))
}

/// Reads `run.json` of a run that another process may be writing.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Data`] if it is no JSON object.
pub fn read_run(run: impl AsRef<Path>) -> Result<Value> {
    let path = run.as_ref().join(RUN);
    let text = fs::read(&path).map_err(Error::io("read", &path))?;
    let value: Value =
        serde_json::from_slice(&text).map_err(|error| Error::data(&path, format!("not JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Error::data(&path, "expected a JSON object")) }
}

/// Whether a living process writes the run: its lock is held.
pub fn is_written(run: impl AsRef<Path>) -> bool {
    matches!(holder(run.as_ref()), Holder::Somebody)
}

/// What a reader should say of a run whose `run.json` has this `status`: that one which was killed is not running.
pub fn status(run: impl AsRef<Path>, status: &Value) -> String {
    let status = status.as_str().unwrap_or("unknown");
    if status == "running" && matches!(holder(run.as_ref()), Holder::Nobody) {
        return "stopped (no process writes it)".into();
    }
    status.into()
}

/// The spec that a run was started with, defaults and `--set` included; its data paths stay relative to the original's folder.
///
/// # Errors
/// Those of [`reopen`] and [`read_run`]; [`Error::Data`] where the file is not what the run wrote.
pub fn read_spec(run: impl AsRef<Path>, presets: &[&str]) -> Result<Loaded> {
    let run = run.as_ref();
    let facts = read_run(run)?;
    unchanged(run, &facts, RESOLVED)?;
    let mut loaded = reopen(run.join(RESOLVED), presets)?;
    if let Some(folder) = facts["spec_folder"].as_str() {
        loaded.folder = PathBuf::from(folder);
    }
    Ok(loaded)
}

/// Holds the tokenizer of a run that is opened to be used to what the run wrote.
///
/// # Errors
/// Those of [`read_run`]; [`Error::Data`] where it is another.
pub fn tokenizer_unchanged(run: impl AsRef<Path>) -> Result<()> {
    unchanged(run.as_ref(), &read_run(&run)?, TOKENIZER)
}

/// Holds the file `name` of a run, whose `run.json` holds `facts`, to what the run wrote.
///
/// # Errors
/// [`Error::Data`] where it is another.
pub fn file_unchanged(run: impl AsRef<Path>, facts: &Value, name: &str) -> Result<()> {
    unchanged(run.as_ref(), facts, name)
}

/// The lines of `metrics.jsonl` that are JSON. Readable while the run writes.
///
/// # Errors
/// [`Error::Io`].
pub fn metrics_lines(run: impl AsRef<Path>) -> Result<Vec<Value>> {
    Ok(Lines::read(run.as_ref())?.lines.into_iter().filter_map(|line| line.value).collect())
}
