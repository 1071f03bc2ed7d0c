//! WebDataset shards: tar files in which `key.png|jpg|jpeg|webp` and `key.txt` and/or `key.json` make a sample.
//!
//! Shards are never unpacked: one pass over the headers notes where each member lies, and samples are read from there.
//! A key is a member's path up to the first dot of its file name; its members need not be neighbours.

use super::{BadSample, Flaw, Picture, Sample, Source, captions, decode};
use crate::{Error, Result};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The samples of some shards: shards in the order given, keys in the order of their first appearance.
#[derive(Debug)]
pub struct WebDataset {
    shards: Vec<PathBuf>,
    entries: Vec<Entry>,
}

/// One key of one shard and where its members lie.
#[derive(Debug)]
struct Entry {
    shard: usize,
    key: String,
    picture: Option<Member>,
    text: Option<Member>,
    json: Option<Member>,
}

/// A member's bytes in its shard.
#[derive(Debug, Clone, Copy)]
struct Member {
    offset: u64,
    len: u64,
}

/// Larger members are not read.
const MAX_MEMBER: u64 = 64 << 20;
/// Tar's unit: headers take one block, contents are padded to whole ones.
const BLOCK: u64 = 512;

impl WebDataset {
    /// Indexes the shards. Links, folders and members of other kinds are ignored.
    ///
    /// # Errors
    /// [`Error::Io`] if a shard cannot be opened, [`Error::Data`] if it is truncated or no tar file, naming the offset,
    /// or if there is no sample at all.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut entries = Vec::new();
        for (shard, path) in paths.iter().enumerate() {
            index(shard, path, &mut entries)?;
        }
        if entries.is_empty() {
            let first = paths.first().map_or(Path::new("shards"), PathBuf::as_path);
            return Err(Error::data(first, "expected members key.png and key.txt, got none in any shard"));
        }
        Ok(WebDataset { shards: paths.to_vec(), entries })
    }

    /// The shards that `pattern` names, sorted: itself if it is a file, the `.tar` files of a folder, or those files
    /// that match a file name with one or more `*`.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be listed, [`Error::Data`] if nothing matches.
    pub fn find(pattern: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let pattern = pattern.as_ref();
        let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (folder, name) = match (pattern.is_dir(), name.contains('*')) {
            (true, _) => (pattern, "*.tar".to_owned()),
            (false, true) => (pattern.parent().unwrap_or(Path::new("")), name),
            (false, false) => return Ok(vec![pattern.to_owned()]),
        };
        let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(listed).map_err(Error::io("list", listed))? {
            let file = entry.map_err(Error::io("list", listed))?.file_name();
            if matches(&name, &file.to_string_lossy()) {
                found.push(folder.join(file));
            }
        }
        found.sort();
        if found.is_empty() { Err(Error::data(pattern, "expected shards (*.tar), found none")) } else { Ok(found) }
    }
}

/// True where `name` is `pattern` with something, or nothing, for each `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices().map(|(i, _)| i).chain([tail.len()]).any(|i| matches(rest, &tail[i..]))
        }),
    }
}

/// Appends the samples of one shard.
fn index(shard: usize, path: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let file_len = file.metadata().map_err(Error::io("read", path))?.len();
    let mut archive = tar::Archive::new(&file);
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut end = 0;
    let broken = |offset: u64, expected: &str, got: &str| {
        Error::data(path, format!("at byte {offset} of the shard: expected {expected}, got {got}"))
    };
    for entry in archive.entries_with_seek().map_err(Error::io("read", path))? {
        let entry = entry.map_err(|error| broken(end, "a tar header", &error.to_string()))?;
        let member = Member { offset: entry.raw_file_position(), len: entry.size() };
        let stored_end = member.offset.saturating_add(member.len);
        if stored_end > file_len {
            let expected = format!("{} bytes of {}", member.len, entry.path_bytes().escape_ascii());
            return Err(broken(member.offset, &expected, &format!("{} before the end", file_len - member.offset)));
        }
        end = stored_end.next_multiple_of(BLOCK);
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some((key, role)) = role(&name) else { continue };
        let at = *known.entry(key.to_owned()).or_insert_with(|| {
            entries.push(Entry { shard, key: key.to_owned(), picture: None, text: None, json: None });
            entries.len() - 1
        });
        let slot = match role {
            Role::Picture => &mut entries[at].picture,
            Role::Text => &mut entries[at].text,
            Role::Json => &mut entries[at].json,
        };
        slot.get_or_insert(member);
    }
    // A tar file ends in blocks of zeros; one that was cut between two members has none.
    let mut block = [1; BLOCK as usize];
    match file.read_exact_at(&mut block, end) {
        Ok(()) if block == [0; BLOCK as usize] => Ok(()),
        _ => Err(broken(end, "the blocks of zeros that end a tar file", "the end of the file")),
    }
}

