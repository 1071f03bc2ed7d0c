//! Stopping and going on: after SIGTERM, SIGINT or a full disk, a resumed run ends with the bits of one that was never stopped.

use crate::support::{Place, Said, assert_same, bits, facts};
use std::fs;
use std::path::{Path, PathBuf};
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
    assert_eq!(place.path(said.done().last().unwrap()), place.run().join("report.html"));
    assert_eq!(facts(&run)["exit"], 0);
    assert_same(&whole.run(), &run);
}

#[test]
fn a_run_is_not_resumed_with_another_spec() {
    let place = Place::with_run();
    let before = fs::read(place.run().join("run.json")).unwrap();
    let other = ["tiny.yaml", "--set", "seed=1", "--resume=results/tiny"];
    place.experiment(&other).failed(2, "is a run of another spec: seed: theirs 0, ours 1");
    for none in [&["tiny.yaml", "--set", "seed=1", "--resume"][..], &["--set", "clip.batch=4", "--resume=results/tiny"]]
    {
        place.experiment(none).failed(2, ", ours ");
        assert_eq!(fs::read(place.run().join("run.json")).unwrap(), before);
    }
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

/// Asserts that two runs agree but for the order of their metrics: a stage that is trained again writes its lines again, after
/// those of later stages.
fn assert_same_lines(left: &Path, right: &Path) {
    let [left, right] = [left, right].map(|run| {
        let mut bits = bits(run);
        let metrics = bits.remove("metrics").unwrap();
        let mut lines: Vec<_> = metrics.split(|&byte| byte == b'\n').collect();
        lines.sort();
        bits.insert("metrics".into(), lines.concat());
        bits
    });
    assert!(left.keys().eq(right.keys()), "{:?} {:?}", left.keys(), right.keys());
    let differ: Vec<&String> = left.keys().filter(|name| left[*name] != right[*name]).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// Every schedule of the later stages says its own length: more steps mean the same thing.
const OWN_LENGTHS: [&str; 8] = [
    "--set",
    "transformer.optimizer.lr={from: 0.01, to: 0.001, steps: 12, warmup: 0}",
    "--set",
    "clip.optimizer.lr={from: 0.01, to: 0.001, steps: 12, warmup: 0}",
    "--set",
    "evaluate.pairs=4",
    "--set",
    "sample.shown=2",
];

#[test]
fn more_steps_go_on_from_the_last_checkpoint() {
    let more = ["--set", "transformer.steps=24", "--set", "clip.steps=18"];
    let whole = Place::with_spec();
    whole.experiment(&[&["tiny.yaml"][..], &OWN_LENGTHS, &more].concat()).done();

    let place = Place::with_spec();
    place.experiment(&[&["tiny.yaml"][..], &OWN_LENGTHS].concat()).done();
    let run = place.run();
    // No spec: the run's own, with more of it.
    let said = place.experiment(&[&["--resume=results/tiny"][..], &more].concat());
    assert_eq!(place.path(said.done().last().unwrap()), run.join("report.html"));
    assert!(said.stderr.contains("gone on with"), "{said:?}");
    let changes = &facts(&run)["spec_changes"];
    assert_eq!((&changes[1]["key"], &changes[1]["to"]), (&"transformer.steps".into(), &24.into()), "{changes}");
    assert_same_lines(&whole.run(), &run);

    // Found by its new spec, and by the old one told what differs; not the first stage, whose codes were learned.
    let said = place.experiment(&[&["tiny.yaml"][..], &OWN_LENGTHS, &more, &["--resume"]].concat());
    assert!(said.done().len() == 1 && said.stderr.contains("already finished"), "{said:?}");
    let shrunk = place.experiment(&[&["tiny.yaml"][..], &OWN_LENGTHS, &["--resume"]].concat());
    shrunk.failed(2, "transformer.steps: theirs 24, ours 12 (updates may grow in number, not shrink)");
    let first = place.experiment(&["--resume=results/tiny", "--set", "first_stage.steps=24"]);
    first.failed(2, "first_stage.steps: theirs 12, ours 24 (the transformer has learned its codes)");
}

#[test]
fn steps_do_not_grow_under_a_schedule_without_a_length() {
    let place = Place::with_run();
    let said = place.experiment(&["--resume=results/tiny", "--set", "clip.steps=24"]);
    said.failed(2, "clip.steps: theirs 12, ours 24 (clip.optimizer.lr.steps is 0, the whole stage");
}

#[test]
fn going_on_with_nothing_starts_nothing_unasked() {
    let place = Place::with_spec();
    place.experiment(&["tiny.yaml", "--resume"]).failed(4, "no run to go on with");
    place.experiment(&["--resume"]).failed(2, "--resume=RUN");
    assert!(!place.path("results").exists());
    let said = place.experiment(&["tiny.yaml", "--resume-or-start"]);
    said.done();
    let first = said.stderr.lines().next().unwrap();
    assert!(first.contains("no run to go on with: starting one"), "{first}");
    let before = fs::read(place.run().join("run.json")).unwrap();
    for again in [&["tiny.yaml", "--resume-or-start"][..], &["tiny.yaml", "--resume"], &["--resume=results/tiny"]] {
        let said = place.experiment(again);
        assert!(said.done().len() == 1 && said.stderr.contains("already finished"), "{said:?}");
        assert_eq!(place.path(said.done().last().unwrap()), place.run().join("report.html"));
    }
    assert_eq!(fs::read(place.run().join("run.json")).unwrap(), before);
}

#[test]
fn a_killed_run_is_not_said_to_run() {
    let place = Place::with_spec();
    stopped(&place, &longer(&[]), "transformer", "-KILL");
    let run = place.run();
    assert_eq!(facts(&run)["status"], "running");
    let said = place.experiment(&["report", "results/tiny"]);
    said.done();
    assert!(said.stderr.contains("stopped (no process writes it)"), "{said:?}");
    assert!(fs::read_to_string(run.join("report.html")).unwrap().contains("stopped (no process writes it)"));
}

/// One byte of the newest checkpoint: other weights are used only where that was asked for, and it is always said.
#[test]
fn a_damaged_checkpoint_is_never_passed_over_in_silence() {
    let whole = Place::with_run();
    let place = Place::with_run();
    let place = place.write("a.png", crate::support::png(16, 16, 7));
    let run = place.run();
    let damage = |file: &str| {
        let model = run.join("checkpoints").join(file);
        let mut bytes = fs::read(&model).unwrap();
        let at = bytes.len() - 5;
        bytes[at] ^= 1;
        fs::write(&model, bytes).unwrap();
    };
    damage("dvae/best/step-12/ema.safetensors");
    let uses: [&[&str]; 3] = [
        &["sample", "results/tiny", "--caption", "a red circle", "--n", "1", "--keep", "1"],
        &["encode", "results/tiny", "a.png"],
        &["eval", "results/tiny", "--pairs", "4", "--resamples", "0"],
    ];
    for arguments in uses {
        let refused = place.experiment(arguments);
        refused.failed(4, "best/step-12/ema.safetensors");
        refused.failed(4, "--allow-older-checkpoint");
        let told = place.experiment(&[arguments, &["--allow-older-checkpoint"]].concat());
        told.done();
        assert!(told.stderr.contains("fell back to step-6"), "{told:?}");
    }
    let evaluation = fs::read_to_string(run.join("evaluation.json")).unwrap();
    assert!(evaluation.contains("fell back to step-6"), "{evaluation}");
    fs::remove_file(run.join("evaluation.json")).unwrap();

    // Who ranks reads the weights of CLIP that are kept and no other file; who trains on reads all.
    damage("dvae/step-12/model.safetensors");
    damage("clip/step-12/model.safetensors");
    let rerank = ["rerank", "results/tiny", "--caption", "a red circle", "a.png"];
    assert!(place.experiment(&rerank).done()[0].ends_with("a.png"));
    damage("clip/best/step-12/ema.safetensors");
    place.experiment(&rerank).failed(4, "best/step-12/ema.safetensors");
    let said = place.experiment(&["tiny.yaml", "--resume"]);
    said.done();
    let warnings = facts(&run)["warnings"].to_string();
    for stage in ["dvae", "clip"] {
        assert!(said.stderr.contains(&format!("warning: {stage}: damaged: ")), "{said:?}");
        assert!(warnings.contains(&format!("{stage}/step-12/model.safetensors")), "{warnings}");
    }
    assert!(warnings.contains("fell-back"), "{warnings}");
    assert_same_lines(&whole.run(), &run);
    let said = place.experiment(&["tiny.yaml", "--resume"]);
    assert!(said.stderr.contains("already finished"), "{said:?}");
}

/// The best weights are all that is used of a stage: others in their place would draw other pictures.
#[test]
fn best_weights_that_are_lost_are_trained_again() {
    let place = Place::with_run();
    let run = place.run();
    let best = run.join("checkpoints/clip/best");
    let read = || {
        let step = fs::read_to_string(best.join("LATEST")).unwrap();
        (step.clone(), fs::read(best.join(step.trim()).join("MANIFEST.json")).unwrap())
    };
    let (before, bits_before) = (read(), bits(&run));
    let draw = ["sample", "results/tiny", "--caption", "a red circle", "--n", "1", "--keep", "1"];
    fs::remove_dir_all(&best).unwrap();
    place.experiment(&draw).failed(4, "expected the best weights");
    let told = place.experiment(&[&draw[..], &["--allow-older-checkpoint"]].concat());
    told.done();
    assert!(told.stderr.contains("clip/best: expected the best weights"), "{told:?}");
    let said = place.experiment(&["--resume=results/tiny"]);
    said.done();
    assert!(said.stderr.contains("clip/best lacks the best weights"), "{said:?}");
    assert!(read() == before && bits(&run) == bits_before);
    place.experiment(&draw).done();
}

#[test]
fn an_edited_spec_or_tokenizer_of_a_run_is_refused() {
    let place = Place::with_run();
    for name in ["spec.resolved.yaml", "tokenizer.json"] {
        let path = place.run().join(name);
        let good = fs::read(&path).unwrap();
        fs::write(&path, [&good[..], b"\n"].concat()).unwrap();
        for arguments in [
            &["tiny.yaml", "--resume", "--set", "sample.shown=1"][..],
            &["--resume=results/tiny", "--set", "sample.shown=1"],
            &["sample", "results/tiny", "--caption", "a red circle"],
        ] {
            place.experiment(arguments).failed(4, name);
        }
        fs::write(&path, good).unwrap();
    }
    // Without it, it is made again, and must be the same.
    fs::remove_file(place.run().join("tokenizer.json")).unwrap();
    place.experiment(&["--resume=results/tiny", "--set", "sample.shown=1"]).done();
    assert!(place.run().join("tokenizer.json").is_file());
}
