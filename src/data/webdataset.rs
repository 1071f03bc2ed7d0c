//! WebDataset shards: tar files in which `key.png` (jpg, webp…) and `key.txt` and/or `key.json` make a sample.
//!
//! Shards are never unpacked: one pass over the headers notes where each member lies, and samples are read from there.
//! A key is a member's path up to the first dot of its file name; its members need not be neighbours, and of two members of
//! one name the later one counts, as when tar unpacks.

use super::extensions::{Extensions, Role};
use super::{BadSample, Flaw, Sample, Source, Tally, captions, decode, paths, read};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// The samples of some shards: shards in the order given, keys in the order of their first appearance.
#[derive(Debug)]
pub struct WebDataset {
    shards: Vec<PathBuf>,
    entries: Vec<Entry>,
    left_out: Tally,
}

/// One key of one shard and where its members lie.
#[derive(Debug)]
struct Entry {
    shard: usize,
    key: String,
    members: Vec<Member>,
}

/// A member's extension, in lower case, and its bytes in its shard.
#[derive(Debug)]
struct Member {
    extension: String,
    role: Role,
    offset: u64,
    len: u64,
}

/// Tar's unit: headers take one block, contents are padded to whole ones.
const BLOCK: u64 = 512;

/// First bytes of files in which no sample can be found without unpacking all that is before it, and what unpacks them.
const PACKED: [(&[u8], &str, &str); 5] = [
    (&[0x1f, 0x8b], "gzip", "gunzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "unzstd"),
    (b"\xfd7zXZ", "xz", "unxz"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"PK\x03\x04", "zip", "unzip, then tar"),
];

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
        let mut index = Index { extensions, entries: Vec::new(), left_out: Tally::default(), others: BTreeMap::new() };
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

/// The samples found so far.
struct Index<'a> {
    extensions: &'a Extensions,
    entries: Vec<Entry>,
    left_out: Tally,
    /// Extensions of the members that are nothing of ours.
    others: BTreeMap<String, usize>,
}

impl Index<'_> {
    /// Appends the samples of one shard.
    fn shard(&mut self, shard: usize, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let facts = file.metadata().map_err(Error::io("read", path))?;
        if !facts.is_file() {
            return Err(Error::data(path, "expected a tar file, got a folder, a device or a pipe"));
        }
        let mut start = [0; BLOCK as usize];
        let read = file.read_at(&mut start, 0).map_err(Error::io("read", path))?;
        // A tar file begins with a name, which may begin like anything; its magic comes later.
        let packed = PACKED.iter().find(|(magic, ..)| start[..read].starts_with(magic) && &start[257..262] != b"ustar");
        if let Some((_, name, program)) = packed {
            let what =
                format!("at byte 0 of the shard: expected a tar file, got {name}; unpack it first, with {program}");
            return Err(Error::data(path, what));
        }
        let mut archive = tar::Archive::new(&file);
        let mut known: HashMap<String, usize> = HashMap::new();
        // Members whose extension holds a dot, by key and then by all but their last extension.
        let mut dotted: BTreeMap<String, BTreeMap<String, Vec<Role>>> = BTreeMap::new();
        let mut end = 0;
        let broken = |offset: u64, expected: &str, got: &str| {
            Error::data(path, format!("at byte {offset} of the shard: expected {expected}, got {got}"))
        };
        for entry in archive.entries_with_seek().map_err(Error::io("read", path))? {
            let entry = entry.map_err(|error| broken(end, "a tar header", &error.to_string()))?;
            let (offset, len) = (entry.raw_file_position(), entry.size());
            let stored_end = offset.saturating_add(len);
            if stored_end > facts.len() {
                let expected = format!("{len} bytes of {}", entry.path_bytes().escape_ascii());
                return Err(broken(
                    offset,
                    &expected,
                    &format!("{} before the end", facts.len().saturating_sub(offset)),
                ));
            }
            end = stored_end.next_multiple_of(BLOCK);
            let name: String = String::from_utf8_lossy(&entry.path_bytes()).nfc().collect();
            let Some((key, extension)) = split(&name) else { continue };
            let extension = extension.to_lowercase();
            let kind = entry.header().entry_type();
            let Some(role) = self.extensions.role(&extension) else {
                if let Some((stem, role)) = self.extensions.split(file_name(&name))
                    && kind.is_file()
                {
                    dotted.entry(key.to_owned()).or_default().entry(stem.to_owned()).or_default().push(role);
                } else if kind.is_file() {
                    *self.others.entry(extension).or_default() += 1;
                }
                continue;
            };
            if !kind.is_file() {
                if !kind.is_dir() {
                    self.leave_out("link", &name, "a member that is a link, or no file: its contents are not here");
                }
                continue;
            }
            let at = *known.entry(key.to_owned()).or_insert_with(|| {
                self.entries.push(Entry { shard, key: key.to_owned(), members: Vec::new() });
                self.entries.len() - 1
            });
            let member = Member { extension, role, offset, len };
            let members = &mut self.entries[at].members;
            match members.iter().position(|known| known.extension == member.extension) {
                Some(earlier) => {
                    members[earlier] = member;
                    self.leave_out("replaced", &name, "a later member of the same name counts");
                }
                None if role == Role::Picture && members.iter().any(|known| known.role == role) => {
                    self.leave_out("second-picture", &name, "another picture has the same key");
                }
                None => members.push(member),
            }
        }
        for (key, stems) in dotted {
            let plain = known.contains_key(&key);
            for (stem, roles) in stems {
                // Beside a whole sample `a.seg.png` is one more member of `a`; a picture with captions is a sample that lost
                // its key.
                let caption = roles.iter().any(|role| matches!(role, Role::Text | Role::Json));
                if !plain || (caption && roles.contains(&Role::Picture)) {
                    let folder = &key[..key.len() - file_name(&key).len()];
                    self.entries.push(Entry { shard, key: format!("{folder}{stem}"), members: Vec::new() });
                }
            }
        }
        // A tar file ends in blocks of zeros; one that was cut between two members has none.
        let mut block = [1; BLOCK as usize];
        match file.read_exact_at(&mut block, end) {
            Ok(()) if block == [0; BLOCK as usize] => Ok(()),
            _ => Err(broken(end, "the blocks of zeros that end a tar file", "the end of the file")),
        }
    }

    fn leave_out(&mut self, reason: &'static str, name: &str, detail: &str) {
        self.left_out.add(&Flaw::new(reason, detail).of(name));
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The key and the extension of a member's name; `None` for hidden files and names without a dot.
fn split(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let file = name.len() - file_name(name).len();
    let dot = file + name[file..].find('.').filter(|&dot| dot > 0)?;
    Some((&name[..dot], &name[dot + 1..]))
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
            Err(flaw) => Err(Flaw::of(flaw, &entry.key)),
        }
    }

    fn captions(&self, index: usize) -> std::result::Result<Vec<String>, BadSample> {
        let entry = &self.entries[index];
        self.captions_of(entry).map_err(|flaw| flaw.of(&entry.key))
    }

    fn left_out(&self) -> Tally {
        self.left_out.clone()
    }
}

