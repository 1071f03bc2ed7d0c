//! How a folder and its subfolders are listed: links, names of two spellings, and what is left out.

use super::pair::Pair;
use crate::data::extensions::{Extensions, Role};
use crate::data::{PictureError, Tally, read};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// How deep subfolders are followed.
const MAX_DEPTH: usize = 32;

/// A folder while it is listed.
pub(super) struct Listing<'a> {
    extensions: &'a Extensions,
    pub pairs: BTreeMap<PathBuf, Pair>,
    left_out: Tally,
    /// Real paths of the folders that were entered: a link may lead back.
    entered: BTreeSet<PathBuf>,
    /// Extensions of the files that are nothing of ours.
    others: BTreeSet<String>,
}

impl<'a> Listing<'a> {
    pub(super) fn new(extensions: &'a Extensions) -> Self {
        let (pairs, left_out) = (BTreeMap::new(), Tally::default());
        Listing { extensions, pairs, left_out, entered: BTreeSet::new(), others: BTreeSet::new() }
    }

    fn leave_out(&mut self, reason: &'static str, path: &Path, detail: impl Into<String>) {
        self.left_out.add(&PictureError::new(reason, detail).of(&path.to_string_lossy()));
    }

    pub(super) fn folder(&mut self, folder: &Path, depth: usize) -> Result<()> {
        let entered = folder.canonicalize().map_err(Error::io("list", folder))?;
        if !self.entered.insert(entered) {
            self.leave_out("folder-twice", folder, "a link to a folder that is read already");
            return Ok(());
        }
        for path in sorted(folder).map_err(Error::io("list", folder))? {
            if path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".")) {
                continue;
            }
            let linked = written_folder(&path);
            let path = linked.unwrap_or(path);
            if !path.is_dir() {
                self.file(&path);
            } else if depth == MAX_DEPTH {
                self.leave_out("too-deep", &path, format!("more than {MAX_DEPTH} folders deep"));
            } else if let Err(error) = self.folder(&path, depth + 1) {
                self.leave_out("unreadable", &path, error.to_string());
            }
        }
        Ok(())
    }

    pub(super) fn file(&mut self, path: &Path) {
        let Some(name) = path.file_name() else { return };
        let text = name.to_string_lossy();
        let Some((stem, role)) = self.extensions.split(&text) else {
            let other = path.extension().map_or_else(|| "no extension".into(), |e| format!(".{}", e.to_string_lossy()));
            if self.others.len() < 8 {
                self.others.insert(other);
            }
            return;
        };
        // macOS writes é as two characters, others as one: names that look the same belong together. What is no Unicode
        // keeps its bytes, else two files could get one name.
        let bytes = &name.as_bytes()[..name.len() - (text.len() - stem.len())];
        let stem = match str::from_utf8(bytes) {
            Ok(stem) => path.with_file_name(stem.nfc().collect::<String>()),
            Err(_) => path.with_file_name(OsStr::from_bytes(bytes)),
        };
        let pair = self.pairs.entry(stem).or_default();
        match role {
            Role::Picture if pair.picture.is_none() => pair.picture = Some(path.to_owned()),
            Role::Picture => self.leave_out("second-picture", path, "another picture has the same stem"),
            Role::Unread => pair.unread = Some(path.to_owned()),
            Role::Text | Role::Json => drop(pair.captions.insert((role, path.to_owned()))),
        }
    }

    /// The pairs by their stems, and what was left out.
    ///
    /// # Errors
    /// [`Error::Data`] if there are none.
    pub(super) fn finish(self, root: &Path) -> Result<(BTreeMap<PathBuf, Pair>, Tally)> {
        if self.pairs.is_empty() {
            let expected = self.extensions.expected();
            let others = match self.others.into_iter().collect::<Vec<_>>() {
                others if others.is_empty() => "nothing".to_owned(),
                others => format!("only files with {}", others.join(", ")),
            };
            let left_out = match self.left_out.total() {
                0 => String::new(),
                _ => format!("; left out: {}, first: {}", self.left_out.summary(), self.left_out.first()),
            };
            return Err(Error::data(root, format!("expected {expected}, found {others}{left_out}")));
        }
        Ok((self.pairs, self.left_out))
    }
}

/// The folder that a file without an extension is a link to, where it lies there as text.
fn written_folder(path: &Path) -> Option<PathBuf> {
    let small = || path.metadata().is_ok_and(|found| found.is_file() && found.len() <= read::LONGEST_LINK as u64);
    if path.extension().is_some() || !small() {
        return None;
    }
    read::written_link(path, &std::fs::read(path).ok()?).filter(|target| target.is_dir())
}

/// The entries of a folder by name: the order of a listing is nobody's.
pub(super) fn sorted(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut entries = entries.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}