enum Role {
    Picture,
    Text,
    Json,
}

/// The key of a member and what it is, by its name; `None` for hidden files and other extensions.
fn role(name: &str) -> Option<(&str, Role)> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = file + name[file..].find('.').filter(|&dot| dot > 0)?;
    let role = match name[dot + 1..].to_lowercase().as_str() {
        "png" | "jpg" | "jpeg" | "webp" => Role::Picture,
        "txt" => Role::Text,
        "json" => Role::Json,
        _ => return None,
    };
    Some((&name[..dot], role))
}

impl Source for WebDataset {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
        let entry = &self.entries[index];
        let read = self.read(entry).map_err(|flaw| flaw.of(&entry.key));
        read.map(|(picture, captions)| Sample { key: entry.key.clone(), picture, captions })
    }
}

impl WebDataset {
    fn read(&self, entry: &Entry) -> std::result::Result<(Picture, Vec<String>), Flaw> {
        let path = &self.shards[entry.shard];
        let unreadable = |error| Flaw::new("decode", format!("cannot read {}: {error}", path.display()));
        // Opened for each sample: any number of shards fits the limit on open files.
        let file = File::open(path).map_err(unreadable)?;
        let read = |member: Member| {
            if member.len > MAX_MEMBER {
                let expected = format!("at most {} MiB", MAX_MEMBER >> 20);
                return Err(Flaw::new("too-large", format!("a member of {} bytes; expected {expected}", member.len)));
            }
            let mut bytes = vec![0; member.len as usize];
            file.read_exact_at(&mut bytes, member.offset).map_err(unreadable)?;
            Ok(bytes)
        };
        let Some(picture) = entry.picture else {
            return Err(Flaw::new("no-picture", "expected a png, jpg, jpeg or webp member"));
        };
        let mut lines = Vec::new();
        if let Some(text) = entry.text {
            captions::from_text(&read(text)?, &mut lines);
        }
        if let Some(json) = entry.json {
            captions::from_json(&read(json)?, &mut lines);
        }
        if lines.is_empty() {
            return Err(Flaw::new(
                "no-caption",
                "expected a txt member, or a json member with \"caption\", that is not blank",
            ));
        }
        Ok((decode::decode(&read(picture)?)?, lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(value: u8) -> Vec<u8> {
        Picture { width: 2, height: 2, rgb: vec![value; 12] }.png().unwrap()
    }

    fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// The dataset of the given shards, and the folder that holds them.
    fn open_in(shards: &[Vec<u8>]) -> (tempfile::TempDir, Result<WebDataset>) {
        let folder = tempfile::tempdir().unwrap();
        let write = |(i, bytes): (usize, &Vec<u8>)| {
            let path = folder.path().join(format!("{i}.tar"));
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let opened = WebDataset::open(&shards.iter().enumerate().map(write).collect::<Vec<_>>());
        (folder, opened)
    }

    fn open(shards: &[Vec<u8>]) -> Result<WebDataset> {
        open_in(shards).1
    }

    fn read_all(shards: &[Vec<u8>]) -> Vec<(String, String)> {
        let (_folder, source) = open_in(shards);
        summary(&source.unwrap())
    }

    fn summary(source: &WebDataset) -> Vec<(String, String)> {
        let one = |i| match source.get(i) {
            Ok(sample) => (sample.key, format!("{} {}", sample.picture.rgb[0], sample.captions.join("|"))),
            Err(bad) => (bad.key, bad.reason.to_owned()),
        };
        (0..source.len()).map(one).collect()
    }

    #[test]
    fn members_are_grouped_by_key_in_order_of_appearance() {
        let long = format!("{}/k.txt", "d".repeat(150));
        let json = br#"{"caption": "json", "captions": ["json", "more"]}"#;
        let first = tar(&[
            ("b.png", &png(1)),
            ("dir.v1/a.x.png", &png(9)),
            ("dir.v1/a.PNG", &png(2)),
            ("b.txt", b"bee\n"),
            ("dir.v1/a.json", json),
            ("b.json", json),
            ("._b.txt", b"hidden"),
            ("readme", b"no extension"),
            (&long, b"only text"),
        ]);
        let second = tar(&[("./b.txt", b"other"), ("./b.png", &png(3))]);
        let long_key = format!("{}/k", "d".repeat(150));
        let expected =
            [("b", "1 bee|json|more"), ("dir.v1/a", "2 json|more"), (&long_key, "no-picture"), ("b", "3 other")];
        assert_eq!(read_all(&[first, second]), expected.map(|(key, what)| (key.to_owned(), what.to_owned())));
    }

    #[test]
    fn broken_samples_are_named_and_spoil_no_other() {
        let got = read_all(&[tar(&[
            ("garbage.png", b"\x89PNG\r\n\x1a\nnothing"),
            ("garbage.txt", b"x"),
            ("mute.png", &png(1)),
            ("blank.png", &png(1)),
            ("blank.txt", b" \n"),
            ("blank.json", b"{}"),
            ("good.png", &png(5)),
            ("good.txt", b"fine"),
        ])]);
        let expected = [("garbage", "decode"), ("mute", "no-caption"), ("blank", "no-caption"), ("good", "5 fine")];
        assert_eq!(got, expected.map(|(key, what)| (key.to_owned(), what.to_owned())));
    }

    #[test]
    fn links_and_folders_are_ignored() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut header, "a.png", "/etc/hostname").unwrap();
        header.set_entry_type(tar::EntryType::Directory);
        builder.append_data(&mut header, "b.png/", &b""[..]).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        builder.append_data(&mut header, "a.txt", &b"x"[..]).unwrap();
        assert_eq!(read_all(&[builder.into_inner().unwrap()]), [("a".to_owned(), "no-picture".to_owned())]);
    }

    #[test]
    fn a_truncated_shard_is_an_error_wherever_it_is_cut() {
        let whole = tar(&[("a.png", &png(1)), ("a.txt", b"x"), ("b.png", &[7; 3000]), ("b.txt", b"x")]);
        assert!(open(std::slice::from_ref(&whole)).is_ok());
        // The trailer is two blocks; the first one is enough.
        for cut in (0..=whole.len() - 1024).step_by(64) {
            let error = open(&[whole[..cut].to_vec()]).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.exit_code(), 4, "{text}");
            assert!(text.contains("0.tar: at byte ") && text.contains("expected"), "{text}");
        }
    }

    #[test]
    fn what_is_no_tar_is_an_error() {
        for bytes in [vec![], b"just text".to_vec(), vec![b'x'; 4096], png(1), vec![0x1f, 0x8b, 8, 0]] {
            assert_eq!(open(&[bytes]).unwrap_err().exit_code(), 4);
        }
        // A tar file without a sample.
        assert_eq!(open(&[tar(&[("readme.md", b"x")])]).unwrap_err().exit_code(), 4);
        assert_eq!(open(&[]).unwrap_err().exit_code(), 4);
        assert_eq!(WebDataset::open(&["missing.tar".into()]).unwrap_err().exit_code(), 4);
    }

    #[test]
    fn a_huge_member_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge.tar");
        let mut header = tar::Header::new_gnu();
        header.set_path("a.png").unwrap();
        header.set_size(MAX_MEMBER + 1);
        header.set_cksum();
        let tail = tar(&[("a.txt", b"x")]);
        let start = BLOCK + (MAX_MEMBER + 1).next_multiple_of(BLOCK);
        let file = File::create(&path).unwrap();
        file.write_all_at(header.as_bytes(), 0).unwrap();
        file.write_all_at(&tail, start).unwrap();
        let source = WebDataset::open(&[path]).unwrap();
        assert_eq!(source.get(0).unwrap_err().reason, "too-large");
    }

    #[test]
    fn shards_are_found_by_pattern() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train-b-1.tar", "train-a-0.tar", "val-0.tar", "notes.txt"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let names = |pattern: &str| {
            let found = WebDataset::find(folder.path().join(pattern)).unwrap();
            found.iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["train-a-0.tar", "train-b-1.tar", "val-0.tar"]);
        assert_eq!(names("train-*.tar"), ["train-a-0.tar", "train-b-1.tar"]);
        assert_eq!(names("*-0*"), ["train-a-0.tar", "val-0.tar"]);
        assert_eq!(names("val-0.tar"), ["val-0.tar"]);
        assert_eq!(WebDataset::find(folder.path().join("x*.tar")).unwrap_err().exit_code(), 4);
    }
}
