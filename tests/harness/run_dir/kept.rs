//! Files of a run that never change, or change as a whole.

use super::{PRESETS, create, loaded};
use dalle::harness::identity::differences;
use dalle::harness::run_dir::{self, RunDir};
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_run_without_its_spec_is_damaged() {
    let results = tempfile::tempdir().unwrap();
    let path = create(results.path()).path().to_owned();
    fs::remove_file(path.join("spec.resolved.yaml")).unwrap();
    for error in [run_dir::read_spec(&path, PRESETS).map(drop), RunDir::open(&path).map(drop)] {
        let error = error.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("expected the spec that the run wrote, found none"), "{error}");
    }
}

#[test]
fn what_a_run_wrote_for_good_is_held_to_it() {
    let results = tempfile::tempdir().unwrap();
    let mut run = create(results.path());
    let path = run.path().to_owned();
    run.write_sealed(run_dir::TOKENIZER, b"{}").unwrap();
    run.seal(run_dir::TOKENIZER).unwrap();
    drop(run);
    for name in ["spec.resolved.yaml", run_dir::TOKENIZER] {
        let good = fs::read(path.join(name)).unwrap();
        for bad in [[&good[..], b"\n"].concat(), good[..good.len() - 1].to_vec()] {
            fs::write(path.join(name), bad).unwrap();
            let error = RunDir::open(&path).unwrap_err();
            assert!(error.exit_code() == 4 && error.to_string().contains(name), "{error}");
            if name == run_dir::TOKENIZER {
                assert_eq!(run_dir::tokenizer_unchanged(&path).unwrap_err().exit_code(), 4);
            } else {
                assert_eq!(run_dir::read_spec(&path, PRESETS).unwrap_err().exit_code(), 4);
            }
        }
        fs::write(path.join(name), good).unwrap();
        drop(RunDir::open(&path).unwrap());
    }
    // A run of the time when there were no seals and hashes had 8 digits: that of the file.
    let text = fs::read(path.join("spec.resolved.yaml")).unwrap();
    let mut facts = run_dir::read_run(&path).unwrap();
    facts.as_object_mut().unwrap().remove("blake3");
    facts["spec_hash"] = json!(blake3::hash(&text).to_hex()[..8]);
    fs::write(path.join("run.json"), facts.to_string()).unwrap();
    assert_eq!(run_dir::read_spec(&path, PRESETS).unwrap().spec, loaded(results.path()).spec);
    fs::write(path.join("spec.resolved.yaml"), [&text[..], b"#"].concat()).unwrap();
    assert_eq!(run_dir::read_spec(&path, PRESETS).unwrap_err().exit_code(), 4);
}

#[test]
fn another_spec_is_there_whole_or_not_at_all() {
    let results = tempfile::tempdir().unwrap();
    let mut run = create(results.path());
    let path = run.path().to_owned();
    let mut other = loaded(results.path());
    other.spec.sample.candidates = 3;
    let before = ["run.json", "spec.resolved.yaml"].map(|name| fs::read(path.join(name)).unwrap());
    let changes = differences(&loaded(results.path()).spec, &other.spec).unwrap();
    run.change_spec(&other, &changes).unwrap();
    assert_eq!(run.run()["spec_changes"][0]["key"], "sample.candidates");
    assert_eq!(run.run()["spec_hash"], other.spec.hash().unwrap());
    drop(run);
    let after = ["run.json", "spec.resolved.yaml"].map(|name| fs::read(path.join(name)).unwrap());
    // What kills leave between the writes: both seals with the old file, then with the new one.
    let mut between: Value = serde_json::from_slice(&after[0]).unwrap();
    let old = blake3::hash(&before[1]).to_hex().to_string();
    between["blake3"]["spec.resolved.yaml"] = json!([old, between["blake3"]["spec.resolved.yaml"]]);
    fs::write(path.join("run.json"), between.to_string()).unwrap();
    for (text, candidates) in [(&before[1], loaded(results.path()).spec.sample.candidates), (&after[1], 3)] {
        fs::write(path.join("spec.resolved.yaml"), text).unwrap();
        assert_eq!(run_dir::read_spec(&path, PRESETS).unwrap().spec.sample.candidates, candidates);
        let mut run = RunDir::open(&path).unwrap();
        run.change_spec(&other, &[]).unwrap();
        assert!(run.run()["blake3"]["spec.resolved.yaml"].is_string());
        drop(run);
        assert_eq!(fs::read(path.join("spec.resolved.yaml")).unwrap(), after[1]);
        fs::write(path.join("run.json"), between.to_string()).unwrap();
    }
}
