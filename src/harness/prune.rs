//! What could be freed below a folder of runs, and freeing it. Nothing that a run still needs: what a crash left half written, and of
//! runs that are done the older of two checkpoints, which only a damaged newer one would call for; asked for, also runs that a
//! newer one of the same spec has superseded. Never anything of a run that is tagged, that a process writes, or that may be gone on
//! with. Kept codes of pictures go with the last run that uses them.

mod codes;

use super::catalog::{self, Entry};
use super::run_dir::{hold, is_leftover};
use crate::checkpoint::{self, BEST};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

/// Why something is not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A crash left it half written, or half removed.
    Unfinished,
    /// A newer checkpoint of a run that is done.
    OlderCheckpoint,
    /// A newer run of the same spec is done.
    Superseded,
    /// Codes of pictures that no run uses which stays: they are made again where they are asked for.
    UnusedCodes,
}

/// Something that is not needed.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// Why not.
    pub why: Why,
    /// The file or folder.
    pub path: PathBuf,
    /// Its size; other runs may have some of it too.
    pub bytes: u64,
    /// The run that has it, or is it; none where there is no run any more.
    run: Option<PathBuf>,
    #[serde(skip)]
    files: Vec<Name>,
}

/// One name of a file: files that runs share have several.
#[derive(Debug, Clone, Copy)]
struct Name {
    file: (u64, u64),
    names: u64,
    bytes: u64,
}

/// What could be freed, or was.
#[derive(Debug, Serialize)]
pub struct Pruning {
    /// What is not needed.
    pub items: Vec<Item>,
    /// What the disk gets back: a file counts with the last of its names.
    pub bytes: u64,
    /// Whether it is gone.
    pub freed: bool,
    /// What is left alone, and why.
    pub kept: Vec<String>,
}

impl Pruning {
    /// What could be freed below `folder`; `superseded` says whether whole runs too. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no such folder; [`Error::Io`].
    pub fn of(folder: impl AsRef<Path>, superseded: bool) -> Result<Pruning> {
        let folder = folder.as_ref();
        if !folder.is_dir() {
            return Err(Error::data(folder, "no such folder"));
        }
        let (entries, mut kept) = catalog::list(folder);
        let mut items = Vec::new();
        let mut newest: HashMap<(Option<&Path>, &str), &Entry> = HashMap::new();
        // The newest come first.
        for entry in entries.iter().filter(|entry| entry.status == "done" && !entry.hash().is_empty()) {
            newest.entry((entry.path.parent(), entry.hash())).or_insert(entry);
        }
        let mut staying = Vec::new();
        for entry in &entries {
            let untouched = match entry.status.as_str() {
                "running" => Some("a process writes it, or none can be told".to_owned()),
                _ if !entry.tags.is_empty() => Some(format!("tagged {}", entry.tags.join(" "))),
                _ => None,
            };
            if let Some(why) = untouched {
                kept.push(format!("{}: {why}", entry.path.display()));
                staying.push(entry);
                continue;
            }
            let by = newest.get(&(entry.path.parent(), entry.hash()));
            if superseded && by.is_some_and(|by| by.path != entry.path && by.started() > entry.started()) {
                items.push(Item::new(Why::Superseded, entry.path.clone(), Some(&entry.path))?);
                continue;
            }
            staying.push(entry);
            for path in unfinished(&entry.path)? {
                items.push(Item::new(Why::Unfinished, path, Some(&entry.path))?);
            }
            if entry.has_ended() {
                for stage in stages(&entry.path)? {
                    for path in checkpoint::spare(&stage)? {
                        items.push(Item::new(Why::OlderCheckpoint, path, Some(&entry.path))?);
                    }
                }
            }
        }
        let (unused, half_written) = codes::unused(folder, &staying)?;
        for path in leftovers(folder)?.into_iter().chain(half_written) {
            items.push(Item::new(Why::Unfinished, path, None)?);
        }
        for path in unused {
            items.push(Item::new(Why::UnusedCodes, path, None)?);
        }
        items.sort_by(|a, b| a.path.cmp(&b.path));
        let bytes = freed(&items);
        Ok(Pruning { items, bytes, freed: false, kept })
    }

    /// Frees it: what was in the end. A run that somebody has begun to write meanwhile is left alone, and so is an older checkpoint
    /// whose newer one is damaged.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn carry_out(self) -> Result<Pruning> {
        let Pruning { items, mut kept, .. } = self;
        let mut gone = Vec::new();
        for item in items {
            let held = match item.run.as_ref().map(|run| hold(run)).transpose() {
                Ok(held) => held,
                Err(error) => {
                    kept.push(error.to_string());
                    continue;
                }
            };
            match item.remove() {
                // A checkpoint that cannot be fallen back from is no error of pruning.
                Err(error @ Error::Data { .. }) => kept.push(error.to_string()),
                removed => {
                    removed?;
                    gone.push(item);
                }
            }
            drop(held);
        }
        let bytes = freed(&gone);
        Ok(Pruning { items: gone, bytes, freed: true, kept })
    }
}

