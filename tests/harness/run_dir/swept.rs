//! Starts that were killed: what they leave goes, and nothing else does.

use super::create;
use dalle::harness::run_dir::RunDir;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_folder_that_died_before_it_was_a_run_goes_and_others_stay() {
    let results = tempfile::tempdir().unwrap();
    let folder = results.path().join("quick");
    let dead = folder.join("20010101T000000Z-0123456789abcdef");
    let lost = folder.join("20010101T000000Z-0123abcd-2");
    let mine = folder.join("notes");
    for path in [&dead, &lost, &mine] {
        fs::create_dir_all(path.join("checkpoints")).unwrap();
        fs::write(path.join("metrics.jsonl"), "").unwrap();
        fs::write(path.join("run.json.tmp"), "{").unwrap();
        fs::write(path.join("lock"), "999999999\n").unwrap();
    }
    fs::create_dir(lost.join("checkpoints/clip")).unwrap();
    let run = create(results.path());
    assert!(!dead.exists() && lost.exists() && mine.exists());
    // One that is being made is not dead.
    fs::remove_file(run.path().join("run.json")).unwrap();
    drop(create(results.path()));
    assert!(run.path().exists());
    let path = run.path().to_owned();
    drop(run);
    let path = aged(&path);
    let other = create(results.path());
    assert!(!path.exists());
    // A resume looks too.
    fs::create_dir(&dead).unwrap();
    let path = other.path().to_owned();
    drop(other);
    for name in ["report.html.tmp", "images/samples.json.tmp"] {
        fs::write(path.join(name), "<").unwrap();
    }
    drop(RunDir::open(&path).unwrap());
    assert!(!dead.exists() && !path.join("report.html.tmp").exists() && !path.join("images/samples.json.tmp").exists());
}

/// The run under a name of another time, which one that starts now does not take.
fn aged(run: &Path) -> PathBuf {
    let older = run.with_file_name("20010102T000000Z-0123456789abcdef");
    fs::rename(run, &older).unwrap();
    older
}

/// In the order in which a run makes them.
const MADE: [&str; 8] =
    ["lock", "checkpoints", "images", "plots", "spec.yaml", "spec.resolved.yaml", "metrics.jsonl", "run.json"];

#[test]
fn a_start_that_is_killed_before_any_write_leaves_nothing_for_long() {
    for stop in 0..MADE.len() {
        let results = tempfile::tempdir().unwrap();
        let path = create(results.path()).path().to_owned();
        for name in &MADE[stop..] {
            let path = path.join(name);
            if path.is_dir() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), stop, "{MADE:?} are not all that a run makes");
        let path = aged(&path);
        create(results.path());
        assert!(!path.exists(), "killed before {}", MADE[stop]);
    }
}
