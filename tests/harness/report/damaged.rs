//! Runs that grow, lie, are damaged or far too large.

use super::finished::{facts, finished_run};
use super::{HOSTILE, SECTIONS, report};
use dalle::Error;
use dalle::data::Picture;
use dalle::random::Rng;
use dalle::report::grid::png;
use dalle::report::summary::summary;
use dalle::report::write;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;

#[test]
fn a_run_that_nobody_writes_is_not_said_to_be_running() {
    let run = tempfile::tempdir().unwrap();
    let status = "stopped (no process writes it)";
    fs::write(run.path().join("run.json"), json!({"name": "killed", "status": status}).to_string()).unwrap();
    let html = report(run.path());
    assert!(
        html.contains(&format!("<span class=\"status stopped\">{status}</span>")) && html.contains("--resume goes on")
    );
}

#[test]
fn captions_names_and_keys_cannot_break_out() {
    let run = tempfile::tempdir().unwrap();
    finished_run(run.path());
    let mut facts = facts(HOSTILE);
    for key in ["name", "preset", "cpu", "started", "error"] {
        facts[key] = json!(HOSTILE);
    }
    facts["results"][HOSTILE] = json!({HOSTILE: HOSTILE, "x": {"value": 1}});
    facts["results"]["attribute_accuracy"][HOSTILE] = json!({HOSTILE: 0.5});
    facts["timings"][HOSTILE] = json!(3);
    facts["warnings"] = json!([{"stage": HOSTILE, "kind": HOSTILE, "text": HOSTILE}, 7]);
    facts["samples"] = json!({HOSTILE: {"seen": 3, "broken": {HOSTILE: 1}}});
    facts["bad_samples"] = json!({HOSTILE: {"by_reason": {HOSTILE: 1}, "examples": {HOSTILE: HOSTILE}}});
    facts["data"] = json!({HOSTILE: {HOSTILE: HOSTILE}});
    facts["kept"] = json!({HOSTILE: {"step": 1, "metric": HOSTILE}});
    facts["results"]["elbo_<b>"] = json!({HOSTILE: HOSTILE});
    facts["results"]["zero_shot"] = json!({HOSTILE: 0.5});
    fs::write(run.path().join("run.json"), facts.to_string()).unwrap();
    let line = json!({"stage": HOSTILE, "step": 1, HOSTILE: 2.0});
    fs::write(run.path().join("metrics.jsonl"), format!("{line}\n")).unwrap();
    let masks = json!({"text": 1, "grid": 1, "layers": [HOSTILE], "patterns": {HOSTILE: ["10", "11"], "x<script>": ["1"], "y": ["2"]}});
    fs::write(run.path().join("masks.json"), masks.to_string()).unwrap();
    let bad = json!([{"caption": HOSTILE, "split": HOSTILE, "real": "../real.png", "candidates": [{"file": HOSTILE}, {"file": "../../secret.png"}, {"file": "/etc/hostname"}]}]);
    fs::write(run.path().join("images/samples.json"), bad.to_string()).unwrap();
    let html = report(run.path());
    assert!(!html.contains("<script") && !html.contains("<img src=x"), "a tag from outside");
    assert_eq!(html.matches("</style>").count(), 1);
    assert!(html.contains("a &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot;circle&quot; &amp;"));
    assert_eq!(html.matches("lies outside the run directory\" title").count(), 3);
    assert!(!summary(run.path()).unwrap().is_empty());
}

#[test]
fn a_growing_run_says_what_is_still_missing() {
    let run = tempfile::tempdir().unwrap();
    fs::write(run.path().join("run.json"), json!({"name": "early", "status": "running"}).to_string()).unwrap();
    fs::write(
        run.path().join("metrics.jsonl"),
        "{\"stage\":\"dvae\",\"step\":40,\"loss\":2.5}\nbroken\n{\"stage\":\"dva",
    )
    .unwrap();
    let html = report(run.path());
    for section in SECTIONS {
        assert!(html.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    assert!(html.contains("<span class=\"status running\">running</span>") && html.contains("Discrete VAE at step 40"));
    assert!(html.contains("<code>metrics.jsonl</code>: 1 line that is not"));
    for file in ["spec.yaml", "spec.resolved.yaml", "images/samples.json", "images/reconstructions.json", "masks.json"]
    {
        assert!(html.contains(&format!("<code>{file}</code>: not written")), "{file}");
    }
    fs::write(run.path().join("masks.json"), "{\"text\": 3").unwrap();
    assert!(report(run.path()).contains("<code>masks.json</code>: cannot be read"));
}

#[test]
fn a_folder_without_a_readable_run_json_is_refused() {
    let run = tempfile::tempdir().unwrap();
    assert!(matches!(write(run.path()), Err(Error::Data { .. })));
    assert!(matches!(write(&run.path().join("nowhere")), Err(Error::Data { .. })));
    fs::write(run.path().join("run.json"), "[1, 2]").unwrap();
    let error = write(run.path()).unwrap_err();
    assert!(matches!(error, Error::Data { .. }) && error.to_string().contains("expected a JSON object"), "{error}");
    assert!(!run.path().join("report.html").exists());
}

#[test]
fn long_runs_and_large_pictures_stay_small() {
    let run = tempfile::tempdir().unwrap();
    finished_run(run.path());
    let mut lines = String::new();
    for step in 0..50_000 {
        writeln!(
            lines,
            "{{\"stage\":\"dvae\",\"step\":{step},\"loss\":{},\"nll\":{}}}",
            (step * 7919) % 1013,
            step % 97
        )
        .unwrap();
    }
    for key in 0..200 {
        writeln!(lines, "{{\"stage\":\"dvae\",\"step\":50000,\"layer_{key}\":1}}").unwrap();
    }
    fs::write(run.path().join("metrics.jsonl"), lines).unwrap();
    let mut facts = facts("done");
    facts["warnings"] =
        (0..500).map(|at| json!({"stage": "dvae", "kind": "few-codes", "text": at.to_string()})).collect();
    fs::write(run.path().join("run.json"), facts.to_string()).unwrap();
    let noise: Vec<u8> = (0..3 * 256 * 256)
        .map({
            let mut rng = Rng::new(9, "noise", 0, 0);
            move |_| rng.bits() as u8
        })
        .collect();
    let large = png(&Picture { width: 256, height: 256, rgb: noise }).unwrap();
    fs::write(run.path().join("images/large.png"), large).unwrap();
    let row: Vec<Value> = (0..512).map(|_| json!({"file": "images/large.png", "similarity": 1.0})).collect();
    let many: Vec<Value> = (0..300).map(|_| json!({"caption": "much", "candidates": row})).collect();
    fs::write(run.path().join("images/samples.json"), json!(many).to_string()).unwrap();
    let html = report(run.path());
    assert!(html.len() < 4_000_000, "{} bytes", html.len());
    assert!(
        html.contains("24 of 300 captions are shown")
            && html.contains("8 of 512 are shown")
            && html.contains("Warnings (500)")
            && html.contains("480 more are in run.json")
            && html.contains("left out to keep the report small")
    );
}
