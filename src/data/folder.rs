//! A folder of pictures, each beside a file of the same stem with its captions: text, one a line, or JSON.

use super::extensions::{Extensions, Role};
use super::{BadSample, Flaw, Sample, Source, Tally, captions, decode, read};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// The pairs of a folder and its subfolders, sorted by path.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    pairs: Vec<(PathBuf, Pair)>,
    left_out: Tally,
}

#[derive(Debug, Default)]
struct Pair {
    picture: Option<PathBuf>,
    /// A picture in a format that is not read.
    unread: Option<PathBuf>,
    captions: BTreeSet<(Role, PathBuf)>,
}

/// How deep subfolders are followed.
const MAX_DEPTH: usize = 32;

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
        listing.finish(root)
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
        listing.finish(root.as_ref())
    }
}

/// A folder while it is listed.
struct Listing<'a> {
    extensions: &'a Extensions,
    pairs: BTreeMap<PathBuf, Pair>,
    left_out: Tally,
    /// Real paths of the folders that were entered: a link may lead back.
    entered: BTreeSet<PathBuf>,
    /// Extensions of the files that are nothing of ours.
    others: BTreeSet<String>,
}

impl<'a> Listing<'a> {
    fn new(extensions: &'a Extensions) -> Self {
        let (pairs, left_out) = (BTreeMap::new(), Tally::default());
        Listing { extensions, pairs, left_out, entered: BTreeSet::new(), others: BTreeSet::new() }
    }

