//! One writer at a time, and readers who see whether there is one.

use super::create;
use dalle::harness::run_dir::{self, RunDir};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn two_writers_are_refused_and_a_dead_ones_lock_is_taken_over() {
    let results = tempfile::tempdir().unwrap();
    let run = create(results.path());
    let path = run.path().to_owned();
    let error = RunDir::open(&path).unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains(&format!("process {} is writing", std::process::id())), "{error}");
    drop(run);
    // The file of a process that was killed: its number is there, its lock is gone.
    fs::write(path.join("lock"), "999999999\n").unwrap();
    drop(RunDir::open(&path).unwrap());
    assert_eq!(fs::read_to_string(path.join("lock")).unwrap(), format!("{}\n", std::process::id()));
}

/// Between a fork and its exec a child shares every open file; a lock that ends only when the last copy is closed would
/// refuse a run that nobody writes.
#[test]
fn a_run_that_ended_is_free_while_others_start_programs() {
    let results = tempfile::tempdir().unwrap();
    let path = create(results.path()).path().to_owned();
    let busy = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while busy.load(std::sync::atomic::Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        let refused = (0..200).find_map(|_| RunDir::open(&path).err());
        busy.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(refused.is_none(), "{}", refused.unwrap());
    });
}

/// Whoever looks whether a run is written holds its lock for that moment.
#[test]
fn a_run_that_nobody_writes_is_free_while_others_look() {
    let results = tempfile::tempdir().unwrap();
    let path = create(results.path()).path().to_owned();
    let busy = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while busy.load(std::sync::atomic::Ordering::Relaxed) {
                    run_dir::is_written(&path);
                }
            });
        }
        let refused = (0..2000).find_map(|_| run_dir::hold(&path).err());
        busy.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(refused.is_none(), "{}", refused.unwrap());
    });
}

#[test]
fn one_that_was_killed_is_not_said_to_run() {
    let results = tempfile::tempdir().unwrap();
    let run = create(results.path());
    let path = run.path().to_owned();
    let status = |path: &Path| run_dir::status(path, &run_dir::read_run(path).unwrap()["status"]);
    assert_eq!(status(&path), "running");
    drop(run);
    assert_eq!(status(&path), "stopped (no process writes it)");
    assert!(dalle::report::write(&path).is_ok());
    let report = fs::read_to_string(path.join("report.html")).unwrap();
    assert!(report.contains("stopped (no process writes it)") && !report.contains(">running<"));
    RunDir::open(&path).unwrap().finish(0).unwrap();
    assert_eq!(status(&path), "done");
}