impl Item {
    fn new(why: Why, path: PathBuf, run: Option<&Path>) -> Result<Item> {
        let mut files = Vec::new();
        names(&path, &mut files)?;
        let bytes = files.iter().map(|name| name.bytes).sum();
        Ok(Item { why, path, bytes, run: run.map(Path::to_owned), files })
    }

    fn remove(&self) -> Result<()> {
        let path = &self.path;
        match self.why {
            Why::OlderCheckpoint => checkpoint::keep_newest(path.parent().unwrap_or(path)),
            Why::Superseded => {
                // From its first moment on it is no run, so that a crash leaves none that is half there.
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push(".tmp");
                let aside = path.with_file_name(name);
                fs::rename(path, &aside).map_err(Error::io("move", path))?;
                fs::remove_file(aside.join("run.json")).map_err(Error::io("remove", &aside))?;
                fs::remove_dir_all(&aside).map_err(Error::io("remove", &aside))
            }
            Why::Unfinished if !path.exists() => Ok(()), // removed with what stood beside it
            Why::Unfinished if path.is_dir() => fs::remove_dir_all(path).map_err(Error::io("remove", path)),
            Why::Unfinished | Why::UnusedCodes => fs::remove_file(path).map_err(Error::io("remove", path)),
        }
    }
}

/// What the disk gets back where all names of `items` go: files whose every name is among them.
fn freed(items: &[Item]) -> u64 {
    let mut files: HashMap<(u64, u64), (u64, Name)> = HashMap::new();
    for name in items.iter().flat_map(|item| &item.files) {
        files.entry(name.file).or_insert((0, *name)).0 += 1;
    }
    files.values().filter(|(gone, name)| *gone >= name.names).map(|(_, name)| name.bytes).sum()
}

/// The names of files at or below `path`.
fn names(path: &Path, found: &mut Vec<Name>) -> Result<()> {
    let data = fs::symlink_metadata(path).map_err(Error::io("read", path))?;
    if data.is_dir() {
        return inside(path)?.iter().try_for_each(|path| names(path, found));
    }
    let (file, names) = identity(&data, found.len());
    // Files of codes are mostly holes.
    let holey = path.extension().is_some_and(|end| end == "codes");
    found.push(Name { file, names, bytes: if holey { data.len().min(on_disk(&data)) } else { data.len() } });
    Ok(())
}

#[cfg(unix)]
fn on_disk(data: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    512 * data.blocks()
}

#[cfg(not(unix))]
fn on_disk(data: &Metadata) -> u64 {
    data.len()
}

#[cfg(unix)]
fn identity(data: &Metadata, _: usize) -> ((u64, u64), u64) {
    use std::os::unix::fs::MetadataExt;
    ((data.dev(), data.ino()), data.nlink())
}

/// Where the system does not tell, a file is taken for its only name.
#[cfg(not(unix))]
fn identity(_: &Metadata, at: usize) -> ((u64, u64), u64) {
    ((0, at as u64), 1)
}

fn inside(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(Error::io("read", folder))).collect()
}

/// What is half written in a run.
fn unfinished(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in inside(folder)? {
        match path.extension().is_some_and(|end| end == "tmp") {
            true => found.push(path),
            false if path.is_dir() && !path.is_symlink() => found.extend(unfinished(&path)?),
            false => {}
        }
    }
    Ok(found)
}

/// Runs below `folder` that were being removed.
fn leftovers(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for child in inside(folder)?.into_iter().filter(|child| child.is_dir()) {
        match is_leftover(&child) {
            true => found.push(child),
            false => found.extend(inside(&child)?.into_iter().filter(|path| is_leftover(path))),
        }
    }
    Ok(found)
}

/// The folders of checkpoints of a run.
fn stages(run: &Path) -> Result<Vec<PathBuf>> {
    let folder = run.join("checkpoints");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let stages = inside(&folder)?.into_iter().filter(|stage| stage.is_dir());
    Ok(stages.flat_map(|stage| [stage.join(BEST), stage]).filter(|stage| stage.is_dir()).collect())
}

/// Bytes as people write them.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

impl Display for Pruning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            let why = match item.why {
                Why::Unfinished => "unfinished",
                Why::OlderCheckpoint => "older checkpoint",
                Why::Superseded => "superseded",
                Why::UnusedCodes => "unused codes",
            };
            writeln!(f, "{:>10}  {why:<16}  {}", size(item.bytes), item.path.display())?;
        }
        self.kept.iter().try_for_each(|kept| writeln!(f, "left alone: {kept}"))?;
        let sum: u64 = self.items.iter().map(|item| item.bytes).sum();
        let shared = if sum > self.bytes {
            format!("; {} are in files that other runs have too, or that stand here twice", size(sum - self.bytes))
        } else {
            String::new()
        };
        match (self.items.is_empty(), self.freed) {
            (true, _) => write!(f, "nothing to free"),
            (false, true) => write!(f, "freed {}{shared}", size(self.bytes)),
            (false, false) => write!(f, "would free {}{shared}; --yes does", size(self.bytes)),
        }
    }
}
