//! Run directories and checkpoints under bad weather: killed processes, read-only folders, two writers, torn lines.

use dalle::Error;
use dalle::checkpoint::{self, Older};
use dalle::harness::identity::differences;
use dalle::harness::load::Loaded;
use dalle::harness::run_dir::{self, RunDir};
use dalle::harness::signals;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PRESETS: &[&str] = &["tiny"];
const TEXT: &str = "# a question\nname: quick\npreset: tiny\nseed: 7\n";

fn loaded(folder: &Path) -> Loaded {
    Loaded::parse("a.yaml", TEXT, folder, &[], PRESETS).unwrap()
}

fn create(results: &Path) -> RunDir {
    RunDir::create(results, &loaded(results), &["experiment".to_owned(), "a.yaml".to_owned()]).unwrap()
}

/// The lines without their times.
fn lines(run: &Path) -> Vec<Value> {
    let mut lines = run_dir::metrics_lines(run).unwrap();
    lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("time")));
    lines
}

#[test]
fn a_new_run_describes_itself() {
    let results = tempfile::tempdir().unwrap();
    let run = create(results.path());
    let name = run.path().file_name().unwrap().to_str().unwrap();
    let hash = loaded(results.path()).spec.hash().unwrap();
    assert_eq!(run.path().parent().unwrap(), results.path().join("quick"));
    assert!(name.len() == 33 && name.ends_with(&format!("Z-{hash}")) && &name[8..9] == "T", "{name}");
    assert_eq!(fs::read_to_string(run.path().join("spec.yaml")).unwrap(), TEXT);
    let json = run_dir::read_run(run.path()).unwrap();
    assert_eq!(json["status"], "running");
    assert_eq!(json["seeds"]["spec"], 7);
    assert_eq!(json["argv"], json!(["experiment", "a.yaml"]));
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    let built = &json["built"];
    assert!(
        built["rustc"].is_string()
            && built["features"].is_array()
            && built["commit"].is_string() == built["dirty"].is_boolean()
    );
    assert!(json["threads"].as_u64().unwrap() >= 1 && json["exit"].is_null());
    let again = run_dir::read_spec(run.path(), PRESETS).unwrap();
    assert_eq!(again.spec, loaded(results.path()).spec);
    assert_eq!(again.folder, fs::canonicalize(results.path()).unwrap());
}

#[test]
fn updates_and_the_end_are_written_whole() {
    let results = tempfile::tempdir().unwrap();
    let mut run = create(results.path());
    run.update(|run| run["results"]["elbo"] = json!(1.5)).unwrap();
    run.finish(3).unwrap();
    let json = run_dir::read_run(run.path()).unwrap();
    assert_eq!((&json["results"]["elbo"], &json["exit"]), (&json!(1.5), &json!(3)));
    assert_eq!(json["status"], "expectation failed");
    assert!(json["timings"]["total"].as_f64().unwrap() >= 0.0);
    let path = run.path().to_owned();
    drop(run);
    let run = RunDir::open(&path).unwrap();
    assert_eq!((&run.run()["status"], &run.run()["results"]["elbo"]), (&json!("running"), &json!(1.5)));
    fs::write(path.join("run.json"), "{\"status\":").unwrap();
    drop(run);
    assert_eq!(RunDir::open(&path).unwrap_err().exit_code(), 4);
}

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
fn metrics_are_one_line_each_and_time_goes_on_over_sessions() {
    let results = tempfile::tempdir().unwrap();
    let mut run = create(results.path());
    let path = run.path().to_owned();
    run.metrics("clip", 1, &[("loss", 0.5), ("accuracy", f64::NAN), ("scale", f64::INFINITY)]).unwrap();
    assert_eq!(lines(&path), [json!({"stage": "clip", "step": 1, "loss": 0.5, "accuracy": null, "scale": null})]);
    drop(run);
    let metrics = path.join("metrics.jsonl");
    // A session that ran for an hour and died in the middle of a line.
    let torn = "{\"stage\":\"clip\",\"step\":2,\"time\":3600.0}\n{\"stage\":\"clip\",\"st";
    fs::write(&metrics, torn).unwrap();
    let mut run = RunDir::open(&path).unwrap();
    let said = run.run()["warnings"][0]["text"].as_str().unwrap().to_owned();
    assert!(said.contains("line 2, the last, is cut short"), "{said}");
    run.metrics("clip", 3, &[]).unwrap();
    let text = fs::read_to_string(&metrics).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    let time = run_dir::metrics_lines(&path).unwrap()[1]["time"].as_f64().unwrap();
    assert!((3600.0..3700.0).contains(&time), "{time}");
}

