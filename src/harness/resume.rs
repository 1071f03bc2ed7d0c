//! Which run to go on with, and whether it may: its spec must mean what it did, but for keys that change nothing of what it has
//! trained ([`identity`]).

use super::identity::{self, Difference};
use super::lenders::{CLIP, FIRST_STAGE};
use super::load::{self, Loaded};
use super::run_dir;
use crate::checkpoint::{self, BEST, Older};
use crate::error::{Error, Result};
use crate::spec::Keep;
use crate::spec::Spec;
use std::path::{Path, PathBuf};

/// Differences that an error names.
const NAMED: usize = 8;

/// A run that may be gone on with.
#[derive(Debug)]
pub struct Begun {
    /// Its folder.
    pub path: PathBuf,
    /// The spec to go on with.
    pub loaded: Loaded,
    /// What that says otherwise than the run's own.
    pub changes: Vec<Difference>,
}

/// The run at `path` by its own spec, changed by `sets`.
///
/// # Errors
/// Those of [`run_dir::find`] and [`run_dir::read_spec`]; [`Error::Usage`] for a change that it may not go on with.
pub fn by_its_own_spec(path: impl AsRef<Path>, sets: &[String], presets: &[&str]) -> Result<Begun> {
    let path = run_dir::find(path)?;
    let own = run_dir::read_spec(&path, presets)?;
    let spec = match sets {
        [] => own.spec.clone(),
        sets => load::check(&path.display().to_string(), &own.spec.resolved()?, sets, presets)?,
    };
    let loaded = Loaded { spec, ..own.clone() };
    held(path, &own.spec, loaded)
}

/// The run at `path` by `loaded`.
///
/// # Errors
/// Those of [`by_its_own_spec`].
pub fn by_spec(path: impl AsRef<Path>, loaded: Loaded, presets: &[&str]) -> Result<Begun> {
    let path = run_dir::find(path)?;
    let own = run_dir::read_spec(&path, presets)?;
    held(path, &own.spec, loaded)
}

/// The newest run below `results` that means the same as `loaded`, else the newest of that name; `None` where there is none.
///
/// # Errors
/// Those of [`by_spec`].
pub fn newest(results: impl AsRef<Path>, loaded: Loaded, presets: &[&str]) -> Result<Option<Begun>> {
    let folder = results.as_ref().join(&loaded.spec.name);
    match run_dir::find_same(results, &loaded.spec)?.or_else(|| run_dir::find(folder).ok()) {
        Some(path) => by_spec(path, loaded, presets).map(Some),
        None => Ok(None),
    }
}

fn held(path: PathBuf, theirs: &Spec, loaded: Loaded) -> Result<Begun> {
    let changes = identity::differences(theirs, &loaded.spec)?;
    let transformer_begun = path.join("checkpoints/transformer").exists();
    let mut refused = Vec::new();
    for change in &changes {
        match identity::refused(change, &loaded.spec, transformer_begun)? {
            Some(why) if why.is_empty() => refused.push(change.to_string()),
            Some(why) => refused.push(format!("{change} ({why})")),
            None => {}
        }
    }
    if refused.is_empty() {
        return Ok(Begun { path, loaded, changes });
    }
    let more = refused.len().saturating_sub(NAMED);
    refused.truncate(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let what = format!("{} is a run of another spec: {}{more}", path.display(), refused.join("; "));
    Err(Error::Usage(what))
}

/// Whether nothing is left to do for a run: it ended well and every checkpoint is as it was written.
///
/// # Errors
/// Those of [`run_dir::read_run`] and [`checkpoint::latest`].
pub fn is_finished(begun: &Begun) -> Result<bool> {
    let facts = run_dir::read_run(&begun.path)?;
    if !begun.changes.is_empty() || facts["status"] != "done" {
        return Ok(false);
    }
    let spec = &begun.loaded.spec;
    for (stage, keep, published) in [
        (spec.first_stage.kind.name(), spec.first_stage.keep, spec.first_stage.is_published().then_some(FIRST_STAGE)),
        ("transformer", spec.transformer.keep, None),
        ("clip", spec.clip.keep, spec.clip.is_published().then_some(CLIP)),
    ] {
        if let Some(file) = published {
            // It was brought when the run began, and can be brought again.
            if !begun.path.join(file).is_file() || run_dir::file_unchanged(&begun.path, &facts, file).is_err() {
                return Ok(false);
            }
            continue;
        }
        let checkpoints = begun.path.join("checkpoints").join(stage);
        let mut damaged = false;
        let mut older = Older::Told(&mut |_| {
            damaged = true;
            Ok(())
        });
        let found = checkpoint::latest(&checkpoints, &mut older)?;
        checkpoint::latest(checkpoints.join(BEST), &mut older)?;
        let kept = facts["kept"][stage]["step"].as_u64().unwrap_or(0);
        let best = keep == Keep::Last || checkpoint::reaches(checkpoints.join(BEST), kept)?;
        if found.is_none() || damaged || !best {
            return Ok(false);
        }
    }
    Ok(true)
}
