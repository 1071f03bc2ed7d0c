//! Specs that extend others: what the whole says, where each value comes from, and what a broken family is told.

use dalle::harness::load::{Loaded, load};
use dalle::{Error, Result};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const BASE: &str = "name: base\npreset: tiny\nseed: 3\ntransformer:\n  steps: 40\n  attention: [row, col]\n  optimizer: {lr: {from: 0.01, to: 0.001}}\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn read(folder: &TempDir, name: &str, sets: &[&str]) -> Result<Loaded> {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    load(folder.path().join(name), &sets, &["tiny", "mini"])
}

#[test]
fn mappings_merge_and_the_rest_is_replaced() {
    let child =
        "extends: base.yaml\nname: child\ntransformer:\n  attention: [conv, row]\n  optimizer: {lr: {to: 0.002}}\n";
    let folder =
        folder(&[("base.yaml", BASE), ("child.yaml", child), ("grandchild.yaml", "extends: child.yaml\nseed: 5\n")]);
    let spec = read(&folder, "grandchild.yaml", &["transformer.steps=50"]).unwrap().spec;
    assert_eq!((spec.name.as_str(), spec.preset.as_str(), spec.seed), ("child", "tiny", 5));
    assert_eq!((spec.transformer.steps, &spec.transformer.attention[..]), (50, &["conv".to_owned(), "row".into()][..]));
    let lr = spec.transformer.optimizer.lr;
    assert_eq!((lr.from, lr.to), (0.01, 0.002));
}

#[test]
fn a_spec_and_its_family_mean_the_same() {
    let folder = folder(&[
        ("base.yaml", BASE),
        ("child.yaml", "extends: base.yaml\nseed: 4\n"),
        ("alone.yaml", &BASE.replace('3', "4")),
    ]);
    let [child, alone] = ["child.yaml", "alone.yaml"].map(|name| read(&folder, name, &[]).unwrap().spec);
    assert_eq!(child, alone);
    assert_eq!(child.hash().unwrap(), alone.hash().unwrap());
}

#[test]
fn a_value_says_where_it_comes_from() {
    let child = "extends: base.yaml\n\ntransformer: {batch: 8}\nclip: {optimizer: {lr: 0.5}}\n";
    let folder = folder(&[("base.yaml", BASE), ("child.yaml", child)]);
    let text = read(&folder, "child.yaml", &["seed=7"]).unwrap().origins().unwrap();
    let origin = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{key}: "))).unwrap();
        let origin = line.split_once("  # ").unwrap().1;
        origin.rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(origin("seed"), "--set seed=7");
    assert_eq!(origin("transformer.steps"), "base.yaml:5");
    assert_eq!(origin("transformer.batch"), "child.yaml:3");
    assert_eq!(origin("transformer.optimizer.lr.from"), "base.yaml:7");
    assert_eq!(origin("clip.optimizer.lr.from"), "child.yaml:4");
    assert_eq!(origin("clip.batch"), "default");
    let told = read(&folder, "child.yaml", &["seed=7"]).unwrap().told_origins().unwrap();
    for line in text.lines() {
        let (value, origin) = line.split_once("  # ").unwrap();
        let (key, value) = value.trim_end().split_once(": ").unwrap();
        assert_eq!((told[key]["value"].to_string().as_str(), &told[key]["where"]), (value, &origin.into()), "{key}");
    }
}

