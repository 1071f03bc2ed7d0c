//! A run for TensorBoard and as tables: what readers come to know, whatever happened to the run and to the files.

use crate::tfevents::{read, records};
use dalle::export::{Board, tables};
use dalle::harness::load::Loaded;
use dalle::harness::run_dir::RunDir;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A run in a folder of its own.
fn begun() -> (TempDir, RunDir) {
    let folder = tempfile::tempdir().unwrap();
    let loaded = Loaded::parse("a.yaml", "{name: a, preset: tiny}", folder.path(), &[], &["tiny"]).unwrap();
    let run = RunDir::create(folder.path().join("results"), &loaded, &[]).unwrap();
    (folder, run)
}

/// Lines of a stage after steps 10, 20…, the figure of each `factor` times its step.
fn train(run: &mut RunDir, stage: &str, (from, to): (u64, u64), factor: f64) {
    for step in (from..=to).step_by(10) {
        run.metrics(stage, step, &[("loss", step as f64 * factor), ("bad", f64::NAN)]).unwrap();
    }
}

fn board(folder: &TempDir, run: &RunDir) -> Board {
    Board::open(run.path(), &folder.path().join("logs")).unwrap()
}

fn files(board: &Board, stage: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(board.folder().join(stage)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

fn loss(board: &Board, stage: &str) -> Vec<(u64, f64)> {
    read(&board.folder().join(stage)).remove(&format!("{stage}/loss")).unwrap()
}

fn line(steps: impl Iterator<Item = u64>, factor: f64) -> Vec<(u64, f64)> {
    steps.map(|step| (step, step as f64 * factor)).collect()
}

#[test]
fn each_measurement_is_told_once() {
    let (folder, mut run) = begun();
    train(&mut run, "dvae", (10, 30), 1.0);
    let mut first = board(&folder, &run);
    first.update().unwrap();
    assert_eq!(loss(&first, "dvae"), line((10..=30).step_by(10), 1.0));
    assert!(read(&first.folder().join("dvae"))["dvae/bad"][0].1.is_nan());
    train(&mut run, "dvae", (40, 60), 1.0);
    train(&mut run, "clip", (10, 20), 0.5);
    first.update().unwrap();
    first.update().unwrap();
    assert_eq!(loss(&first, "dvae"), line((10..=60).step_by(10), 1.0));
    assert_eq!(loss(&first, "clip"), line((10..=20).step_by(10), 0.5));
    // Settings are in the run's own folder.
    assert!(read(first.folder()).contains_key("_hparams_/session_start_info"));

    // Another export, of the same: nothing is written twice. Of more: the rest is appended.
    let told = fs::read(&files(&first, "dvae")[0]).unwrap();
    board(&folder, &run).update().unwrap();
    assert_eq!((files(&first, "dvae").len(), fs::read(&files(&first, "dvae")[0]).unwrap()), (1, told.clone()));
    train(&mut run, "dvae", (70, 70), 1.0);
    board(&folder, &run).update().unwrap();
    assert!(fs::read(&files(&first, "dvae")[0]).unwrap().starts_with(&told));
    assert_eq!(loss(&first, "dvae"), line((10..=70).step_by(10), 1.0));
}

#[test]
fn a_resumed_run_has_one_line_whoever_watched_it() {
    let (folder, mut run) = begun();
    train(&mut run, "dvae", (10, 100), 1.0);
    let (mut through, mut before) = (board(&folder, &run), board(&folder, &run));
    through.update().unwrap();
    before.update().unwrap();
    // Killed; gone on with from the checkpoint of step 60.
    let path = run.path().to_owned();
    drop(run);
    let mut run = RunDir::open(&path).unwrap();
    run.rewind("dvae", 60).unwrap();
    train(&mut run, "dvae", (70, 80), -1.0);
    let expected = [line((10..=60).step_by(10), 1.0), line((70..=80).step_by(10), -1.0)].concat();
    through.update().unwrap();
    assert_eq!(loss(&through, "dvae"), expected, "the one that went on watching");
    assert_eq!(files(&through, "dvae").len(), 1);
    let mut after = board(&folder, &run);
    after.update().unwrap();
    assert_eq!(loss(&after, "dvae"), expected, "one that came later, beside what the first had written");
    assert_eq!(files(&after, "dvae").len(), 2);
    train(&mut run, "dvae", (90, 120), -1.0);
    after.update().unwrap();
    let steps: Vec<u64> = loss(&after, "dvae").iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, (10..=120).step_by(10).collect::<Vec<_>>());
}

#[test]
fn torn_ends_are_waited_for_and_made_whole() {
    let (folder, mut run) = begun();
    train(&mut run, "dvae", (10, 20), 1.0);
    let mut all = board(&folder, &run);
    all.update().unwrap();
    let path = files(&all, "dvae").remove(0);
    let whole = fs::read(&path).unwrap();
    let count = records(&whole).len();
    assert_eq!(count, 2 + 2 * 2);
    for length in 0..whole.len() {
        assert!(records(&whole[..length]).len() < count);
    }
    // A writer that was killed: the next one writes the rest.
    for length in [0, 5, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        board(&folder, &run).update().unwrap();
        assert_eq!((files(&all, "dvae").len(), fs::read(&path).unwrap()), (1, whole.clone()));
    }
    // One that was damaged is left, and superseded.
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    fs::write(&path, &damaged[..whole.len() - 3]).unwrap();
    board(&folder, &run).update().unwrap();
    assert_eq!(fs::read(&files(&all, "dvae")[1]).unwrap(), whole);
    // A half line of metrics waits for its end.
    let mut metrics = fs::OpenOptions::new().append(true).open(run.path().join("metrics.jsonl")).unwrap();
    metrics.write_all(br#"{"stage":"clip","step":10,"time":1,"lo"#).unwrap();
    all.update().unwrap();
    assert!(!all.folder().join("clip").exists());
    metrics.write_all(b"ss\":2.5}\nnothing\n").unwrap();
    all.update().unwrap();
    assert_eq!(loss(&all, "clip"), [(10, 2.5)]);
}

#[test]
fn what_is_no_run_is_refused() {
    let (folder, run) = begun();
    let open = |path: &Path| Board::open(path, &folder.path().join("logs")).err().unwrap();
    assert_eq!(open(&folder.path().join("nowhere")).exit_code(), 4);
    let facts = run.path().join("run.json");
    let text = fs::read_to_string(&facts).unwrap();
    fs::write(&facts, text.replacen("\"started\": \"2", "\"started\": \"x", 1)).unwrap();
    let error = open(run.path()).to_string();
    assert!(error.contains("run.json: started: expected a time, got \"x"), "{error}");
}

#[test]
fn tables_have_a_row_for_each_figure() {
    let (folder, mut run) = begun();
    run.update(|facts| {
        facts["results"] = serde_json::json!({
            "elbo_validation": {"psnr": 21.5, "nll": null},
            "zero_shot": {"seen, \"so\"": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}},
            "rerank_curve": {"n": [1, 2], "similarity": [{"value": 3.5, "n": 4}, 4]},
        });
    })
    .unwrap();
    let lines = [
        r#"{"stage":"dvae","step":1,"time":0.25,"loss":0.1,"lr":1e-7,"bad":null}"#,
        "nothing",
        r#"{"stage":"clip","step":11,"time":3,"loss":2}"#,
    ];
    fs::write(run.path().join("metrics.jsonl"), lines.join("\n") + "\n" + r#"{"stage":"clip","st"#).unwrap();
    let named = folder.path().join("results/a/mine");
    fs::rename(run.path(), &named).unwrap();
    let written = tables(std::slice::from_ref(&named), &folder.path().join("tables")).unwrap();
    let again = tables(&[named], &folder.path().join("tables")).unwrap_err();
    assert_eq!(again.exit_code(), 2);
    assert!(
        again.to_string().ends_with("tables/metrics.csv is there already: remove it, or name another folder"),
        "{again}"
    );
    let read = |at: usize| fs::read_to_string(&written[at]).unwrap();
    assert_eq!(
        read(0),
        "run,stage,step,time,quantity,value\n\
         a/mine,dvae,1,0.25,loss,0.1\n\
         a/mine,dvae,1,0.25,lr,0.0000001\n\
         a/mine,dvae,1,0.25,bad,\n\
         a/mine,clip,11,3,loss,2\n"
    );
    assert_eq!(
        read(1),
        "run,quantity,value,low,high,n\n\
         a/mine,elbo_validation.psnr,21.5,,,\n\
         a/mine,\"zero_shot.seen, \"\"so\"\"\",0.5,0.25,0.75,8\n\
         a/mine,rerank_curve.n.0,1,,,\n\
         a/mine,rerank_curve.n.1,2,,,\n\
         a/mine,rerank_curve.similarity.0,3.5,,,4\n\
         a/mine,rerank_curve.similarity.1,4,,,\n"
    );
    let settings = read(2);
    for row in ["run,key,value", "a/mine,name,a", "a/mine,transformer.steps,", "a/mine,sample.candidates,"] {
        assert!(settings.contains(row), "{row}: {settings}");
    }
    assert_eq!(tables(&[folder.path().join("none")], folder.path()).unwrap_err().exit_code(), 4);
}