#[test]
fn resuming_drops_the_lines_after_the_step_and_appends_after_them() {
    let results = tempfile::tempdir().unwrap();
    let mut run = create(results.path());
    for step in [10, 20, 30] {
        run.metrics("first_stage", step, &[]).unwrap();
    }
    for step in [10, 20, 30] {
        run.metrics("transformer", step, &[("loss", step as f64)]).unwrap();
    }
    run.rewind("transformer", 20).unwrap();
    run.metrics("transformer", 30, &[("loss", 99.0)]).unwrap();
    let found: Vec<(String, u64)> = lines(run.path())
        .iter()
        .map(|line| (line["stage"].as_str().unwrap().to_owned(), line["step"].as_u64().unwrap()))
        .collect();
    let stages = ["first_stage", "transformer"].map(|stage| [10, 20, 30].map(|step| (stage.to_owned(), step)));
    assert_eq!(found, stages.concat());
    assert_eq!(lines(run.path())[5]["loss"], 99.0);
}

#[test]
fn two_writers_are_refused_and_a_dead_ones_lock_is_taken_over() {
    let results = tempfile::tempdir().unwrap();
    let run = create(results.path());
    let path = run.path().to_owned();
    let error = RunDir::open(&path).unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains(&format!("process {} is writing", std::process::id())), "{error}");
    drop(run);
    // The file of a process that was killed: its number is there, its lock is gone.
    fs::write(path.join("lock"), "999999999\n").unwrap();
    drop(RunDir::open(&path).unwrap());
    assert_eq!(fs::read_to_string(path.join("lock")).unwrap(), format!("{}\n", std::process::id()));
}

/// Between a fork and its exec a child shares every open file; a lock that ends only when the last copy is closed would
/// refuse a run that nobody writes.
#[test]
fn a_run_that_ended_is_free_while_others_start_programs() {
    let results = tempfile::tempdir().unwrap();
    let path = create(results.path()).path().to_owned();
    let busy = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while busy.load(std::sync::atomic::Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        let refused = (0..200).find_map(|_| RunDir::open(&path).err());
        busy.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(refused.is_none(), "{}", refused.unwrap());
    });
}

#[test]
fn runs_of_one_second_are_kept_apart_and_the_newest_is_found() {
    let results = tempfile::tempdir().unwrap();
    let paths: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| create(results.path()).path().to_owned())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(paths.iter().collect::<std::collections::BTreeSet<_>>().len(), 16);
    let folder = results.path().join("quick");
    for name in [
        "20010101T000000Z-00000000",
        "29990101T000000Z-0000000a",
        "29990101T000000Z-0000000a-9",
        "29990101T000000Z-0000000a-10",
    ] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("run.json"), "{}").unwrap();
    }
    // A run that has not started yet, or is no run.
    fs::create_dir(folder.join("29991231T000000Z-00000000")).unwrap();
    assert_eq!(run_dir::find(&folder).unwrap(), folder.join("29990101T000000Z-0000000a-10"));
    assert_eq!(run_dir::find(&paths[0]).unwrap(), paths[0]);
    // As 8 digits were, 16 are found by their time.
    let longer = folder.join("29990101T000001Z-0000000a0000000b");
    fs::create_dir(&longer).unwrap();
    fs::write(longer.join("run.json"), "{}").unwrap();
    assert_eq!(run_dir::find(&folder).unwrap(), longer);
    let same = run_dir::find_same(results.path(), &loaded(results.path()).spec).unwrap().unwrap();
    assert!(paths.contains(&same));
    let mut other = loaded(results.path()).spec;
    other.seed += 1;
    assert_eq!(run_dir::find_same(results.path(), &other).unwrap(), None);
    assert_eq!(run_dir::find(results.path().join("nothing")).unwrap_err().exit_code(), 4);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_once() {
    let results = tempfile::tempdir().unwrap();
    let file = results.path().join("file");
    fs::write(&file, "").unwrap();
    // Below a regular file, so that it fails for root too.
    let error = RunDir::create(file.join("results"), &loaded(results.path()), &[]).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.exit_code() == 6);
    let text = error.to_string();
    assert!(text.starts_with("cannot create") && text.contains("file/results") && text.lines().count() == 1, "{text}");
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let results = tempfile::tempdir().unwrap();
    fs::set_permissions(results.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(results.path().join("probe"), "").is_ok() {
        return; // root writes anyway
    }
    let error = RunDir::create(results.path(), &loaded(results.path()), &[]).unwrap_err();
    assert_eq!(error.exit_code(), 6);
}

