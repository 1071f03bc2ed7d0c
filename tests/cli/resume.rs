//! Stopping and going on: after SIGTERM, SIGINT or a full disk, a resumed run ends with the bits of one that was never stopped.

use crate::support::{Place, Said, assert_same, facts};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough to be stopped in the middle of a stage.
const LONGER: [&str; 10] = [
    "--set",
    "transformer.steps=300",
    "--set",
    "clip.steps=600",
    "--set",
    "transformer.caption_dropout=0.1",
    "--set",
    "transformer.accumulate=2",
    "--set",
    "transformer.recompute=true",
];

fn longer<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["tiny.yaml"][..], &LONGER, more].concat()
}

/// Runs until a metric of `stage` is written, then sends `signal`.
fn stopped(place: &Place, arguments: &[&str], stage: &str, signal: &str) -> Said {
    let child = place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    let metric = format!("{{\"stage\":\"{stage}\"");
    let runs = || fs::read_dir(place.path("results/tiny")).ok()?.next()?.ok().map(|entry| entry.path());
    let begun = |run: PathBuf| fs::read_to_string(run.join("metrics.jsonl")).is_ok_and(|text| text.contains(&metric));
    while !runs().is_some_and(begun) {
        assert!(started.elapsed() < Duration::from_secs(120), "stage {stage} did not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_stopped_run_goes_on_with_the_same_bits() {
    let whole = Place::with_spec();
    whole.experiment(&longer(&[])).done();

    let place = Place::with_spec();
    stopped(&place, &longer(&[]), "transformer", "-TERM").failed(75, "continue with --resume=");
    let run = place.run();
    assert_eq!((&facts(&run)["status"], &facts(&run)["exit"]), (&"interrupted".into(), &75.into()));
    let latest = fs::read_to_string(run.join("checkpoints/transformer/LATEST")).unwrap();
    assert_ne!(latest, "step-300\n");

    let named = format!("--resume={}", run.display());
    stopped(&place, &longer(&[&named]), "clip", "-INT").failed(130, "stopped by SIGINT");
    assert!(run.join("checkpoints/clip/LATEST").is_file());

    let said = place.experiment(&longer(&["--resume"]));
    assert_eq!(place.path(said.done()[0]), place.run().join("report.html"));
    assert_eq!(facts(&run)["exit"], 0);
    assert_same(&whole.run(), &run);
}

#[test]
fn a_run_is_not_resumed_with_another_spec() {
    let place = Place::with_run();
    let before = fs::read(place.run().join("run.json")).unwrap();
    let other = ["tiny.yaml", "--set", "seed=1", "--resume=results/tiny"];
    place.experiment(&other).failed(2, "is a run of another spec");
    assert_eq!(fs::read(place.run().join("run.json")).unwrap(), before);
    place.experiment(&["tiny.yaml", "--resume=results/tiny"]).done();
}

/// A limit on the size of files stands for a full disk: the first stage's checkpoints fit under it, the second's do not.
#[test]
fn a_full_disk_stops_the_run_and_keeps_what_was_written() {
    let place = Place::with_spec();
    let mut shell = Command::new("bash");
    shell.args(["-c", "ulimit -f 160; exec \"$0\" tiny.yaml", env!("CARGO_BIN_EXE_experiment")]);
    let said: Said = shell.current_dir(place.path("")).env_remove("DALLE_DATA").output().unwrap().into();
    said.failed(6, "cannot write");
    assert!(said.stderr.contains("transformer/step-6"), "{said:?}");
    let run = place.run();
    assert_eq!((&facts(&run)["status"], &facts(&run)["exit"]), (&"failed".into(), &6.into()));
    assert_eq!(fs::read_to_string(run.join("checkpoints/dvae/LATEST")).unwrap(), "step-12\n");

    let whole = Place::with_spec();
    whole.experiment(&["tiny.yaml"]).done();
    place.experiment(&["tiny.yaml", "--resume"]).done();
    assert_same(&whole.run(), &run);
}
