//! Kept codes of training pictures ([`crate::harness::codes`]) that no run uses which stays.

use super::super::catalog::Entry;
use super::super::codes::{TOKENS, first_stage};
use super::super::open::first_stage_of;
use super::super::run_dir::read_run;
use super::{inside, unfinished};
use crate::Result;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Below the folder of all runs: the files of codes that none of `kept` uses, and those that a crash left half written. A run that has
/// ended names its own; one that may go on will look for those of its first stage.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub(super) fn unused(results: &Path, kept: &[&Entry]) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let folder = results.join(TOKENS);
    if !folder.is_dir() {
        return Ok((Vec::new(), Vec::new()));
    }
    let files = inside(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "codes"));
    let (mut names, mut first_stages) = (HashSet::new(), HashSet::new());
    for entry in kept {
        // One that cannot be read has been told of.
        let Ok(facts) = read_run(&entry.path) else { continue };
        let stages = facts["codes"].as_object().into_iter().flatten();
        names.extend(stages.filter_map(|(_, of)| of["kept_in"].as_str().map(str::to_owned)));
        if !entry.has_ended() {
            first_stages.extend(first_stage_of(&entry.path, &facts).ok());
        }
    }
    let is_used = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        names.contains(&*name) || first_stage(path).is_some_and(|weights| first_stages.contains(&weights))
    };
    Ok((files.filter(|path| !is_used(path)).collect(), unfinished(&folder)?))
}
