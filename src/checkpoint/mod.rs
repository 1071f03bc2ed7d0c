//! Checkpoints that survive a crash at any moment and notice any damage.
//!
//! `checkpoints/<stage>/step-N/` holds the files and `MANIFEST.json` (their sizes and blake3); `LATEST` names the newest. A
//! checkpoint appears by one rename of a finished, synced `step-N.tmp/`; what it replaces is set aside as `step-N.old/` until
//! then. Reading deletes nothing, so a running run may be read; the writer tidies up. `checkpoints/<stage>/best/` is a folder
//! of the same kind for the checkpoint that validated best; what is read of a stage never is.

mod read;
mod write;

pub use read::{Older, before, latest, latest_file, reaches};
pub use write::{clean, keep_newest, retain, spare, write};

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Checkpoints kept of a stage: the newest, and one to fall back to.
pub const KEPT: usize = 2;
/// Where a stage's best checkpoint lies, within its folder.
pub const BEST: &str = "best";
const MANIFEST: &str = "MANIFEST.json";
const LATEST: &str = "LATEST";
const UNFINISHED: &str = ".tmp";
const OLD: &str = ".old";

/// A finished checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    manifest: Manifest,
}

impl Checkpoint {
    /// The content of one of its files, which must be as it was written.
    ///
    /// # Errors
    /// [`Error::Data`] if the checkpoint has no such file or it has changed.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        let entry =
            self.manifest.files.get(name).ok_or_else(|| Error::data(&path, "the checkpoint has no such file"))?;
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let got = Entry::of(&bytes);
        if got == *entry { Ok(bytes) } else { Err(Error::data(&path, entry.differs(&got))) }
    }

    /// The names of its files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.manifest.files.keys().map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    step: u64,
    files: BTreeMap<String, Entry>,
}

impl Manifest {
    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    size: u64,
    blake3: String,
}

impl Entry {
    fn of(bytes: &[u8]) -> Self {
        Entry { size: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }

    /// The same without holding the file in memory.
    fn of_file(path: &Path) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let size = io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok(Entry { size, blake3: hasher.finalize().to_hex().to_string() })
    }

    fn differs(&self, got: &Entry) -> String {
        if self.size == got.size {
            format!("expected blake3 {}, got {}", self.blake3, got.blake3)
        } else {
            format!("expected {} bytes, got {}", self.size, got.size)
        }
    }
}

/// The checkpoint of `step` by its manifest alone; no other file is read.
fn open(dir: &Path, step: u64) -> Result<Checkpoint> {
    let set_aside = dir.join(format!("step-{step}{OLD}"));
    let path = Some(dir.join(format!("step-{step}"))).filter(|path| path.exists()).unwrap_or(set_aside);
    let manifest_path = path.join(MANIFEST);
    let bytes = fs::read(&manifest_path).map_err(Error::io("read", &manifest_path))?;
    let manifest = serde_json::from_slice::<Manifest>(&bytes)
        .ok()
        // Byte for byte as it was written: a flipped bit that JSON does not mind is damage too.
        .filter(|manifest| manifest.step == step && manifest.to_bytes().is_ok_and(|written| written == bytes))
        .ok_or_else(|| Error::data(&manifest_path, "damaged"))?;
    Ok(Checkpoint { step, path, manifest })
}

/// The checkpoint of `step`, whose every byte is looked at.
fn verified(dir: &Path, step: u64) -> Result<Checkpoint> {
    let checkpoint = open(dir, step)?;
    for (name, entry) in &checkpoint.manifest.files {
        let file = checkpoint.path.join(name);
        let got = Entry::of_file(&file).map_err(Error::io("read", &file))?;
        if got != *entry {
            return Err(Error::data(&file, entry.differs(&got)));
        }
    }
    Ok(checkpoint)
}

/// The step that `LATEST` names.
fn step_named(latest: &[u8]) -> Option<u64> {
    step_of(std::str::from_utf8(latest).ok()?.strip_suffix('\n')?)
}

fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?;
    // Not `+7` or `007`, which parse but are not how a folder is named.
    digits.parse::<u64>().ok().filter(|step| step.to_string() == digits)
}

/// The steps that have a finished folder, or one set aside.
fn newest_first(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| step_of(name.strip_suffix(OLD).unwrap_or(name))));
    }
    Ok(found.into_iter().rev().collect())
}

#[cfg(test)]
mod testing {
    use super::*;

    /// What a checkpoint of `step` holds.
    pub fn files(step: u64) -> Vec<(&'static str, Vec<u8>)> {
        vec![("model.safetensors", vec![step as u8; 40]), ("state.json", format!("{{\"step\":{step}}}").into_bytes())]
    }

    pub fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The newest that is good and what was said of others.
    pub fn newest(dir: &Path) -> (u64, Vec<String>) {
        let mut said = Vec::new();
        let mut older = Older::Told(&mut |text| {
            said.push(text.to_owned());
            Ok(())
        });
        let found = latest(dir, &mut older).unwrap().unwrap();
        (found.step, said)
    }
}