#[test]
fn paths_are_those_of_the_file_that_names_them() {
    let base = "name: base\npreset: tiny\ndata:\n  kind: folder\n  train: [\"pictures/*\", /far/away]\n  validation: {held: [\"../held/*\"]}\n";
    let child = "extends: ../shelf/base.yaml\ndata: {validation: {mine: [\"own/*\"]}}\n";
    let folder =
        folder(&[("shelf/base.yaml", base), ("work/child.yaml", child), ("beside.yaml", "extends: shelf/base.yaml\n")]);
    let data = read(&folder, "work/child.yaml", &[]).unwrap().spec.data;
    let at = |path: &str| folder.path().join("work").join(path);
    let absolute = |path: &str| fs::canonicalize(folder.path()).unwrap().join(path);
    let real = |path: &Path| fs::canonicalize(path.parent().unwrap().parent().unwrap()).unwrap();
    fs::create_dir_all(absolute("shelf/pictures")).unwrap();
    assert_eq!(real(&at(&data.train[0])), absolute("shelf"), "{:?}", data.train);
    assert!(data.train[0].ends_with("shelf/pictures/*"));
    assert_eq!(data.train[1], "/far/away");
    assert_eq!(data.validation["mine"], ["own/*"]);
    let beside = read(&folder, "beside.yaml", &[]).unwrap().spec.data;
    assert_eq!(beside.train[0], "shelf/pictures/*");
    assert_eq!(beside.validation["held"], ["shelf/../held/*"]);
}

/// Files of a family, the first of which is read.
type Family = &'static [(&'static str, &'static str)];

#[test]
fn broken_families() {
    let broken: &[(&str, Family)] = &[
        ("no such parent", &[("a.yaml", "extends: b.yaml\n")]),
        ("a folder", &[("a.yaml", "extends: b\n"), ("b/c.yaml", "")]),
        ("itself", &[("a.yaml", "extends: a.yaml\nname: a\n")]),
        ("itself by another way", &[("a.yaml", "extends: b/../a.yaml\n"), ("b/c.yaml", "")]),
        (
            "a circle",
            &[
                ("a.yaml", "extends: b.yaml\n"),
                ("b.yaml", "extends: c.yaml\n"),
                ("c.yaml", "seed: 3\nextends: b.yaml\n"),
            ],
        ),
        (
            "too many in a row",
            &[
                ("a.yaml", "extends: 1.yaml\n"),
                ("1.yaml", "extends: 2.yaml\n"),
                ("2.yaml", "extends: 3.yaml\n"),
                ("3.yaml", "extends: 4.yaml\n"),
                ("4.yaml", "extends: 5.yaml\n"),
                ("5.yaml", "extends: 6.yaml\n"),
                ("6.yaml", "extends: 7.yaml\n"),
                ("7.yaml", "extends: 8.yaml\n"),
                ("8.yaml", BASE),
            ],
        ),
        ("two parents", &[("a.yaml", "extends: [b.yaml, c.yaml]\n")]),
        ("nothing", &[("a.yaml", "extends:\nname: a\n")]),
        ("empty", &[("a.yaml", "extends: \"\"\n")]),
        ("a number", &[("a.yaml", "extends: 3\n")]),
        ("twice", &[("a.yaml", "extends: b.yaml\nextends: b.yaml\n"), ("b.yaml", BASE)]),
        ("in a section", &[("a.yaml", "name: a\npreset: tiny\nclip:\n  extends: b.yaml\n"), ("b.yaml", BASE)]),
        ("misspelt", &[("a.yaml", "name: a\npreset: tiny\nextend: b.yaml\n"), ("b.yaml", BASE)]),
        ("a parent that is no YAML", &[("a.yaml", "extends: b.yaml\n"), ("b.yaml", "name: [a\n")]),
        ("a parent that is a list", &[("a.yaml", "extends: b.yaml\n"), ("b.yaml", "# specs\n- a\n")]),
        ("a parent that is empty", &[("a.yaml", "extends: b.yaml\n"), ("b.yaml", "")]),
        ("a parent that is a character", &[("a.yaml", "extends: b.yaml\n"), ("b.yaml", "\u{1}")]),
        ("a parent with an anchor", &[("a.yaml", "extends: b.yaml\n"), ("b.yaml", "name: &x a\n")]),
        (
            "an unknown key in the parent",
            &[("a.yaml", "extends: b.yaml\nname: a\n"), ("b.yaml", "preset: tiny\nsede: 3\n")],
        ),
        (
            "a repeated key in the parent",
            &[("a.yaml", "extends: b.yaml\nname: a\n"), ("b.yaml", "preset: tiny\nseed: 3\nseed: 4\n")],
        ),
        (
            "a wrong value in the parent's parent",
            &[
                ("a.yaml", "extends: b.yaml\n"),
                ("b.yaml", "extends: c.yaml\nname: b\n"),
                ("c.yaml", "preset: tiny\nclip:\n  batch: many\n"),
            ],
        ),
        ("a wrong value on top", &[("a.yaml", "extends: b.yaml\ntransformer: {steps: -3}\n"), ("b.yaml", BASE)]),
        ("a section emptied", &[("a.yaml", "extends: b.yaml\ntransformer:\n"), ("b.yaml", BASE)]),
        ("no name anywhere", &[("a.yaml", "extends: b.yaml\nseed: 3\n"), ("b.yaml", "preset: tiny\n")]),
        (
            "values that do not fit together",
            &[
                ("a.yaml", "extends: b.yaml\ntransformer: {accumulate: 3}\n"),
                ("b.yaml", "name: b\npreset: tiny\ntransformer:\n  batch: 8\n"),
            ],
        ),
        (
            "everywhere at once",
            &[
                ("a.yaml", "extends: b.yaml\nsed: 1\nclip: {batch: 1}\n"),
                ("b.yaml", "name: b\npreset: tinny\ntransformer: {stepz: 3}\n"),
            ],
        ),
    ];
    assert!(broken.len() >= 25);
    let mut shown = String::new();
    for (title, files) in broken {
        let folder = folder(files);
        let error =
            read(&folder, "a.yaml", &[]).map(|loaded| panic!("{title}: accepted {:?}", loaded.spec)).unwrap_err();
        assert!(matches!(error, Error::Spec(_)) && error.exit_code() == 2, "{title}: {error}");
        let text = error.to_string().replace(&format!("{}/", folder.path().display()), "");
        assert!(text.contains(".yaml:"), "{title}: {text}");
        shown += &format!("=== {title}\n{text}\n\n");
    }
    insta::assert_snapshot!(shown.trim_end());
}

