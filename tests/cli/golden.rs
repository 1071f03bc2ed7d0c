//! Golden losses: every logged loss and the last weights of two short runs, to the bit. They hold for the instructions of the CPU that
//! made them; on another one the test says that it was not run.
//!
//! `DALLE_GOLDEN=write cargo test --release --test cli golden` writes those of this CPU: for a change that is meant to train otherwise.

use crate::support::Place;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/golden.json");

/// The instructions by which kernels are chosen.
fn cpu() -> String {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let found: [(&str, bool); 0] = [];
    let found = found.iter().filter(|(_, there)| *there).map(|(name, _)| format!("+{name}"));
    found.fold(std::env::consts::ARCH.to_owned(), |all, name| all + &name)
}

/// Each stage's losses by step, and the sum of its last weights.
fn trained(spec: &str, sets: &[&str]) -> Value {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(spec)).unwrap();
    let place = Place::new().write(spec, text);
    let sets: Vec<String> = sets.iter().map(|set| format!("--set={set}")).collect();
    let arguments: Vec<&str> = [spec].into_iter().chain(sets.iter().map(String::as_str)).collect();
    place.experiment(&arguments).done();
    let results = place.path("results").join(spec.trim_end_matches(".yaml"));
    let run = fs::read_dir(results).unwrap().next().unwrap().unwrap().path();
    let mut stages = Map::new();
    for line in fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let stage = stages.entry(line["stage"].as_str().unwrap()).or_insert_with(|| json!({"losses": {}}));
        stage["losses"][line["step"].to_string()] = line["loss"].clone();
    }
    for (name, stage) in &mut stages {
        let folder = run.join("checkpoints").join(name);
        let last = fs::read_to_string(folder.join("LATEST")).unwrap();
        let manifest = fs::read(folder.join(last.trim()).join("MANIFEST.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        stage["weights"] = manifest["files"]["model.safetensors"]["blake3"].clone();
    }
    stages.into()
}

#[test]
fn losses_and_weights_are_the_golden_ones() {
    let short = ["first_stage.steps=50", "transformer.steps=20", "clip.steps=20", "sample.shown=1", "expect=[]"];
    let few = ["evaluate.pairs=8", "evaluate.seen=2", "evaluate.held_out=2", "evaluate.two_objects=2"];
    let got =
        json!({"ci": trained("ci.yaml", &[]), "quickstart": trained("quickstart.yaml", &[&short[..], &few].concat())});
    let mut all: Map<String, Value> =
        fs::read(FILE).map_or_else(|_| Map::new(), |bytes| serde_json::from_slice(&bytes).unwrap());
    if std::env::var("DALLE_GOLDEN").as_deref() == Ok("write") {
        all.insert(cpu(), got);
        fs::write(FILE, format!("{:#}\n", Value::from(all))).unwrap();
        return;
    }
    let Some(golden) = all.get(&cpu()) else {
        println!("NOT RUN: there are no golden losses of {}", cpu());
        return;
    };
    for (run, stages) in golden.as_object().unwrap() {
        for (stage, golden) in stages.as_object().unwrap() {
            assert_eq!(got[run][stage], *golden, "{run}, {stage}");
        }
    }
}
