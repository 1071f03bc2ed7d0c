//! Run directories and checkpoints under bad weather: killed processes, read-only folders, two writers, torn lines.

mod begun;
mod kept;
mod killed;
mod metrics;
mod swept;
mod writers;

use dalle::harness::load::Loaded;
use dalle::harness::run_dir::{self, RunDir};
use serde_json::Value;
use std::path::Path;

const PRESETS: &[&str] = &["tiny"];
const TEXT: &str = "# a question\nname: quick\npreset: tiny\nseed: 7\n";

fn loaded(folder: &Path) -> Loaded {
    Loaded::parse("a.yaml", TEXT, folder, &[], PRESETS).unwrap()
}

fn create(results: &Path) -> RunDir {
    RunDir::create(results, &loaded(results), &["experiment".to_owned(), "a.yaml".to_owned()]).unwrap()
}

/// The lines without their times.
fn lines(run: &Path) -> Vec<Value> {
    let mut lines = run_dir::metrics_lines(run).unwrap();
    lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("time")));
    lines
}
