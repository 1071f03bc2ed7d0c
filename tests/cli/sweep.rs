//! Sweeps as a person runs them: all at once, one index, again, stopped and killed; every index is done once, with the bits of a run
//! of its own.

use crate::support::{Place, Said, TINY, assert_same, facts};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SWEEP: &str = "extends: tiny.yaml\nname: swept\nsweep: {grid: {transformer.steps: [6, 12], seed: [0, 1]}}\n";

fn place() -> Place {
    Place::with_spec().write("sweep.yaml", SWEEP)
}

/// The runs below `results/swept`, by index of the sweep.
fn runs(place: &Place) -> Vec<PathBuf> {
    let mut found: Vec<(u64, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(place.path("results/swept")).unwrap() {
        let path = entry.unwrap().path();
        if path.join("run.json").is_file() {
            let spec = fs::read_to_string(path.join("spec.resolved.yaml")).unwrap();
            let spec: serde_yaml::Value = serde_yaml::from_str(&spec).unwrap();
            found.push((spec["transformer"]["steps"].as_u64().unwrap(), spec["seed"].as_u64().unwrap(), path));
        }
    }
    found.sort();
    found.into_iter().map(|(.., path)| path).collect()
}

fn frozen(place: &Place) -> PathBuf {
    let found: Vec<PathBuf> =
        fs::read_dir(place.path("results/swept/sweeps")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn assert_whole(place: &Place) {
    let runs = runs(place);
    assert_eq!(runs.len(), 4, "every index once: {runs:?}");
    // What depends on neither the one nor the other is trained once for each seed.
    let trained = |stage: &str| runs.iter().filter(|run| facts(run)["stages"][stage]["from"].is_null()).count();
    assert_eq!((trained("dvae"), trained("transformer"), trained("clip")), (2, 4, 2));
    for run in &runs {
        assert_eq!((&facts(run)["status"], &facts(run)["exit"]), (&"done".into(), &0.into()));
    }
    let alone = Place::with_spec();
    alone.experiment(&["tiny.yaml", "--set", "name=swept", "--set", "transformer.steps=12", "--set", "seed=1"]).done();
    let own = fs::read_dir(alone.path("results/swept")).unwrap().next().unwrap().unwrap().path();
    assert_same(&own, &runs[3]);
}

#[test]
fn a_sweep_is_run_whole_and_then_there_is_nothing_to_do() {
    let place = place();
    let first = place.experiment(&["sweep", "sweep.yaml", "--jobs", "2"]);
    let lines = first.done();
    assert_eq!(place.path(lines.last().unwrap()), frozen(&place));
    assert!(lines.iter().any(|line| line.starts_with("all") && line.contains("4 specs")), "{lines:?}");
    assert!(first.stderr.contains("4 of 4 to run") && first.stderr.contains("3: done after"), "{first:?}");
    assert_whole(&place);
    assert!(fs::read_to_string(frozen(&place).join("logs/3.log")).unwrap().contains("transformer"));

    let before: Vec<_> = runs(&place).iter().map(|run| facts(run)).collect();
    let again = place.experiment(&["sweep", "sweep.yaml"]);
    again.done();
    assert!(again.stderr.contains("0 of 4 to run"), "{again:?}");
    // One index, by the frozen folder alone.
    fs::remove_file(place.path("sweep.yaml")).unwrap();
    let folder = frozen(&place).display().to_string();
    let one = place.experiment(&["sweep", &folder, "--index", "2"]);
    assert!(one.done()[0].ends_with("report.html") && one.stderr.contains("already finished"), "{one:?}");
    assert_eq!(runs(&place).iter().map(|run| facts(run)).collect::<Vec<_>>(), before);
    place.experiment(&["sweep", &folder, "--index", "4"]).failed(2, "--index 4: expected one from 0 to 3");
    place.experiment(&["sweep", &folder, "--set", "seed=3"]).failed(2, "this sweep is frozen");
}

/// Bits may differ between builds: what another build has trained is not taken over, and that is said.
#[test]
fn a_stage_of_another_build_is_trained_again_and_it_is_said() {
    let place = place();
    let index = |index: &str| place.experiment(&["sweep", "sweep.yaml", "--index", index]);
    index("0").done();
    let path = runs(&place)[0].join("run.json");
    let mut run = facts(&runs(&place)[0]);
    run["built"]["exe_blake3"] = "another".into();
    ["dvae", "transformer", "clip"].iter().for_each(|stage| run["stages"][stage]["hash"] = "another".into());
    fs::write(&path, run.to_string()).unwrap();
    // The same first stage and CLIP, another transformer.
    let said = index("2");
    said.done();
    for stage in ["dvae", "clip"] {
        assert!(said.stderr.contains(&format!("{stage}: trained by another build in results/swept/")), "{said:?}");
        assert!(facts(&runs(&place)[1])["stages"][stage]["from"].is_null(), "{stage}");
    }
    assert!(!said.stderr.contains("transformer: trained by another build"), "{said:?}");
    let all = place.experiment(&["sweep", "sweep.yaml"]);
    assert!(all.stderr.contains("1 of the runs there are of another build"), "{all:?}");
}

#[test]
fn what_a_sweep_would_cost_is_said_and_nothing_is_written() {
    let place = place();
    let said = place.experiment(&["sweep", "sweep.yaml", "--dry-run"]);
    let lines = said.done();
    assert!(
        lines[1].ends_with("transformer.steps=6 seed=0") && lines[4].ends_with("transformer.steps=12 seed=1"),
        "{lines:?}"
    );
    assert!(lines[5].contains("4 specs, 4 of 12 stages taken over, not trained again"), "{lines:?}");
    let planned = place.experiment(&["sweep", "sweep.yaml", "--dry-run", "--json"]).done().join("\n");
    let planned: serde_json::Value = serde_json::from_str(&planned).unwrap();
    // What is trained: for each seed one first stage and one CLIP, and every transformer; all of them draw.
    let seconds = |spec: usize, stage: usize| {
        let stage = &planned["specs"][spec]["plan"]["stages"][stage];
        stage["seconds"].as_f64().unwrap() * stage["steps"].as_f64().unwrap()
    };
    let drawn = |spec: usize| {
        let sampling = &planned["specs"][spec]["plan"]["sampling"];
        sampling["seconds"].as_f64().unwrap() * sampling["captions"].as_f64().unwrap()
    };
    let all: f64 = (0..4).map(|spec| seconds(spec, 1) + drawn(spec)).sum::<f64>()
        + (0..2).map(|seed| seconds(seed, 0) + seconds(seed, 2)).sum::<f64>();
    let told = planned["seconds"].as_f64().unwrap();
    assert!((told - all).abs() < 1e-9 * all && planned["trained"] == 8, "{told}, {all}");
    assert!(!place.path("results").exists());
    place.experiment(&["sweep.yaml"]).failed(2, "`sweep` makes many specs of this one");
    // What no preset can hold is found before anything runs.
    let place = place.write("sweep.yaml", "extends: tiny.yaml\nsweep: {grid: {text.vocabulary: [60, 100]}}\n");
    place
        .experiment(&["sweep", "sweep.yaml"])
        .failed(2, "sweep.yaml:2:38: `text.vocabulary` must be at most the 64 of preset tiny, found 100");
    assert!(!place.path("results").exists());
}

#[test]
fn one_that_fails_stops_no_other() {
    let place = place().write(
        "sweep.yaml",
        "extends: tiny.yaml\nname: swept\nexpect: [\"parameters_do_not_matter < 1\"]\nsweep: {grid: {seed: [0, 1]}}\n",
    );
    place.experiment(&["sweep", "sweep.yaml"]).failed(2, "will hold no `parameters_do_not_matter`");
    let expecting = "extends: tiny.yaml\nname: swept\nsweep:\n  list:\n    - {seed: 0, expect: [\"elbo_validation.psnr > 1000\"]}\n    - {seed: 1}\n";
    let place = place.write("sweep.yaml", expecting);
    let said = place.experiment(&["sweep", "sweep.yaml"]);
    said.failed(3, "1 of 2 specs failed; the first of them says why in results/swept/sweeps/");
    assert!(said.stderr.contains("0: done, and not what its spec expects (exit 3)"), "{said:?}");
    assert!(said.stderr.contains("1: done after"), "{said:?}");
    let log = fs::read_to_string(frozen(&place).join("logs/0.log")).unwrap();
    assert!(log.contains("expectation failed"), "{log}");
    place
        .experiment(&["sweep", "sweep.yaml", "--set", "seed=5", "--dry-run"])
        .failed(2, "--set:1:6: `seed` is swept, and cannot be set");
    // What became of each is said as JSON too, though one of them fails again.
    let absent = place.write("sweep.yaml", expecting.replace("name: swept", "name: other"));
    let said = absent.experiment(&["sweep", "sweep.yaml", "--json"]);
    said.failed(3, "1 of 2 specs failed");
    let told: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (&told["ran"], &told["runs"][1]["index"], &told["runs"][1]["done"]),
        (&2.into(), &1.into(), &true.into())
    );
    assert!(told["runs"][1]["run"].as_str().unwrap().starts_with("results/other/"), "{told}");
}

/// A sweep of two long runs that is told to stop, or is killed, when both have begun to train.
fn ended(place: &Place, signal: &str) -> Said {
    let child = place
        .command(&["sweep", "sweep.yaml", "--jobs", "2", "--threads", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let training = || {
        let logs =
            frozen_if_any(place).into_iter().flat_map(|folder| [0, 1].map(|i| folder.join(format!("logs/{i}.log"))));
        logs.filter(|log| fs::read_to_string(log).is_ok_and(|text| text.contains("transformer: step"))).count() == 2
    };
    while !training() {
        assert!(started.elapsed() < Duration::from_secs(120), "nothing trains");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap().into()
}

fn frozen_if_any(place: &Place) -> Option<PathBuf> {
    Some(fs::read_dir(place.path("results/swept/sweeps")).ok()?.next()?.ok()?.path())
}

fn long() -> Place {
    let text = TINY.replace("transformer: {steps: 12", "transformer: {steps: 400") + "sweep: {grid: {seed: [0, 1]}}\n";
    Place::new().write("sweep.yaml", text.replace("name: tiny", "name: swept"))
}

#[test]
fn a_sweep_that_is_stopped_or_killed_goes_on_with_the_same_bits() {
    let place = long();
    let said = ended(&place, "-TERM");
    said.failed(75, "stopped by SIGTERM after a checkpoint; continue with `experiment sweep results/swept/sweeps/");
    assert!(said.stderr.contains("SIGTERM: the 2 that run stop after a checkpoint"), "{said:?}");
    assert!(runs(&place).iter().all(|run| facts(run)["status"] == "interrupted"));
    // Its children outlive a parent that is killed; who comes next waits for them.
    let said = ended(&place, "-KILL");
    assert_eq!(said.code, None);
    let said = place.experiment(&["sweep", "sweep.yaml", "--jobs", "2"]);
    said.done();
    let runs = runs(&place);
    assert_eq!(runs.len(), 2, "every index once");
    let whole = long();
    whole.experiment(&["sweep", "sweep.yaml", "--index", "1"]).done();
    assert_same(&self::runs(&whole)[0], &runs[1]);
}