#[test]
fn metrics_keep_their_bytes() {
    let results = tempfile::tempdir().unwrap();
    let path = create(results.path()).path().to_owned();
    let metrics = path.join("metrics.jsonl");
    // Digits, blanks and an order of keys that nothing here would write; and what is no line of ours.
    let kept = "{\"stage\": \"clip\", \"step\": 1, \"loss\": 0.10000000000000000555, \"time\":1.50}\ngarbage {\n";
    let dropped = "{\"step\":9,\"stage\":\"clip\"}\n";
    fs::write(&metrics, format!("{kept}{dropped}{kept}{{\"stage\":\"cl")).unwrap();
    let mut run = RunDir::open(&path).unwrap();
    assert_eq!(fs::read_to_string(&metrics).unwrap(), format!("{kept}{dropped}{kept}"));
    run.rewind("clip", 5).unwrap();
    assert_eq!(fs::read_to_string(&metrics).unwrap(), format!("{kept}{kept}"));
    let warnings = run.run()["warnings"].to_string();
    assert!(warnings.contains("metrics-damaged") && warnings.contains("no JSON: 2, the first is line 2"), "{warnings}");
    drop(run);
    fs::remove_file(&metrics).unwrap();
    let run = RunDir::open(&path).unwrap();
    assert!(run.run()["warnings"].to_string().contains("metrics-lost"), "{}", run.run());
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

#[test]
fn a_folder_that_died_before_it_was_a_run_goes_and_others_stay() {
    let results = tempfile::tempdir().unwrap();
    let folder = results.path().join("quick");
    let dead = folder.join("20010101T000000Z-0123456789abcdef");
    let lost = folder.join("20010101T000000Z-0123abcd-2");
    let mine = folder.join("notes");
    for path in [&dead, &lost, &mine] {
        fs::create_dir_all(path.join("checkpoints")).unwrap();
        fs::write(path.join("metrics.jsonl"), "").unwrap();
        fs::write(path.join("run.json.tmp"), "{").unwrap();
        fs::write(path.join("lock"), "999999999\n").unwrap();
    }
    fs::create_dir(lost.join("checkpoints/clip")).unwrap();
    let run = create(results.path());
    assert!(!dead.exists() && lost.exists() && mine.exists());
    // One that is being made is not dead.
    fs::remove_file(run.path().join("run.json")).unwrap();
    drop(create(results.path()));
    assert!(run.path().exists());
    let path = run.path().to_owned();
    drop(run);
    let path = aged(&path);
    let other = create(results.path());
    assert!(!path.exists());
    // A resume looks too.
    fs::create_dir(&dead).unwrap();
    let path = other.path().to_owned();
    drop(other);
    for name in ["report.html.tmp", "images/samples.json.tmp"] {
        fs::write(path.join(name), "<").unwrap();
    }
    drop(RunDir::open(&path).unwrap());
    assert!(!dead.exists() && !path.join("report.html.tmp").exists() && !path.join("images/samples.json.tmp").exists());
}

/// The run under a name of another time, which one that starts now does not take.
fn aged(run: &Path) -> PathBuf {
    let older = run.with_file_name("20010102T000000Z-0123456789abcdef");
    fs::rename(run, &older).unwrap();
    older
}

/// In the order in which a run makes them.
const MADE: [&str; 8] =
    ["lock", "checkpoints", "images", "plots", "spec.yaml", "spec.resolved.yaml", "metrics.jsonl", "run.json"];

#[test]
fn a_start_that_is_killed_before_any_write_leaves_nothing_for_long() {
    for stop in 0..MADE.len() {
        let results = tempfile::tempdir().unwrap();
        let path = create(results.path()).path().to_owned();
        for name in &MADE[stop..] {
            let path = path.join(name);
            if path.is_dir() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), stop, "{MADE:?} are not all that a run makes");
        let path = aged(&path);
        create(results.path());
        assert!(!path.exists(), "killed before {}", MADE[stop]);
    }
}

#[test]
fn one_that_was_killed_is_not_said_to_run() {
    let results = tempfile::tempdir().unwrap();
    let run = create(results.path());
    let path = run.path().to_owned();
    let status = |path: &Path| run_dir::status(path, &run_dir::read_run(path).unwrap()["status"]);
    assert_eq!(status(&path), "running");
    drop(run);
    assert_eq!(status(&path), "stopped (no process writes it)");
    assert!(dalle::report::write(&path).is_ok());
    let report = fs::read_to_string(path.join("report.html")).unwrap();
    assert!(report.contains("stopped (no process writes it)") && !report.contains(">running<"));
    RunDir::open(&path).unwrap().finish(0).unwrap();
    assert_eq!(status(&path), "done");
}

// Processes that are killed: the test binary runs one of its own tests as a child, which acts only if told to.

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
        let mut process = child("run_dir::child_that_writes", &path);
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
                let error = Error::Interrupted { signal, run: folder.to_owned() };
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
            let mut process = child("run_dir::child_that_waits", folder.path());
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
