//! A sweep as it was expanded: `results/<name>/sweeps/<hash>/` with the file, `0000.yaml` and so on, and `index.tsv`. It is written
//! once, and whoever runs an index reads nothing else.

use super::expand::Variant;
use crate::harness::loaded::{Loaded, reopen};
use crate::harness::run_dir::write_atomic;
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What says of a folder that it is a frozen sweep.
const FACTS: &str = "sweep.json";
/// What its indices print.
const LOGS: &str = "logs";

/// A frozen sweep.
#[derive(Debug, Clone)]
pub struct Frozen {
    /// Its folder.
    pub path: PathBuf,
    /// The name of all its runs.
    pub name: String,
    /// For each index, its spec's hash and what it says otherwise than the file.
    pub rows: Vec<(String, String)>,
    /// Data paths are relative to it.
    folder: PathBuf,
}

impl Frozen {
    /// Freezes `variants` below `results`; where that was done before, nothing is written.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn make(results: impl AsRef<Path>, variants: &[Variant]) -> Result<Frozen> {
        let Some(first) = variants.first() else { return Err(Error::Usage("a sweep of nothing".into())) };
        let mut rows = Vec::with_capacity(variants.len());
        for variant in variants {
            rows.push((variant.loaded.spec.hash()?, variant.said.clone()));
        }
        let mut index = String::from("index\tspec\tsays\n");
        for (i, (hash, said)) in rows.iter().enumerate() {
            let _ = writeln!(index, "{i}\t{hash}\t{}", said.replace(['\t', '\n'], " "));
        }
        let folder = fs::canonicalize(&first.loaded.folder).unwrap_or_else(|_| first.loaded.folder.clone());
        let name = first.loaded.spec.name.clone();
        // The same specs with data elsewhere are another sweep.
        let whole = blake3::hash(format!("{}\n{index}", folder.display()).as_bytes()).to_hex();
        let parent = results.as_ref().join(&name).join("sweeps");
        let path = parent.join(&whole[..16]);
        let frozen = Frozen { path, name, rows, folder };
        if frozen.path.join(FACTS).is_file() {
            return Ok(frozen);
        }
        fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
        // Made beside its place and moved into it whole.
        let made = frozen.path.with_extension(format!("{}.tmp", std::process::id()));
        fs::create_dir(&made).map_err(Error::io("create", &made))?;
        let logs = made.join(LOGS);
        fs::create_dir(&logs).map_err(Error::io("create", &logs))?;
        variants.par_iter().enumerate().try_for_each(|(i, variant)| {
            let file = made.join(file_of(i));
            fs::write(&file, variant.loaded.spec.resolved()?).map_err(Error::io("write", &file))
        })?;
        write_atomic(made.join("sweep.yaml"), first.loaded.text.as_bytes())?;
        write_atomic(made.join("index.tsv"), index.as_bytes())?;
        let facts = json!({
            "name": frozen.name,
            "specs": frozen.rows.len(),
            "spec_folder": frozen.folder,
            "spec_file": first.loaded.file,
            "version": env!("CARGO_PKG_VERSION"),
        });
        write_atomic(made.join(FACTS), format!("{facts:#}\n").as_bytes())?;
        match fs::rename(&made, &frozen.path) {
            Ok(()) => Ok(frozen),
            // Another process was first, with the same files.
            Err(_) if frozen.path.join(FACTS).is_file() => {
                fs::remove_dir_all(&made).map_err(Error::io("remove", &made))?;
                Ok(frozen)
            }
            Err(error) => Err(Error::io("move", &made)(error)),
        }
    }

    /// Reads the frozen sweep in the folder `path`; `None` where it is none.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] where it is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Option<Frozen>> {
        let path = path.as_ref().to_owned();
        let file = path.join(FACTS);
        let text = match fs::read(&file) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            read => read.map_err(Error::io("read", &file))?,
        };
        let facts: Value =
            serde_json::from_slice(&text).map_err(|error| Error::data(&file, format!("not JSON: {error}")))?;
        let (Some(name), Some(folder)) = (facts["name"].as_str(), facts["spec_folder"].as_str()) else {
            return Err(Error::data(&file, "expected a name and a spec_folder"));
        };
        let (name, folder) = (name.to_owned(), PathBuf::from(folder));
        let file = path.join("index.tsv");
        let index = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        let rows: Vec<(String, String)> = index.lines().skip(1).filter_map(row).collect();
        if facts["specs"].as_u64() != Some(rows.len() as u64) {
            return Err(Error::data(&file, format!("expected {} rows, got {}", facts["specs"], rows.len())));
        }
        Ok(Some(Frozen { path, name, rows, folder }))
    }

    /// The spec at `index`.
    ///
    /// # Errors
    /// [`Error::Usage`] beyond the last; those of [`reopen`]; [`Error::Data`] where it is not the spec that was frozen.
    pub fn spec(&self, index: usize, presets: &[&str]) -> Result<Loaded> {
        let Some((hash, _)) = self.rows.get(index) else {
            let last = self.rows.len() - 1;
            return Err(Error::Usage(format!("--index {index}: expected one from 0 to {last}")));
        };
        let file = self.file(index);
        let mut loaded = reopen(&file, presets)?;
        loaded.folder.clone_from(&self.folder);
        let got = loaded.spec.hash()?;
        if got != *hash {
            let what = format!(
                "expected the spec {hash} that was frozen, got {got}: edited, or read by another version of the program"
            );
            return Err(Error::data(&file, what));
        }
        Ok(loaded)
    }

    /// Where what an index prints is kept.
    pub fn log(&self, index: usize) -> PathBuf {
        self.path.join(LOGS).join(format!("{index}.log"))
    }
}

impl Frozen {
    /// The spec at `index`, as it was frozen.
    pub(super) fn file(&self, index: usize) -> PathBuf {
        self.path.join(file_of(index))
    }
}

fn file_of(index: usize) -> String {
    format!("{index:04}.yaml")
}

/// A line of `index.tsv`.
fn row(line: &str) -> Option<(String, String)> {
    let mut cells = line.splitn(3, '\t').skip(1).map(str::to_owned);
    Some((cells.next()?, cells.next()?))
}