    fn leave_out(&mut self, reason: &'static str, path: &Path, detail: impl Into<String>) {
        self.left_out.add(&Flaw::new(reason, detail).of(&path.to_string_lossy()));
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> Result<()> {
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

    fn file(&mut self, path: &Path) {
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

    fn finish(self, root: &Path) -> Result<Folder> {
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
        Ok(Folder { root: root.to_owned(), pairs: self.pairs.into_iter().collect(), left_out: self.left_out })
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
fn sorted(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut entries = entries.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
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
            Err(flaw) => Err(Flaw::of(flaw, &key)),
        }
    }

    fn captions(&self, index: usize) -> std::result::Result<Vec<String>, BadSample> {
        let (stem, pair) = &self.pairs[index];
        pair.captions().map_err(|flaw| flaw.of(&self.key(stem)))
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

impl Pair {
    fn picture(&self) -> std::result::Result<&Path, Flaw> {
        match (&self.picture, &self.unread) {
            (Some(picture), _) => Ok(picture),
            (None, Some(other)) => {
                Err(Flaw::new("format", format!("expected PNG, JPEG or WebP, got {}", other.display())))
            }
            (None, None) => Err(Flaw::new("no-picture", "expected a picture beside the captions")),
        }
    }

    /// The captions of a pair that has a picture.
    fn captions(&self) -> std::result::Result<Vec<String>, Flaw> {
        self.picture()?;
        let mut lines = Vec::new();
        for (role, path) in &self.captions {
            let bytes = read::read(path, *role)?;
            match role {
                Role::Json => captions::from_json(&bytes, &mut lines),
                _ => captions::from_text(&bytes, &mut lines),
            }
            .map_err(|flaw| Flaw::new(flaw.reason, format!("{}: {}", path.display(), flaw.detail)))?;
        }
        match (lines.is_empty(), self.captions.first()) {
            (false, _) => Ok(lines),
            (true, None) => {
                Err(Flaw::new("no-caption", "expected a file of captions with the same stem (txt or json)"))
            }
            (true, Some((_, path))) => Err(Flaw::new("no-caption", format!("{} holds no caption", path.display()))),
        }
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

    fn summary(source: &Folder) -> Vec<(String, String)> {
        let one = |i| match source.get(i) {
            Ok(sample) => (sample.key, sample.captions.join("|")),
            Err(bad) => (bad.key, bad.reason.to_owned()),
        };
        (0..source.len()).map(one).collect()
    }

    fn png(path: impl AsRef<Path>) {
        Picture { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] }.save_png(path).unwrap();
    }

    #[test]
    fn every_usual_name_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a.PNG", "b.JFIF", "cafe\u{301}.png", "d.img", "e.png", "e.webp", "f.gif", "g.png", "22.05.png"] {
            png(at(name));
        }
        let captions = ["a.TXT", "b.Cap", "caf\u{e9}.txt", "d.caption", "e.txt", "f.txt", "22.05.txt"];
        captions.iter().for_each(|name| std::fs::write(at(name), format!("in {name}")).unwrap());
        std::fs::write(at("g.json"), r#"{"caption": ["one", "two"]}"#).unwrap();
        std::fs::write(at("notes.pdf"), "").unwrap();
        let source = Folder::open(folder.path()).unwrap();
        let expected = [
            ("22.05", "in 22.05.txt"),
            ("a", "in a.TXT"),
            ("b", "in b.Cap"),
            ("caf\u{e9}", "in caf\u{e9}.txt"),
            ("d", "in d.caption"),
            ("e", "in e.txt"),
            ("f", "format"),
            ("g", "one|two"),
        ];
        assert_eq!(summary(&source), expected.map(|(key, what)| (key.to_owned(), what.to_owned())));
        assert_eq!(source.left_out().summary(), "1 second-picture");
        let files = [at("a.PNG"), at("g.json")];
        let named = Folder::of_files(folder.path(), &files, &Extensions::default()).unwrap();
        assert_eq!(summary(&named).len(), 2);
        assert_eq!(summary(&named)[1].1, "one|two");
    }

    #[test]
    fn own_extensions_stand_for_the_usual_ones() {
        let folder = tempfile::tempdir().unwrap();
        png(folder.path().join("a.pic"));
        std::fs::write(folder.path().join("a.en.txt"), "own").unwrap();
        let error = Folder::of_files(folder.path(), &[], &Extensions::default()).unwrap_err().to_string();
        assert!(error.contains("png") && error.contains("txt"), "{error}");
        let extensions = Extensions::new(&["pic".into()], &["en.txt".into()]);
        let source = Folder::open_as(folder.path(), &extensions).unwrap();
        assert_eq!(summary(&source), [("a".to_owned(), "own".to_owned())]);
        std::fs::remove_file(folder.path().join("a.en.txt")).unwrap();
        std::fs::rename(folder.path().join("a.pic"), folder.path().join("a.xyz")).unwrap();
        let error = Folder::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(".xyz"), "{error}");
    }

    #[test]
    fn links_are_followed_once_and_never_in_a_circle() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("train/deep")).unwrap();
        std::fs::create_dir_all(at("elsewhere")).unwrap();
        for name in ["train/deep/a", "elsewhere/b"] {
            png(at(&format!("{name}.png")));
            std::fs::write(at(&format!("{name}.txt")), name).unwrap();
        }
        symlink("../elsewhere", at("train/more")).unwrap();
        symlink("../elsewhere", at("train/again")).unwrap();
        symlink(".", at("train/loop")).unwrap();
        symlink("../elsewhere/b.png", at("train/c.png")).unwrap();
        symlink("../elsewhere/b.txt", at("train/c.txt")).unwrap();
        symlink("nowhere", at("train/gone.png")).unwrap();
        let source = Folder::open(at("train")).unwrap();
        let got = summary(&source);
        let expected =
            [("again/b", "elsewhere/b"), ("c", "elsewhere/b"), ("deep/a", "train/deep/a"), ("gone", "no-caption")];
        assert_eq!(got, expected.map(|(key, what)| (key.to_owned(), what.to_owned())));
        assert_eq!(source.left_out().summary(), "2 folder-twice");
    }

    #[test]
    fn a_subfolder_that_cannot_be_listed_is_left_out_and_said() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        png(folder.path().join("a.png"));
        std::fs::write(folder.path().join("a.txt"), "a").unwrap();
        let closed = folder.path().join("lost+found");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
        if std::fs::read_dir(&closed).is_ok() {
            return; // root may list everything
        }
        let source = Folder::open(folder.path()).unwrap();
        assert_eq!((source.len(), source.left_out().summary().as_str()), (1, "1 unreadable"));
    }

    #[test]
    fn names_that_are_no_unicode_stay_apart() {
        let folder = tempfile::tempdir().unwrap();
        for (i, byte) in [0xfe, 0xff].into_iter().enumerate() {
            let name = |end: &str| folder.path().join(OsStr::from_bytes(&[&[b'a', byte], end.as_bytes()].concat()));
            png(name(".png"));
            std::fs::write(name(".txt"), i.to_string()).unwrap();
        }
        let source = Folder::open(folder.path()).unwrap();
        assert_eq!(summary(&source).into_iter().map(|(_, what)| what).collect::<Vec<_>>(), ["0", "1"]);
    }
}
