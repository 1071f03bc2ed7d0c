//! Shards of every shape, good and broken.

use super::index::{BLOCK, PACKED};
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
    let expected = [("b", "1 bee|json|more"), ("dir.v1/a", "2 json|more"), (&long_key, "no-picture"), ("b", "3 other")];
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