impl Entry {
    fn picture(&self) -> std::result::Result<&Member, Flaw> {
        let of = |role| self.members.iter().find(|member| member.role == role);
        match (of(Role::Picture), of(Role::Unread)) {
            (Some(picture), _) => Ok(picture),
            (None, Some(other)) => {
                Err(Flaw::new("format", format!("expected PNG, JPEG or WebP, got a member .{}", other.extension)))
            }
            (None, None) if self.members.is_empty() => Err(Flaw::new(
                "dotted-name",
                "a key ends at the first dot of a member's name, as in WebDataset: expected names with one dot, or the \
                 extension that follows the first dot in data.extensions",
            )),
            (None, None) => Err(Flaw::new("no-picture", "expected a picture member (png, jpg or webp)")),
        }
    }
}

impl WebDataset {
    fn read(&self, entry: &Entry, member: &Member) -> std::result::Result<Vec<u8>, Flaw> {
        if member.len > read::most(member.role) {
            return Err(read::too_large(member.role, &format!("a member of {} bytes", member.len)));
        }
        let path = &self.shards[entry.shard];
        let mut bytes = vec![0; member.len as usize];
        // Opened for each sample: any number of shards fits the limit on open files.
        let read = File::open(path).and_then(|file| file.read_exact_at(&mut bytes, member.offset));
        read.map_err(|error| Flaw::new("unreadable", format!("cannot read {}: {error}", path.display())))?;
        Ok(bytes)
    }

    /// The captions of a sample that has a picture: those of texts, then those of JSON.
    fn captions_of(&self, entry: &Entry) -> std::result::Result<Vec<String>, Flaw> {
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
            return Err(Flaw::new("no-caption", what));
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Picture;
    use proptest::{collection::vec, prop_assert_eq, proptest};

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
        let most = read::most(Role::Picture);
        header.set_path("a.png").unwrap();
        header.set_size(most + 1);
        header.set_cksum();
        let tail = tar(&[("a.txt", b"x")]);
        let start = BLOCK + (most + 1).next_multiple_of(BLOCK);
        let file = File::create(&path).unwrap();
        file.write_all_at(header.as_bytes(), 0).unwrap();
        file.write_all_at(&tail, start).unwrap();
        let source = WebDataset::open(&[path]).unwrap();
        assert_eq!(source.get(0).unwrap_err().reason, "too-large");
    }