proptest! {
    /// Keys dealt to any number of generations are the keys of one spec.
    #[test]
    fn however_a_spec_is_dealt_out_it_says_the_same(
        dealt in prop::collection::vec(0usize..4, 6),
        names in Just(["seed: 11", "clip: {batch: 6}", "clip: {steps: 9}", "transformer: {attention: [row, row]}", "text: {vocabulary: 60}", "sample: {top_k: 3}"]),
    ) {
        let generation = |n: usize| {
            let mut keys: Vec<&str> = names.iter().zip(&dealt).filter(|(_, of)| **of == n).map(|(key, _)| *key).collect();
            // Two lines of one section in one file are a repeated key.
            if keys.contains(&names[1]) && keys.contains(&names[2]) {
                keys.retain(|key| *key != names[1] && *key != names[2]);
                keys.push("clip: {batch: 6, steps: 9}");
            }
            let parent = if n == 3 { "name: a\npreset: tiny".to_owned() } else { format!("extends: {}.yaml", n + 1) };
            format!("{parent}\n{}\n", keys.join("\n"))
        };
        let texts: Vec<String> = (0..4).map(generation).collect();
        let files: Vec<(String, &str)> = texts.iter().enumerate().map(|(n, text)| (format!("{n}.yaml"), text.as_str())).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let family = folder(&files);
        let whole = "name: a\npreset: tiny\nseed: 11\nclip: {batch: 6, steps: 9}\ntransformer: {attention: [row, row]}\ntext: {vocabulary: 60}\nsample: {top_k: 3}\n";
        let alone = folder(&[("alone.yaml", whole)]);
        prop_assert_eq!(read(&family, "0.yaml", &[]).unwrap().spec, read(&alone, "alone.yaml", &[]).unwrap().spec);
    }
}
