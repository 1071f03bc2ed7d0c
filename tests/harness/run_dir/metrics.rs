//! Lines of metrics: torn, rewound, and kept to the byte.

use super::{create, lines};
use dalle::harness::run_dir::{self, RunDir};
use serde_json::json;
use std::fs;

#[test]
fn metrics_are_one_line_each_and_time_goes_on_over_sessions() {
    let results = tempfile::tempdir().unwrap();
    let mut run = create(results.path());
    let path = run.path().to_owned();
    run.metrics("clip", 1, &[("loss", 0.5), ("accuracy", f64::NAN), ("scale", f64::INFINITY)]).unwrap();
    assert_eq!(lines(&path), [json!({"stage": "clip", "step": 1, "loss": 0.5, "accuracy": null, "scale": null})]);
    drop(run);
    let metrics = path.join("metrics.jsonl");
    // A session that ran for an hour and died in the middle of a line.
    let torn = "{\"stage\":\"clip\",\"step\":2,\"time\":3600.0}\n{\"stage\":\"clip\",\"st";
    fs::write(&metrics, torn).unwrap();
    let mut run = RunDir::open(&path).unwrap();
    let said = run.run()["warnings"][0]["text"].as_str().unwrap().to_owned();
    assert!(said.contains("line 2, the last, is cut short"), "{said}");
    run.metrics("clip", 3, &[]).unwrap();
    let text = fs::read_to_string(&metrics).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    let time = run_dir::metrics_lines(&path).unwrap()[1]["time"].as_f64().unwrap();
    assert!((3600.0..3700.0).contains(&time), "{time}");
}

#[test]
fn resuming_drops_the_lines_after_the_step_and_appends_after_them() {
    let results = tempfile::tempdir().unwrap();
    let mut run = create(results.path());
    for step in [10, 20, 30] {
        run.metrics("first_stage", step, &[]).unwrap();
    }
    for step in [10, 20, 30] {
        run.metrics("transformer", step, &[("loss", step as f64)]).unwrap();
    }
    run.rewind("transformer", 20).unwrap();
    run.metrics("transformer", 30, &[("loss", 99.0)]).unwrap();
    let found: Vec<(String, u64)> = lines(run.path())
        .iter()
        .map(|line| (line["stage"].as_str().unwrap().to_owned(), line["step"].as_u64().unwrap()))
        .collect();
    let stages = ["first_stage", "transformer"].map(|stage| [10, 20, 30].map(|step| (stage.to_owned(), step)));
    assert_eq!(found, stages.concat());
    assert_eq!(lines(run.path())[5]["loss"], 99.0);
}

#[test]
fn metrics_keep_their_bytes() {
    let results = tempfile::tempdir().unwrap();
    let path = create(results.path()).path().to_owned();
    let metrics = path.join("metrics.jsonl");
    // Digits, blanks and an order of keys that nothing here would write; and what is no line of ours.
    let kept = "{\"stage\": \"clip\", \"step\": 1, \"loss\": 0.10000000000000000555, \"time\":1.50}\ngarbage {\n";
    let dropped = "{\"step\":9,\"stage\":\"clip\"}\n";
    fs::write(&metrics, format!("{kept}{dropped}{kept}{{\"stage\":\"cl")).unwrap();
    let mut run = RunDir::open(&path).unwrap();
    assert_eq!(fs::read_to_string(&metrics).unwrap(), format!("{kept}{dropped}{kept}"));
    run.rewind("clip", 5).unwrap();
    assert_eq!(fs::read_to_string(&metrics).unwrap(), format!("{kept}{kept}"));
    let warnings = run.run()["warnings"].to_string();
    assert!(warnings.contains("metrics-damaged") && warnings.contains("no JSON: 2, the first is line 2"), "{warnings}");
    drop(run);
    fs::remove_file(&metrics).unwrap();
    let run = RunDir::open(&path).unwrap();
    assert!(run.run()["warnings"].to_string().contains("metrics-lost"), "{}", run.run());
}
