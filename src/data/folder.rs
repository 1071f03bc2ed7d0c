//! A folder of pictures, each beside a text file of the same stem with its captions, one a line.

use super::{BadSample, Flaw, Sample, Source, captions, decode};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The pairs of a folder and its subfolders, sorted by path.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    pairs: Vec<(PathBuf, Pair)>,
}

#[derive(Debug, Default)]
struct Pair {
    picture: Option<PathBuf>,
    captions: Option<PathBuf>,
}

/// How deep subfolders are followed.
const MAX_DEPTH: usize = 32;

impl Folder {
    /// Lists the folder; nothing is decoded yet. Symbolic links to folders are not followed, hidden files are ignored.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be listed, [`Error::Data`] if it holds neither pictures nor captions.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let root = path.as_ref().to_owned();
        let mut pairs = BTreeMap::new();
        collect(&root, &mut pairs, 0)?;
        if pairs.is_empty() {
            return Err(Error::data(root, "expected pictures (png, jpg, webp) beside captions (txt), got neither"));
        }
        Ok(Folder { root, pairs: pairs.into_iter().collect() })
    }
}

fn collect(folder: &Path, pairs: &mut BTreeMap<PathBuf, Pair>, depth: usize) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(Error::io("read", entry.path()))?);
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_dir() {
            if depth < MAX_DEPTH {
                collect(&path, pairs, depth + 1)?;
            }
            continue;
        }
        let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else { continue };
        let stem = path.with_extension("");
        match extension.to_lowercase().as_str() {
            "png" | "jpg" | "jpeg" | "webp" => {
                let pair = pairs.entry(stem).or_default();
                // Two pictures of one stem: the first by name, whatever the order of the listing.
                if pair.picture.as_ref().is_none_or(|known| path < *known) {
                    pair.picture = Some(path);
                }
            }
            "txt" => pairs.entry(stem).or_default().captions = Some(path),
            _ => {}
        }
    }
    Ok(())
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
        let (stem, pair) = &self.pairs[index];
        let key = stem.strip_prefix(&self.root).unwrap_or(stem).to_string_lossy().into_owned();
        pair.read()
            .map(|(picture, captions)| Sample { key: key.clone(), picture, captions })
            .map_err(|flaw| flaw.of(&key))
    }
}

impl Pair {
    fn read(&self) -> std::result::Result<(super::Picture, Vec<String>), Flaw> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| Flaw::new("decode", format!("cannot read {}: {error}", path.display())))
        };
        let Some(picture) = &self.picture else {
            return Err(Flaw::new("no-picture", "expected a picture beside the captions"));
        };
        let Some(text) = &self.captions else {
            return Err(Flaw::new("no-caption", "expected a text file of the same stem"));
        };
        let mut lines = Vec::new();
        captions::from_text(&read(text)?, &mut lines);
        if lines.is_empty() {
            return Err(Flaw::new("no-caption", format!("{} is blank", text.display())));
        }
        Ok((decode::decode(&read(picture)?)?, lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Picture;

    #[test]
    fn pairs_are_found_sorted_and_flaws_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("deep")).unwrap();
        let picture = Picture { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] };
        for name in ["a.png", "blank.PNG", "deep/z.v2.png", "alone.png", ".hidden.png"] {
            picture.save_png(at(name)).unwrap();
        }
        std::fs::write(at("bad.jpg"), b"garbage").unwrap();
        let texts = [
            ("a.txt", "one\ntwo\n"),
            ("blank.txt", " \n"),
            ("deep/z.v2.txt", "deep"),
            ("lost.txt", "x"),
            ("bad.txt", "x"),
        ];
        for (name, text) in texts {
            std::fs::write(at(name), text).unwrap();
        }
        let source = Folder::open(folder.path()).unwrap();
        let got: Vec<_> = (0..source.len())
            .map(|i| match source.get(i) {
                Ok(sample) => (sample.key, sample.captions.join("|")),
                Err(bad) => (bad.key, bad.reason.to_owned()),
            })
            .collect();
        let expected = [
            ("a", "one|two"),
            ("alone", "no-caption"),
            ("bad", "decode"),
            ("blank", "no-caption"),
            ("deep/z.v2", "deep"),
            ("lost", "no-picture"),
        ];
        assert_eq!(got, expected.map(|(key, what)| (key.to_owned(), what.to_owned())));
        assert_eq!(source.get(0).unwrap().picture, picture);
    }

    #[test]
    fn empty_and_missing_folders_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Folder::open(folder.path()).unwrap_err().exit_code(), 4);
        assert_eq!(Folder::open(folder.path().join("none")).unwrap_err().exit_code(), 4);
    }
}