    #[test]
    fn shards_are_found_by_pattern() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(WebDataset::find(folder.path(), "").unwrap_err().exit_code(), 4);
        for name in ["train-b-1.tar", "train-a-0.tar", "val-0.tar", "notes.txt"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let names = |pattern: &str| {
            let found = WebDataset::find(folder.path(), pattern).unwrap();
            found.iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["train-a-0.tar", "train-b-1.tar", "val-0.tar"]);
        assert_eq!(names("train-*.tar"), ["train-a-0.tar", "train-b-1.tar"]);
        assert_eq!(names("*-0*"), ["train-a-0.tar", "val-0.tar"]);
        assert_eq!(names("val-0.tar"), ["val-0.tar"]);
        assert_eq!(names("{val,train-a}-{0..0}.tar"), ["val-0.tar", "train-a-0.tar"]);
        assert_eq!(WebDataset::find(folder.path(), "x*.tar").unwrap_err().exit_code(), 4);
    }

    #[test]
    fn compressed_shards_are_refused_by_name() {
        for (magic, name, program) in PACKED {
            let text = open(&[[magic, &[0; 2000]].concat()]).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(program), "{text}");
        }
    }

    #[test]
    fn of_two_members_of_a_name_the_later_one_counts() {
        let (_folder, source) = open_in(&[tar(&[
            ("a.png", &png(1)),
            ("a.txt", b"first"),
            ("a.jpg", &png(2)),
            ("a.txt", b"second"),
            ("a.PNG", &png(3)),
        ])]);
        let source = source.unwrap();
        assert_eq!(summary(&source), [("a".to_owned(), "3 second".to_owned())]);
        assert_eq!(source.left_out().summary(), "2 replaced, 1 second-picture");
        assert_eq!(source.captions(0).unwrap(), ["second"]);
    }

    #[test]
    fn dots_in_names_are_counted() {
        let dotted: &[(&str, &[u8])] = &[
            ("d/22.05.png", &png(1)),
            ("d/22.05.txt", b"x"),
            ("d/22.06.png", &png(1)),
            ("a.png", &png(2)),
            ("a.txt", b"plain"),
            ("a.seg.png", &png(3)),
            ("a.v2.png", &png(3)),
            ("a.v2.txt", b"lost"),
            ("cafe\u{301}.txt", b"x"),
            ("caf\u{e9}.img", &png(4)),
        ];
        let expected = [
            ("a", "2 plain"),
            ("caf\u{e9}", "4 x"),
            ("a.v2", "dotted-name"),
            ("d/22.05", "dotted-name"),
            ("d/22.06", "dotted-name"),
        ];
        assert_eq!(read_all(&[tar(dotted)]), expected.map(|(key, what)| (key.to_owned(), what.to_owned())));
    }

    #[test]
    fn other_extensions_are_named_and_may_be_chosen() {
        let shard = tar(&[("a.pic", &png(1)), ("a.words", b"x"), ("a.seg.gif", b"")]);
        let folder = tempfile::tempdir().unwrap();
        let path = [folder.path().join("a.tar")];
        std::fs::write(&path[0], shard).unwrap();
        let own = Extensions::new(&["pic".into()], &["words".into()]);
        assert_eq!(summary(&WebDataset::open_as(&path, &own).unwrap())[0].1, "1 x");
        let neither = Extensions::new(&["one".into()], &["two".into()]);
        let text = WebDataset::open_as(&path, &neither).map(|source| summary(&source));
        assert_eq!(text.unwrap(), [("a.seg".to_owned(), "dotted-name".to_owned())]);
        std::fs::write(&path[0], tar(&[("a.pic", &png(1)), ("a.words", b"x")])).unwrap();
        let text = WebDataset::open(&path).unwrap_err().to_string();
        assert!(text.contains("pic, words") && text.contains("png"), "{text}");
    }

    proptest! {
        /// Whatever members a shard holds, each key that has a picture or captions is a sample, and reading never panics.
        #[test]
        fn no_key_vanishes(members in vec(("[ab]{1,2}(\\.[12])?", "(png|txt|json|gif|cls)"), 0..12)) {
            let named: Vec<(String, Vec<u8>)> = members
                .iter()
                .map(|(key, extension)| {
                    let bytes = match extension.as_str() {
                        "png" => png(1),
                        "json" => br#"{"caption": "j"}"#.to_vec(),
                        _ => b"t".to_vec(),
                    };
                    (format!("{key}.{extension}"), bytes)
                })
                .collect();
            let listed: Vec<(&str, &[u8])> = named.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
            let keys: std::collections::BTreeSet<&str> = members
                .iter()
                .filter(|(_, extension)| extension != "cls")
                .map(|(key, _)| key.split('.').next().unwrap())
                .collect();
            let found: std::collections::BTreeSet<String> = match open_in(&[tar(&listed)]) {
                (_folder, Ok(source)) => summary(&source).into_iter().map(|(key, _)| key).collect(),
                (_folder, Err(_)) => Default::default(),
            };
            let firsts: std::collections::BTreeSet<&str> =
                found.iter().map(|key| key.split('.').next().unwrap()).collect();
            prop_assert_eq!(firsts, keys);
        }
    }
}
