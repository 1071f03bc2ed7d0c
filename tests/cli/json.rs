//! `--json`: one document on standard output, whatever the verb.

use crate::support::{Place, png};
use serde_json::Value;

/// What a verb says, which must be one document.
fn document(place: &Place, arguments: &[&str]) -> Value {
    let said = place.experiment(&[arguments, &["--json"]].concat());
    assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said.stdout))
}

#[test]
fn every_verb_says_one_document() {
    let place = Place::with_spec().write("a.png", png(16, 16, 0)).write("b.png", png(16, 16, 90));
    let place = place.write("sweep.yaml", "extends: tiny.yaml\nname: swept\nsweep: {grid: {clip.steps: [6, 12]}}\n");
    let done = document(&place, &["tiny.yaml"]);
    assert_eq!(done["status"], "done");
    assert!(done["results"]["elbo_validation"]["psnr"].is_number() && done["report"].is_string(), "{done}");
    let run = "results/tiny";
    let said = |arguments: &[&str]| document(&place, arguments);
    assert_eq!(said(&["tiny.yaml", "--dry-run"])["clip"]["steps"], 12);
    let origins = said(&["tiny.yaml", "--dry-run", "--where", "--set", "seed=3"]);
    assert_eq!(origins["seed"], serde_json::json!({"value": 3, "where": "--set seed=3"}));
    assert_eq!(origins["clip.steps"], serde_json::json!({"value": 12, "where": "tiny.yaml:6"}));
    assert_eq!(origins["clip.max_scale"]["where"], "default");
    assert_eq!(said(&["list"])[0]["status"], "done");
    assert_eq!(said(&["show", run])["name"], "tiny");
    assert_eq!(said(&["tag", run, "good"]), serde_json::json!(["good"]));
    assert_eq!(said(&["compare", run])["groups"][0]["letter"], "A");
    assert_eq!(said(&["prune"])["freed"], false);
    let checked = said(&["check", "tiny.yaml", "sweep.yaml"]);
    assert_eq!((&checked[0]["file"], &checked[1]["specs"]), (&"tiny.yaml".into(), &2.into()));
    assert_eq!(said(&["explain", "clip.steps"])["schema"]["type"], "integer");
    assert_eq!(said(&["explain", "first_stage"])["key"], "first_stage");
    assert!(said(&["explain"])["properties"]["clip"].is_object());
    assert_eq!(said(&["plan", "tiny.yaml"])["stages"][0]["name"], "dvae");
    let planned = said(&["sweep", "sweep.yaml", "--dry-run"]);
    assert_eq!(
        (&planned["specs"][0]["plan"]["name"], &planned["specs"][1]["says"]),
        (&"swept".into(), &"clip.steps=12".into())
    );
    assert_eq!((&planned["stages"], &planned["trained"]), (&6.into(), &4.into()));
    assert!(said(&["sweep", "sweep.yaml", "--emit", "sh"])["script"].as_str().unwrap().starts_with("#!"));
    assert_eq!(said(&["sweep", "sweep.yaml"])["ran"], 2);
    assert_eq!(said(&["sweep", "sweep.yaml", "--index", "1"])["status"], "done");
    let sampled = said(&["sample", run, "--caption", "a red circle", "--n", "2"]);
    assert_eq!(sampled["captions"][0]["pictures"].as_array().unwrap().len(), 2);
    let (one, two) = (["rerank", run, "--caption", "a", "a.png", "b.png"], ["--caption", "b"]);
    assert!(said(&one)[0]["captions"][0]["similarity"].is_number());
    assert!(said(&[&one[..], &two].concat())[1]["captions"][1]["probability"].is_number());
    assert_eq!(said(&["masks", "--text", "6", "--grid", "4", "--kernel", "3", "--out", "masks"])[0]["pairs"], 253);
    assert_eq!(said(&["report", run])["status"], "done");
    assert!(said(&["eval", run, "--pairs", "4"])["evaluation"]["sets"]["validation"]["psnr"].is_object());
    assert_eq!(said(&["data", "shapes", "--out", "sheet"])["captions"].as_array().unwrap().len(), 48);
    assert_eq!(said(&["data", "shapes", "--count", "3", "--out", "folder"])["pairs"], 3);
    let weights = format!("{}/checkpoints/clip/step-12/model.safetensors", place.run().display());
    assert!(said(&["inspect", &weights])["tensors"][0]["shape"].is_array());
    assert_eq!(said(&["import", "torch", &weights, "--out", "all.safetensors"])["file"], "all.safetensors");
    // Tokens are JSON as they are.
    let tokens = place.experiment(&["encode", run, "a.png", "--out", "tokens.json"]);
    assert!(tokens.done().is_empty());
    assert_eq!(said(&["decode", run, "tokens.json"])["picture"], "decoded.png");
    assert_eq!(said(&["encode", run, "a.png", "--out", "tokens.json"])["tokens"], "tokens.json");
    assert_eq!(said(&["encode", run, "a.png"])["height"], 4);
    assert_eq!(said(&["schema"]), said(&["explain"]));
    // What was written, and where.
    let folder = format!("logs/tiny/{}", place.run().file_name().unwrap().to_str().unwrap());
    assert_eq!(said(&["export", "tensorboard", run, "--out", "logs"]), serde_json::json!({"folders": [folder]}));
    let tables = ["metrics.csv", "results.csv", "settings.csv"].map(|name| format!("tables/{name}"));
    assert_eq!(said(&["export", "csv", run, "--out", "tables"]), serde_json::json!({"files": tables}));
    let model = said(&["export", "model", run, "--out", "model"]);
    let steps: Vec<&str> = model["steps"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((&model["folder"], steps), (&"model".into(), vec!["dvae", "transformer", "clip"]));
    assert!(said(&["completions", "zsh"])["script"].as_str().unwrap().starts_with("#compdef experiment"));
    assert!(said(&["man"])["page"].as_str().unwrap().contains(".TH experiment 1"));
    assert!(said(&["man", "--out", "man"])["files"].as_array().unwrap().contains(&"man/experiment.1".into()));
    let selftest = said(&["selftest"]);
    assert_eq!((&selftest["failed"], selftest["checks"][0]["limit"].is_number()), (&0.into(), true));
    // An error is a line on standard error, and of `check` in the document too.
    let wrong = place.experiment(&["check", "missing.yaml", "--json"]);
    wrong.failed(2, "missing.yaml");
    assert!(
        serde_json::from_str::<Value>(&wrong.stdout).unwrap()[0]["error"].as_str().unwrap().contains("missing.yaml")
    );
}

#[test]
fn what_would_command_a_terminal_is_escaped_and_not_lost() {
    let place = Place::with_run();
    let caption = "a \u{202e}red circle\u{7f}";
    let said = place.experiment(&["sample", "results/tiny", "--caption", caption, "--n", "1", "--json"]);
    assert!(!said.stdout.contains(['\u{202e}', '\u{7f}']), "{said:?}");
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["captions"][0]["caption"], caption);
}
