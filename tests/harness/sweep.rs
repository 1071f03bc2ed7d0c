//! Sweeps: which specs a file stands for, in which order, and what a broken one is told.

use dalle::harness::sweep::{Frozen, Target, Variant, emit, expand};
use dalle::{Error, Result};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

const HEAD: &str = "name: a\npreset: tiny\n";

fn written(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), text).unwrap();
    fs::write(folder.path().join("base.yaml"), "name: base\npreset: tiny\ntransformer: {steps: 40}\n").unwrap();
    folder
}

fn read(folder: &Path, sets: &[&str]) -> Result<(Vec<Variant>, Option<String>)> {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    expand(folder.join("a.yaml"), &sets, &["tiny", "mini"])
}

fn variants(text: &str) -> Vec<Variant> {
    read(written(text).path(), &[]).unwrap().0
}

fn said(text: &str) -> Vec<String> {
    variants(text).into_iter().map(|variant| variant.said).collect()
}

#[test]
fn parts_multiply_and_the_first_moves_slowest() {
    let text = format!("{HEAD}sweep:\n  grid: {{seed: [0, 1], clip.batch: [4, 8]}}\n");
    assert_eq!(
        said(&text),
        ["seed=0 clip.batch=4", "seed=0 clip.batch=8", "seed=1 clip.batch=4", "seed=1 clip.batch=8"]
    );
    let text = format!(
        "{HEAD}sweep:\n  list: [{{clip.batch: 4}}, {{clip.batch: 8, clip.steps: 9}}]\n  zip: {{seed: [1, 2], transformer.steps: [10, 20]}}\n  without: [{{seed: 1, clip.batch: 8.0}}]\n"
    );
    let found = variants(&text);
    let said: Vec<&str> = found.iter().map(|variant| &variant.said[..]).collect();
    assert_eq!(
        said,
        [
            "clip.batch=4 seed=1 transformer.steps=10",
            "clip.batch=4 seed=2 transformer.steps=20",
            "clip.batch=8 clip.steps=9 seed=2 transformer.steps=20"
        ]
    );
    let last = &found[2].loaded.spec;
    assert_eq!((last.clip.batch, last.clip.steps, last.seed, last.transformer.steps), (8, 9, 2, 20));
    assert_eq!(found[0].loaded.spec.clip.steps, 1000, "left at what the file says");
}

/// A point has the last word: an argument about a swept key would change nothing, in whatever form it says it.
#[test]
fn what_is_swept_cannot_be_set() {
    let folder = written(
        "extends: base.yaml\nname: b\nsweep: {grid: {transformer.steps: [6, 12], transformer.optimizer.lr: [0.1, {from: 0.2}]}}\n",
    );
    for (set, column, key) in [
        ("transformer.steps=5", 19, "transformer.steps"),
        ("transformer={batch: 4, steps: 5}", 31, "transformer.steps"),
        ("transformer={optimizer: {lr: 0.3}}", 30, "transformer.optimizer.lr"),
        ("transformer.optimizer={lr: {from: 0.3}}", 28, "transformer.optimizer.lr"),
    ] {
        let error = read(folder.path(), &[set]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("--set:1:{column}: `{key}` is swept, and cannot be set")), "{set}: {text}");
        assert_eq!(error.exit_code(), 2);
    }
    let below = read(folder.path(), &["transformer.optimizer.lr.from=0.3"]).unwrap_err().to_string();
    assert!(below.contains("`transformer.optimizer.lr` is swept"), "{below}");
    let found = read(folder.path(), &["transformer={batch: 4}", "clip.steps=7"]).unwrap().0;
    assert!(
        found.iter().all(|variant| variant.loaded.spec.transformer.batch == 4 && variant.loaded.spec.clip.steps == 7)
    );
    assert_eq!(found[3].loaded.spec.transformer.steps, 12);
}

