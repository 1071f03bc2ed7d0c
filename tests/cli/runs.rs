//! A run from its spec: what it leaves, what it prints, and that neither threads nor chance change it.

use crate::support::{Place, assert_same, facts};
use dalle::harness::{expected, load};
use dalle::models::presets;
use serde_json::Value;
use std::fs;

#[test]
fn a_run_leaves_its_folder_and_prints_the_report_last() {
    let place = Place::with_spec();
    let said = place.experiment(&["tiny.yaml"]);
    let last = said.done().last().copied().unwrap().to_owned();
    let run = place.run();
    assert_eq!(place.path(&last), run.join("report.html"));
    for file in ["spec.yaml", "spec.resolved.yaml", "run.json", "metrics.jsonl", "tokenizer.json", "masks.json"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert_eq!(fs::read_to_string(run.join("spec.yaml")).unwrap(), crate::support::TINY);
    for stage in ["dvae", "transformer", "clip"] {
        let stage = run.join("checkpoints").join(stage);
        assert_eq!(fs::read_to_string(stage.join("LATEST")).unwrap(), "step-12\n");
        for file in ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "MANIFEST.json"] {
            assert!(stage.join("step-12").join(file).is_file(), "{stage:?} {file}");
        }
    }
    assert!(run.join("images/samples.json").is_file() && run.join("images/reconstructions.json").is_file());
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("<svg") && report.contains("data:image/png;base64,"));
    let facts = facts(&run);
    assert_eq!((&facts["status"], &facts["exit"]), (&"done".into(), &0.into()));
    let accuracy = &facts["results"]["attribute_accuracy"];
    for (set, kind) in [("seen", "best_of_2"), ("held_out", "best_of_1"), ("pairs", "chance")] {
        assert!(accuracy[set][kind]["value"].is_number(), "{accuracy}");
    }
    assert!(facts["results"]["elbo_validation"]["psnr"].is_number());
    let spec = load::load(place.path("tiny.yaml"), &[], presets::NAMES).unwrap().spec;
    let mut numbers = Vec::new();
    leaves("", &facts["results"], &mut numbers);
    assert!(numbers.len() > 100, "{numbers:?}");
    let unknown = numbers.iter().filter_map(|path| expected::unknown(&spec, path));
    assert_eq!(unknown.collect::<Vec<_>>(), [""; 0], "what the results hold must be known to `expect`");
    for stage in ["dvae", "transformer", "clip"] {
        for peak in ["peak_live_mib", "peak_rss_mib"] {
            assert!(facts["memory"][stage][peak].as_u64().unwrap() > 0, "{stage}: {peak}");
        }
    }
}

/// The dotted paths of all numbers.
fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
    let below = |key: &str| match (path, key.contains(' ')) {
        ("", _) => key.to_owned(),
        (_, true) => format!("{path}.\"{key}\""),
        (_, false) => format!("{path}.{key}"),
    };
    match value {
        Value::Object(entries) => entries.iter().for_each(|(key, value)| leaves(&below(key), value, found)),
        Value::Array(items) => items.iter().zip(0..).for_each(|(item, i)| leaves(&below(&i.to_string()), item, found)),
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn threads_change_no_bit_and_the_seed_does() {
    let [one, two, other] = [["--threads", "1"], ["--threads", "2"], ["--set", "seed=1"]].map(|arguments| {
        let place = Place::with_spec();
        place.experiment(&[&["tiny.yaml"][..], &arguments].concat()).done();
        place
    });
    assert_same(&one.run(), &two.run());
    let weights = |place: &Place| fs::read(place.run().join("checkpoints/clip/step-12/model.safetensors")).unwrap();
    assert_ne!(weights(&one), weights(&other));
}

#[test]
fn an_expectation_that_fails_exits_3_with_the_report_written() {
    let place = Place::with_spec();
    let said = place.experiment(&["tiny.yaml", "--set", "expect=['elbo_validation.psnr > 1000']"]);
    said.failed(3, "elbo_validation.psnr");
    let run = place.run();
    assert_eq!(place.path(said.stdout.lines().last().unwrap()), run.join("report.html"));
    assert!(run.join("report.html").is_file());
    let facts = facts(&run);
    assert_eq!((&facts["status"], &facts["exit"]), (&"expectation failed".into(), &3.into()));
    assert!(facts["results"]["elbo_validation"]["psnr"].is_number());
    // A path that no result has is an error before anything is trained.
    let place = Place::with_spec();
    let said = place.experiment(&["tiny.yaml", "--set", "expect=['elbo_validation.psrn > 0']"]);
    said.failed(2, "will hold no `psrn`");
    assert!(!place.path("results").exists());
    // The same run, and one more try: an expectation that holds.
    let place = Place::with_spec();
    place.experiment(&["tiny.yaml", "--set", "expect=['elbo_validation.psnr > 0']"]).done();
}

#[test]
fn a_dry_run_prints_the_whole_spec_and_writes_nothing() {
    let place = Place::with_spec();
    let said = place.experiment(&["tiny.yaml", "--dry-run", "--set", "seed=9"]);
    let lines = said.done();
    assert!(lines.contains(&"seed: 9") && lines.contains(&"expect: []"), "{lines:?}");
    assert!(!place.path("results").exists());
}
