//! Folders of every shape: names, links, flaws.

use super::*;
use crate::data::Picture;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

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
    let texts =
        [("a.txt", "one\ntwo\n"), ("blank.txt", " \n"), ("deep/z.v2.txt", "deep"), ("lost.txt", "x"), ("bad.txt", "x")];
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