#[test]
fn a_sweep_extends_and_is_set_like_any_spec() {
    let folder =
        written("extends: base.yaml\nname: b\nsweep: {grid: {transformer.attention: [[col, row], [row, col]]}}\n");
    let (found, twice) = read(folder.path(), &["seed=9"]).unwrap();
    assert_eq!(twice, None);
    let specs: Vec<_> = found.iter().map(|variant| &variant.loaded.spec).collect();
    assert_eq!(found[1].said, "transformer.attention=[row, col]");
    assert_eq!(
        (specs[1].transformer.steps, specs[1].seed, &specs[1].transformer.attention[..]),
        (40, 9, &["row".to_owned(), "col".into()][..])
    );
    assert!(found[1].loaded.origins().unwrap().contains("a.yaml:3"));
}

#[test]
fn random_points_lie_in_their_ranges_and_are_drawn_again_alike() {
    let range = "transformer.optimizer.lr.from: {log: [1.0e-4, 1.0e-2]}, clip.batch: {range: [4, 6]}";
    let text = |more: &str| format!("{HEAD}sweep: {{random: {{count: 60, seed: 3, of: {{{range}{more}}}}}}}\n");
    let found = variants(&text(""));
    assert_eq!(found.len(), 60);
    let rates: Vec<f64> = found.iter().map(|variant| variant.loaded.spec.transformer.optimizer.lr.from).collect();
    assert!(rates.iter().all(|rate| (1e-4..1e-2).contains(rate)));
    // Half of the points lie below the geometric mean.
    let low = rates.iter().filter(|rate| **rate < 1e-3).count();
    assert!((18..=42).contains(&low), "{low} of 60");
    let mut batches: Vec<usize> = found.iter().map(|variant| variant.loaded.spec.clip.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    assert_eq!(batches, [4, 5, 6]);
    let again = variants(&text(", seed: [1, 2, 3]"));
    let more: Vec<f64> = again.iter().map(|variant| variant.loaded.spec.transformer.optimizer.lr.from).collect();
    assert_eq!(more, rates, "another key moves no value");
}

#[test]
fn points_that_are_drawn_twice_are_run_once_and_it_is_said() {
    let folder = written(&format!("{HEAD}sweep: {{random: {{count: 40, of: {{seed: [1, 2]}}}}}}\n"));
    let (found, said) = read(folder.path(), &[]).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(said.as_deref(), Some("38 points were drawn more than once, and are run once"));
}

#[test]
fn broken_sweeps() {
    let broken: &[(&str, &str)] = &[
        ("a list", "sweep: [{seed: 1}]\n"),
        ("nothing", "sweep:\n"),
        ("no part", "sweep: {}\n"),
        ("unknown part", "sweep:\n  gird: {seed: [1, 2]}\n"),
        ("grid of a number", "sweep: {grid: {seed: 3}}\n"),
        ("grid of nothing", "sweep: {grid: {seed: []}}\n"),
        ("empty grid", "sweep: {grid: {}}\n"),
        ("grid as a list", "sweep: {grid: [seed]}\n"),
        ("a value twice", "sweep: {grid: {seed: [1, 2, 1]}}\n"),
        ("unknown key", "sweep: {grid: {transformer.stepz: [1, 2]}}\n"),
        ("unknown section", "sweep: {grid: {trans.steps: [1, 2]}}\n"),
        ("not a path", "sweep: {grid: {transformer..steps: [1, 2]}}\n"),
        ("wrong type", "sweep: {grid: {clip.batch: [4, many]}}\n"),
        ("out of range", "sweep:\n  grid:\n    seed: [0, 1, 2]\n    clip.batch: [4, 1]\n"),
        ("the name", "sweep: {grid: {name: [a, b]}}\n"),
        ("a sweep", "sweep: {grid: {sweep.grid: [a, b]}}\n"),
        ("a parent", "sweep: {grid: {extends: [base.yaml]}}\n"),
        ("both of a section", "sweep: {grid: {clip: [{batch: 4}], clip.batch: [8]}}\n"),
        ("in two parts", "sweep: {grid: {seed: [1, 2]}, zip: {seed: [3, 4]}}\n"),
        ("zip of two lengths", "sweep: {zip: {seed: [1, 2, 3], clip.batch: [4, 8]}}\n"),
        ("list of numbers", "sweep: {list: [1, 2]}\n"),
        ("empty list", "sweep: {list: []}\n"),
        ("point of nothing", "sweep: {list: [{}]}\n"),
        ("random without count", "sweep: {random: {of: {seed: [1, 2]}}}\n"),
        ("random of nothing", "sweep: {random: {count: 3}}\n"),
        ("count of none", "sweep: {random: {count: 0, of: {seed: [1, 2]}}}\n"),
        ("misspelt count", "sweep: {random: {cont: 3, of: {seed: [1]}}}\n"),
        ("range backwards", "sweep: {random: {count: 3, of: {seed: {range: [5, 2]}}}}\n"),
        ("log of zero", "sweep: {random: {count: 3, of: {transformer.optimizer.lr.from: {log: [0, 1]}}}}\n"),
        ("range of one", "sweep: {random: {count: 3, of: {seed: {range: [5]}}}}\n"),
        ("unknown range", "sweep: {random: {count: 3, of: {seed: {uniform: [1, 5]}}}}\n"),
        ("without what is not swept", "sweep: {grid: {seed: [1, 2]}, without: [{sed: 1}]}\n"),
        ("without what there is not", "sweep: {grid: {seed: [1, 2]}, without: [{seed: 3}]}\n"),
        ("without anything", "sweep: {grid: {seed: [1, 2]}, without: [{seed: 1}, {seed: 2}]}\n"),
        (
            "too many",
            "sweep: {random: {count: 100000, of: {seed: {range: [0, 1000000]}}}, grid: {clip.batch: [4, 8]}}\n",
        ),
        ("wrong beside the sweep", "clip: {batch: 1}\nsweep: {grid: {seed: [1, 2]}}\n"),
        ("everything at once", "sed: 3\nsweep:\n  grid: {clip.batch: [1, 4], seed: [0, x]}\n  without: [{seed: 5}]\n"),
    ];
    assert!(broken.len() >= 25);
    let mut shown = String::new();
    for (title, text) in broken {
        let folder = written(&format!("{HEAD}{text}"));
        let error =
            read(folder.path(), &[]).map(|(found, _)| panic!("{title}: accepted {} specs", found.len())).unwrap_err();
        assert!(matches!(error, Error::Spec(_)), "{title}: {error}");
        let text = error.to_string().replace(&format!("{}/", folder.path().display()), "");
        assert!(text.starts_with("a.yaml:"), "{title}: {text}");
        shown += &format!("=== {title}\n{text}\n\n");
    }
    insta::assert_snapshot!(shown.trim_end());
}

#[test]
fn what_is_frozen_stays() {
    let folder = written(&format!("{HEAD}sweep: {{grid: {{seed: [0, 1, 2]}}}}\n"));
    let results = folder.path().join("results");
    let (found, _) = read(folder.path(), &[]).unwrap();
    let frozen = Frozen::make(&results, &found).unwrap();
    assert_eq!(Frozen::make(&results, &found).unwrap().path, frozen.path);
    fs::write(folder.path().join("a.yaml"), format!("{HEAD}sweep: {{grid: {{seed: [5]}}}}\n")).unwrap();
    let open = Frozen::open(&frozen.path).unwrap().unwrap();
    assert_eq!((open.name.as_str(), open.rows.len()), ("a", 3));
    assert_eq!(open.spec(2, &["tiny"]).unwrap().spec, found[2].loaded.spec);
    assert!(open.spec(3, &["tiny"]).unwrap_err().to_string().contains("expected one from 0 to 2"));
    let (other, _) = read(folder.path(), &[]).unwrap();
    assert_ne!(Frozen::make(&results, &other).unwrap().path, frozen.path);
    assert!(Frozen::open(&results).unwrap().is_none());
    // Whoever edits a frozen spec is told.
    let file = frozen.path.join("0001.yaml");
    let text = fs::read_to_string(&file).unwrap().replace("seed: 1\n", "seed: 7\n");
    fs::write(&file, text).unwrap();
    assert!(open.spec(1, &["tiny"]).unwrap_err().to_string().contains("0001.yaml: expected the spec"));
    fs::write(frozen.path.join("index.tsv"), "index\n").unwrap();
    assert_eq!(Frozen::open(&frozen.path).unwrap_err().exit_code(), 4);
}

#[test]
fn jobs_for_clusters() {
    let folder = written(&format!("{HEAD}sweep: {{grid: {{seed: [0, 1, 2]}}}}\n"));
    let frozen = Frozen::make(folder.path().join("results"), &read(folder.path(), &[]).unwrap().0).unwrap();
    let arguments = ["--out".to_owned(), "/data/my results".into(), "--threads".into(), "4".into()];
    let mut shown = String::new();
    for target in [Target::Slurm, Target::Kubernetes, Target::Shell] {
        let text = emit(target, &frozen, Path::new("/opt/dalle/experiment"), &arguments, 2);
        if target == Target::Kubernetes {
            let job: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
            assert_eq!((&job["kind"], job["spec"]["completions"].as_u64()), (&"Job".into(), Some(3)));
        }
        shown += &format!(
            "=== {target:?}\n{}\n",
            text.replace(&frozen.path.display().to_string(), "/data/results/a/sweeps/HASH")
        );
    }
    insta::assert_snapshot!(shown.trim_end());
}

/// The figure: 10,000 specs in 5 s. In a debug build, or beside other work, nothing is asked of it.
#[test]
#[ignore = "a measurement"]
fn ten_thousand_specs() {
    let text = format!(
        "{HEAD}sweep: {{random: {{count: 10000, of: {{seed: {{range: [0, 1000000000]}}, transformer.optimizer.lr.from: {{log: [1.0e-4, 1.0e-2]}}}}}}}}\n"
    );
    let folder = written(&text);
    let started = Instant::now();
    let (found, _) = read(folder.path(), &[]).unwrap();
    println!("{} specs in {:.2} s", found.len(), started.elapsed().as_secs_f64());
    let started = Instant::now();
    Frozen::make(folder.path().join("results"), &found).unwrap();
    println!("frozen in {:.2} s", started.elapsed().as_secs_f64());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A grid is the product of its lists, without what is left out, in one order.
    #[test]
    fn a_grid_is_a_product_without_some(
        seeds in prop::collection::btree_set(0u64..50, 1..5),
        batches in prop::collection::btree_set(2usize..50, 1..5),
        steps in prop::collection::btree_set(1u64..50, 1..4),
        out in any::<prop::sample::Index>(),
    ) {
        let all: Vec<(u64, usize, u64)> = seeds
            .iter()
            .flat_map(|&seed| batches.iter().flat_map(move |&batch| [(seed, batch)]))
            .flat_map(|(seed, batch)| steps.iter().map(move |&steps| (seed, batch, steps)))
            .collect();
        let gone = out.get(&all);
        let list = |values: String| values.trim_matches(['{', '}']).to_owned();
        let text = format!(
            "{HEAD}sweep:\n  grid:\n    seed: [{}]\n    clip.batch: [{}]\n    clip.steps: [{}]\n  without: [{{seed: {}, clip.batch: {}, clip.steps: {}}}]\n",
            list(format!("{seeds:?}")), list(format!("{batches:?}")), list(format!("{steps:?}")), gone.0, gone.1, gone.2,
        );
        prop_assume!(all.len() > 1);
        let found: Vec<(u64, usize, u64)> =
            variants(&text).iter().map(|variant| (variant.loaded.spec.seed, variant.loaded.spec.clip.batch, variant.loaded.spec.clip.steps)).collect();
        let expected: Vec<_> = all.iter().filter(|point| *point != gone).copied().collect();
        prop_assert_eq!(found, expected);
    }
}
