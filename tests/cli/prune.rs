//! What runs do not need any more.

use crate::support::{Place, bits, facts};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

fn pruned(place: &Place, more: &[&str]) -> Value {
    let said = place.experiment(&[&["prune", "--json"][..], more].concat());
    serde_json::from_str(&said.done().join("\n")).unwrap()
}

fn why(pruning: &Value) -> Vec<&str> {
    pruning["items"].as_array().unwrap().iter().map(|item| item["why"].as_str().unwrap()).collect()
}

/// All files below a folder with their lengths.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::metadata(&path).unwrap().len()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_older_checkpoint_and_what_is_half_written_go_and_the_run_is_as_it_was() {
    let place = Place::with_run();
    let run = place.run();
    let kept = bits(&run);
    fs::write(run.join("images/a.png.tmp"), [0; 100]).unwrap();
    let unfinished = run.join("checkpoints/clip/step-99.tmp");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("model.safetensors"), [0; 1000]).unwrap();
    let before = files(&place.path("results"));

    let dry = pruned(&place, &[]);
    assert_eq!(files(&place.path("results")), before, "nothing is changed without --yes");
    assert_eq!(dry["freed"], false);
    let mut found = why(&dry);
    found.sort_unstable();
    assert_eq!(found.iter().filter(|why| **why == "unfinished").count(), 2, "{dry}");
    // Each stage has kept the checkpoints of steps 6 and 12; the best is one of them or both.
    assert!(found.iter().filter(|why| **why == "older-checkpoint").count() >= 3, "{dry}");

    let done = pruned(&place, &["--yes"]);
    let sum = |files: &[(PathBuf, u64)]| files.iter().map(|file| file.1).sum::<u64>();
    let after = files(&place.path("results"));
    let gone: Vec<_> = before.iter().filter(|file| !after.contains(file)).cloned().collect();
    assert_eq!((&done["bytes"], &done["freed"]), (&dry["bytes"], &true.into()));
    assert_eq!(done["bytes"], sum(&gone), "{gone:?}");
    assert!(bits(&run) == kept);
    assert_eq!(place.experiment(&["prune"]).done(), ["nothing to free"]);
    // What is left is used as before, and can be gone on with.
    place.experiment(&["sample", "results/tiny", "--caption", "a red circle", "--n", "1"]).done();
    let more = ["tiny.yaml", "--resume", "--set", "evaluate.pairs=4"];
    place.experiment(&more).done();
}

#[test]
fn a_damaged_checkpoint_keeps_the_older_one() {
    let place = Place::with_run();
    let newest = place.run().join("checkpoints/clip/step-12/model.safetensors");
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&newest, bytes).unwrap();
    let done = pruned(&place, &["--yes"]);
    assert!(
        done["kept"].as_array().unwrap().iter().any(|kept| kept.as_str().unwrap().contains("model.safetensors")),
        "{done}"
    );
    assert!(place.run().join("checkpoints/clip/step-6").is_dir());
}

#[test]
fn tagged_and_written_runs_are_left_alone() {
    let place = Place::with_run();
    fs::write(place.run().join("a.tmp"), "x").unwrap();
    place.experiment(&["tag", "results/tiny", "good"]).done();
    let pruning = pruned(&place, &["--superseded"]);
    assert!(why(&pruning).is_empty() && pruning["kept"][0].as_str().unwrap().ends_with("tagged good"), "{pruning}");
    place.experiment(&["tag", "results/tiny", "good", "--remove"]).done();
    let lock = File::open(place.run().join("lock")).unwrap();
    lock.lock().unwrap();
    let mut facts = facts(&place.run());
    facts["status"] = json!("running");
    fs::write(place.run().join("run.json"), facts.to_string()).unwrap();
    let pruning = pruned(&place, &["--superseded", "--yes"]);
    assert!(why(&pruning).is_empty() && pruning["kept"].as_array().unwrap().len() == 1, "{pruning}");
    // One that somebody has just begun to go on with.
    facts["status"] = json!("done");
    fs::write(place.run().join("run.json"), facts.to_string()).unwrap();
    let pruning = pruned(&place, &["--yes"]);
    assert!(why(&pruning).is_empty(), "{pruning}");
    assert!(pruning["kept"][0].as_str().unwrap().contains("is writing this run"), "{pruning}");
    assert!(place.run().join("a.tmp").is_file());
}

#[test]
fn superseded_runs_go_only_when_asked_and_shared_files_count_with_their_last_name() {
    let place = Place::with_spec();
    let sweep = "extends: tiny.yaml\nname: swept\nsweep: {grid: {clip.steps: [6, 12]}}\n";
    let place = place.write("sweep.yaml", sweep);
    place.experiment(&["sweep", "sweep.yaml"]).done();
    let runs = || -> Vec<PathBuf> {
        let all = fs::read_dir(place.path("results/swept")).unwrap().map(|entry| entry.unwrap().path());
        let mut runs: Vec<PathBuf> = all.filter(|path| path.join("run.json").is_file()).collect();
        runs.sort();
        runs
    };
    assert_eq!(runs().len(), 2);
    let of = |steps: u64| runs().into_iter().find(|run| facts(run)["says"]["clip.steps"] == steps).unwrap();
    // One of the two again; the first stage and the transformer are shared with what stays.
    let old = of(6);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    place.experiment(&["tiny.yaml", "--set", "name=swept", "--set", "clip.steps=6"]).done();
    assert!(!why(&pruned(&place, &[])).contains(&"superseded"));
    let dry = pruned(&place, &["--superseded"]);
    let item = dry["items"].as_array().unwrap().iter().find(|item| item["why"] == "superseded").unwrap();
    assert_eq!(place.path(item["path"].as_str().unwrap()), old);
    let whole: u64 = files(&old).iter().map(|file| file.1).sum();
    assert_eq!(item["bytes"], whole);
    let sum: u64 = dry["items"].as_array().unwrap().iter().map(|item| item["bytes"].as_u64().unwrap()).sum();
    assert!(dry["bytes"].as_u64().unwrap() < sum, "{dry}");
    let other = of(12);
    let kept = bits(&other);
    let text = place.experiment(&["prune", "--superseded", "--yes"]);
    assert!(text.done().last().unwrap().starts_with("freed "), "{text:?}");
    assert!(!old.exists() && runs().len() == 2);
    assert!(bits(&other) == kept);
    place.experiment(&["prune", "nowhere"]).failed(4, "nowhere: no such folder");
}
