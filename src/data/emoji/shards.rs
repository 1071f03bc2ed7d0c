//! WebDataset shards: for each pair `KEY.png`, `KEY.txt` (one caption) and `KEY.json` (all that is known), in a tar per
//! split and style, so that licences never mix inside a file; beside them `splits.tsv`. Every file is written under a
//! temporary name and renamed, and holds no time, user or thread order: the same pictures give the same bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::split::{Split, unit};
use crate::{Error, Result, files};

/// One rendered pair.
#[derive(Debug)]
pub(super) struct Pair {
    /// `CODEPOINTS_STYLE`.
    pub(super) key: String,
    pub(super) split: Split,
    pub(super) card: Card,
    pub(super) png: Vec<u8>,
}

/// What `KEY.json` says.
#[derive(Debug, Serialize)]
pub(super) struct Card {
    pub(super) style: &'static str,
    pub(super) label: String,
    /// The noun phrase.
    pub(super) np: String,
    pub(super) group: String,
    pub(super) subgroup: String,
    pub(super) tags: Vec<String>,
    /// `KEY.txt` is the first.
    pub(super) captions: Vec<String>,
    pub(super) license: &'static str,
}

/// A shard that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The file's name in the output folder.
    pub name: String,
    /// The split of its pairs.
    pub split: Split,
    /// The style of its pairs.
    pub style: &'static str,
    /// How many pairs it holds.
    pub pairs: usize,
    /// The file's size.
    pub bytes: u64,
}

fn shard_name(split: Split, style: &str) -> String {
    format!("{}-{style}-000000.tar", split.name())
}

/// Makes sure, before any work is done, that shards of these styles can be written to `out` and will be alone there:
/// pairs left by a build of other styles could be in another split.
///
/// # Errors
/// [`Error::Io`] where `out` cannot be written, [`Error::Data`] where it holds another shard.
pub(super) fn prepare<'a>(out: &Path, styles: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let ours =
        |name: &str| styles.clone().any(|style| Split::ALL.iter().any(|&split| shard_name(split, style) == name));
    for file in fs::read_dir(out).map_err(Error::io("read", out))? {
        let name = file.map_err(Error::io("read", out))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".tar") && !ours(&name) {
            let what = format!("expected no shards but those of this build, got {name}: choose an empty folder");
            return Err(Error::data(out, what));
        }
    }
    let probe = out.join(".probe.tmp");
    File::create(&probe).map_err(Error::io("write", out))?;
    fs::remove_file(&probe).map_err(Error::io("write", out))
}

/// Writes the shards and `splits.tsv`; returns the shards in the order of their names.
///
/// # Errors
/// [`Error::Io`] where a file cannot be written.
pub(super) fn write(out: &Path, pairs: Vec<Pair>) -> Result<Vec<Shard>> {
    let mut by_shard: BTreeMap<(Split, &'static str), Vec<Pair>> = BTreeMap::new();
    for pair in pairs {
        by_shard.entry((pair.split, pair.card.style)).or_default().push(pair);
    }
    let mut shards = Vec::new();
    let mut table = String::from("key\tsplit\tgroup\tlabel\n");
    for ((split, style), mut pairs) in by_shard {
        // A shuffle that is the same for everybody: a reader that streams sees the groups mixed.
        pairs.sort_by(|a, b| unit(&["order", &a.key]).total_cmp(&unit(&["order", &b.key])));
        let name = shard_name(split, style);
        replace(out, &name, |file| write_shard(file, &pairs))?;
        for Pair { key, card, .. } in &pairs {
            table.push_str(&[key, split.name(), &card.group, &card.label].join("\t"));
            table.push('\n');
        }
        let bytes = fs::metadata(out.join(&name)).map_err(Error::io("read", out.join(&name)))?.len();
        shards.push(Shard { name, split, style, pairs: pairs.len(), bytes });
    }
    replace(out, "splits.tsv", |file| file.write_all(table.as_bytes()))?;
    Ok(shards)
}

fn write_shard(file: &mut dyn Write, pairs: &[Pair]) -> io::Result<()> {
    let mut archive = tar::Builder::new(file);
    for Pair { key, card, png, .. } in pairs {
        let text = card.captions.first().map(String::as_bytes).unwrap_or_default();
        let json = serde_json::to_vec(card)?;
        for (extension, bytes) in [("png", png.as_slice()), ("txt", text), ("json", &json)] {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, format!("{key}.{extension}"), bytes)?;
        }
    }
    archive.finish()
}

/// Writes `folder/name` whole or not at all: an interruption leaves what was there before.
pub(super) fn replace(
    folder: &Path,
    name: &str,
    mut write: impl FnMut(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let path = folder.join(name);
    files::put(&path, &mut write).map_err(Error::io("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, split: Split) -> Pair {
        let text = |word: &str| word.to_owned();
        let captions = vec![text("a flat style emoji of it"), text("it")];
        let (group, subgroup, tags) = (text("objects"), text("tool"), vec![]);
        let card =
            Card { style: "flat", label: text("It"), np: text("it"), group, subgroup, tags, captions, license: "MIT" };
        Pair { key: text(key), split, card, png: b"png".to_vec() }
    }

    #[test]
    fn a_shard_is_the_same_bytes_whatever_the_order() {
        let out = tempfile::tempdir().unwrap();
        let name = "train-flat-000000.tar";
        let write_in = |keys: [&str; 3]| {
            let shards = write(out.path(), keys.map(|key| pair(key, Split::Train)).into()).unwrap();
            assert_eq!((shards[0].name.as_str(), shards[0].pairs), (name, 3));
            fs::read(out.path().join(name)).unwrap()
        };
        let bytes = write_in(["a", "b", "c"]);
        assert!(bytes == write_in(["c", "a", "b"]));
        let mut archive = tar::Archive::new(bytes.as_slice());
        for entry in archive.entries().unwrap().map(std::result::Result::unwrap) {
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.mode().unwrap()), (0, 0, 0o644));
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("a.tar");
        replace(out.path(), "a.tar", |file| file.write_all(b"old")).unwrap();
        let full = |file: &mut dyn Write| {
            file.write_all(b"new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        assert_eq!(replace(out.path(), "a.tar", full).unwrap_err().exit_code(), 6);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_refused_first() {
        let out = tempfile::tempdir().unwrap();
        let styles = || ["flat"].into_iter();
        write(out.path(), vec![pair("a", Split::HeldOutPair)]).unwrap();
        prepare(out.path(), styles()).unwrap();
        let file = out.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(prepare(&file, styles()).unwrap_err().exit_code(), 6);
        fs::write(out.path().join("train-other-000000.tar"), "").unwrap();
        let error = prepare(out.path(), styles()).unwrap_err();
        assert!(error.to_string().contains("train-other-000000.tar"), "{error}");
    }
}
