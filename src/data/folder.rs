//! A folder of pictures, each beside a file of the same stem with its captions: text, one a line, or JSON.

mod listing;
mod pair;
#[cfg(test)]
mod tests;

use super::extensions::{Extensions, Role};
use super::{BadSample, PictureError, Sample, Source, Tally, Trace, decode, read};
use crate::{Error, Result};
use listing::{Listing, sorted};
use pair::Pair;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The pairs of a folder and its subfolders, sorted by path.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    pairs: Vec<(PathBuf, Pair)>,
    left_out: Tally,
}

impl Folder {
    /// Lists the folder; nothing is decoded yet. Links are followed, each folder is read once, hidden files are ignored.
    /// A subfolder that cannot be listed is [left out](Source::left_out).
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be listed itself, [`Error::Data`] if it holds neither pictures nor captions.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Folder::open_as(path, &Extensions::default())
    }

    /// [`Folder::open`] with the extensions of the caller's choice.
    ///
    /// # Errors
    /// Those of [`Folder::open`].
    pub fn open_as(path: impl AsRef<Path>, extensions: &Extensions) -> Result<Self> {
        let root = path.as_ref();
        if root.is_file() {
            let what = "expected a folder, got a file; tar shards are read with data.kind: webdataset";
            return Err(Error::data(root, what));
        }
        let mut listing = Listing::new(extensions);
        listing.folder(root, 0)?;
        Folder::listed(root, listing)
    }

    /// Some pictures or captions by name, with those of the same stem beside them.
    ///
    /// # Errors
    /// Those of [`Folder::open`].
    pub fn of_files(root: impl AsRef<Path>, files: &[PathBuf], extensions: &Extensions) -> Result<Self> {
        let mut listing = Listing::new(extensions);
        files.iter().for_each(|file| listing.file(file));
        let named: BTreeSet<PathBuf> = listing.pairs.keys().cloned().collect();
        let mut beside = Listing::new(extensions);
        let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
        for folder in folders {
            for path in sorted(folder).map_err(Error::io("list", folder))? {
                beside.file(&path);
            }
        }
        listing.pairs = beside.pairs;
        listing.pairs.retain(|stem, _| named.contains(stem));
        Folder::listed(root.as_ref(), listing)
    }

    fn listed(root: &Path, listing: Listing<'_>) -> Result<Self> {
        let (pairs, left_out) = listing.finish(root)?;
        Ok(Folder { root: root.to_owned(), pairs: pairs.into_iter().collect(), left_out })
    }
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
        let (stem, pair) = &self.pairs[index];
        let read = || {
            let captions = pair.captions()?;
            Ok((decode::decode(&read::read(pair.picture()?, Role::Picture)?)?, captions))
        };
        let key = self.key(stem);
        match read() {
            Ok((picture, captions)) => Ok(Sample { key, picture, captions }),
            Err(wrong) => Err(PictureError::of(wrong, &key)),
        }
    }

    fn captions(&self, index: usize) -> std::result::Result<Vec<String>, BadSample> {
        let (stem, pair) = &self.pairs[index];
        pair.captions().map_err(|error| error.of(&self.key(stem)))
    }

    fn trace(&self, index: usize, whole: bool, trace: &mut Trace) {
        let (stem, pair) = &self.pairs[index];
        trace.fact("key", self.key(stem).as_bytes());
        for (role, path) in pair.files() {
            trace.file(role.name(), std::fs::metadata(path).ok().map(|file| file.len()));
            if whole && let Ok(bytes) = read::read(path, role) {
                trace.fact("bytes", &bytes);
            }
        }
    }

    fn left_out(&self) -> Tally {
        self.left_out.clone()
    }
}

impl Folder {
    fn key(&self, stem: &Path) -> String {
        stem.strip_prefix(&self.root).unwrap_or(stem).to_string_lossy().into_owned()
    }
}
