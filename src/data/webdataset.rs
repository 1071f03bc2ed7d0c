//! WebDataset shards: tar files in which `key.png` (jpg, webp…) and `key.txt` and/or `key.json` make a sample.
//!
//! Shards are never unpacked: one pass over the headers notes where each member lies, and samples are read from there.
//! A key is a member's path up to the first dot of its file name; its members need not be neighbours, and of two members of
//! one name the later one counts, as when tar unpacks.

mod entry;
mod index;
#[cfg(test)]
mod tests;

use super::extensions::{Extensions, Role};
use super::{BadSample, PictureError, Sample, Source, Tally, Trace, captions, decode, paths, read};
use crate::{Error, Result};
use entry::{Entry, Member};
use index::Index;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The samples of some shards: shards in the order given, keys in the order of their first appearance.
#[derive(Debug)]
pub struct WebDataset {
    shards: Vec<PathBuf>,
    entries: Vec<Entry>,
    left_out: Tally,
}

impl WebDataset {
    /// Indexes the shards. Folders and members of other kinds are ignored; links, whose contents are elsewhere, are
    /// [left out](Source::left_out).
    ///
    /// # Errors
    /// [`Error::Io`] if a shard cannot be opened, [`Error::Data`] if it is truncated, compressed or no tar file, naming the
    /// offset, or if there is no sample at all.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        WebDataset::open_as(paths, &Extensions::default())
    }

    /// [`WebDataset::open`] with the extensions of the caller's choice.
    ///
    /// # Errors
    /// Those of [`WebDataset::open`].
    pub fn open_as(paths: &[PathBuf], extensions: &Extensions) -> Result<Self> {
        let mut index = Index::new(extensions);
        for (shard, path) in paths.iter().enumerate() {
            index.shard(shard, path)?;
        }
        let Index { entries, left_out, others, .. } = index;
        if entries.is_empty() {
            let first = paths.first().map_or(Path::new("shards"), PathBuf::as_path);
            let others: Vec<&str> = others.keys().take(8).map(String::as_str).collect();
            let found = if others.is_empty() { "no members".into() } else { format!("only {}", others.join(", ")) };
            let what = format!("expected members of one key, {}, found {found}", extensions.expected());
            return Err(Error::data(first, what));
        }
        Ok(WebDataset { shards: paths.to_vec(), entries, left_out })
    }

    /// The shards that `pattern` names below `root`, sorted: itself if it is a file, the tar files of a folder, or what
    /// `paths::expand` makes of it.
    ///
    /// # Errors
    /// Those of `paths::expand`, and [`Error::Data`] for a folder without shards.
    pub fn find(root: impl AsRef<Path>, pattern: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for path in paths::expand(root.as_ref(), pattern)? {
            if !path.is_dir() {
                found.push(path);
                continue;
            }
            let before = found.len();
            for entry in std::fs::read_dir(&path).map_err(Error::io("list", &path))? {
                let file = entry.map_err(Error::io("list", &path))?.file_name();
                let name = file.to_string_lossy().to_lowercase();
                // Compressed ones too: opening them says why they are not read.
                let shard = name.ends_with(".tar") || name.ends_with(".tgz") || name.contains(".tar.");
                if shard && !name.starts_with('.') {
                    found.push(path.join(file));
                }
            }
            if found.len() == before {
                let what = "expected shards (*.tar), found none; a folder of pictures is read with data.kind: folder";
                return Err(Error::data(&path, what));
            }
            found[before..].sort();
        }
        Ok(found)
    }
}

impl Source for WebDataset {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
        let entry = &self.entries[index];
        let read = || {
            let captions = self.captions_of(entry)?;
            Ok((decode::decode(&self.read(entry, entry.picture()?)?)?, captions))
        };
        match read() {
            Ok((picture, captions)) => Ok(Sample { key: entry.key.clone(), picture, captions }),
            Err(wrong) => Err(PictureError::of(wrong, &entry.key)),
        }
    }

    fn captions(&self, index: usize) -> std::result::Result<Vec<String>, BadSample> {
        let entry = &self.entries[index];
        self.captions_of(entry).map_err(|error| error.of(&entry.key))
    }

    fn trace(&self, index: usize, whole: bool, trace: &mut Trace) {
        let entry = &self.entries[index];
        trace.fact("key", entry.key.as_bytes());
        for member in &entry.members {
            trace.file(member.role.name(), Some(member.len));
            if whole && let Ok(bytes) = self.read(entry, member) {
                trace.fact("bytes", &bytes);
            }
        }
    }

    fn left_out(&self) -> Tally {
        self.left_out.clone()
    }
}

impl WebDataset {
    fn read(&self, entry: &Entry, member: &Member) -> std::result::Result<Vec<u8>, PictureError> {
        if member.len > read::most(member.role) {
            return Err(read::too_large(member.role, &format!("a member of {} bytes", member.len)));
        }
        let path = &self.shards[entry.shard];
        let mut bytes = vec![0; member.len as usize];
        // Opened for each sample: any number of shards fits the limit on open files.
        let read = File::open(path).and_then(|file| file.read_exact_at(&mut bytes, member.offset));
        read.map_err(|error| PictureError::new("unreadable", format!("cannot read {}: {error}", path.display())))?;
        Ok(bytes)
    }

    /// The captions of a sample that has a picture: those of texts, then those of JSON.
    fn captions_of(&self, entry: &Entry) -> std::result::Result<Vec<String>, PictureError> {
        entry.picture()?;
        let mut lines = Vec::new();
        for role in [Role::Text, Role::Json] {
            for member in entry.members.iter().filter(|member| member.role == role) {
                let bytes = self.read(entry, member)?;
                match role {
                    Role::Json => captions::from_json(&bytes, &mut lines)?,
                    _ => captions::from_text(&bytes, &mut lines)?,
                }
            }
        }
        if lines.is_empty() {
            let what = "expected a member with captions (txt, or json with \"caption\") that is not blank";
            return Err(PictureError::new("no-caption", what));
        }
        Ok(lines)
    }
}
