//! Processes that are killed: the test binary runs one of its own tests as a child, which acts only if told to.

use super::{create, lines};
use dalle::Error;
use dalle::checkpoint::{self, Older};
use dalle::harness::run_dir::{self, RunDir};
use dalle::harness::signals;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CHILD: &str = "DALLE_TEST_CHILD_FOLDER";

fn child(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "{} did not appear", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn child_that_writes() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let mut run = RunDir::open(Path::new(&folder)).unwrap();
    let dir = run.checkpoints("clip");
    let start = checkpoint::latest(&dir, &mut Older::Refused).unwrap().map_or(0, |found| found.step);
    run.rewind("clip", start).unwrap();
    for step in start + 1.. {
        run.metrics("clip", step, &[("loss", step as f64)]).unwrap();
        run.update(|run| run["results"]["step"] = json!(step)).unwrap();
        checkpoint::write(&dir, step, &[("model.safetensors", vec![step as u8; 100_000])]).unwrap();
    }
}

#[test]
fn kills_at_any_time_lose_at_most_one_interval() {
    let results = tempfile::tempdir().unwrap();
    let run = create(results.path());
    let (path, dir) = (run.path().to_owned(), run.checkpoints("clip"));
    drop(run);
    let mut reached = 0;
    for round in 0..12u64 {
        let mut process = child("run_dir::killed::child_that_writes", &path);
        // Half of them get as far as a checkpoint, however slow the machine.
        let start = Instant::now();
        let newest = || fs::read(dir.join("LATEST")).ok();
        let before = newest();
        while round % 2 == 0 && newest() == before {
            assert!(start.elapsed() < Duration::from_secs(20), "no checkpoint in round {round}");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(20 + round * 7));
        process.kill().unwrap();
        process.wait().unwrap();
        let found = checkpoint::latest(&dir, &mut Older::Refused).unwrap().unwrap();
        assert!(found.step >= reached, "{} after {reached}", found.step);
        assert_eq!(found.read("model.safetensors").unwrap(), vec![found.step as u8; 100_000]);
        reached = found.step;
        // What the run says of itself is whole too, and at most one checkpoint ahead.
        let step = run_dir::read_run(&path).unwrap()["results"]["step"].as_u64().unwrap();
        assert!((reached..=reached + 2).contains(&step), "{step} and {reached}");
    }
    assert!(reached > 3, "only {reached} checkpoints in all rounds");
    let mut run = RunDir::open(&path).unwrap();
    run.rewind("clip", reached).unwrap();
    let steps: Vec<u64> = lines(&path).iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=reached).collect::<Vec<_>>());
    let strays = fs::read_dir(&dir).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".tmp") || name.to_string_lossy().ends_with(".old")
    });
    assert_eq!(strays.count(), 0);
}

#[test]
fn child_that_waits() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let folder = Path::new(&folder);
    let stop = signals::install().unwrap();
    fs::write(folder.join("ready"), "").unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if let Some(signal) = stop.requested() {
            fs::write(folder.join(signal), "").unwrap();
            if folder.join("orderly").exists() {
                let error = Error::stopped(signal, folder);
                std::process::exit(error.exit_code().into());
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn one_signal_stops_in_order_and_a_second_at_once() {
    let send = |signal: &str, process: &Child| {
        assert!(Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap().success());
    };
    for (signal, name, code) in [("-INT", "SIGINT", 130), ("-TERM", "SIGTERM", 75)] {
        for orderly in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            if orderly {
                fs::write(folder.path().join("orderly"), "").unwrap();
            }
            let mut process = child("run_dir::killed::child_that_waits", folder.path());
            wait_for(&folder.path().join("ready"));
            send(signal, &process);
            wait_for(&folder.path().join(name));
            if !orderly {
                send(signal, &process);
            }
            let start = Instant::now();
            assert_eq!(process.wait().unwrap().code(), Some(code), "{name} {orderly}");
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }
}
