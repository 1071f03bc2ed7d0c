//! The edges of the process: nobody who listens, too little of everything, signals, and files that are not what they seem.

use crate::support::{Place, Said, TINY};
use dalle::text::Bpe;
use std::fs;
use std::io::{BufRead, BufReader, pipe};
use std::process::{Command, Stdio};

const QUIET: [&str; 3] = ["panicked", "allocation of", "Broken pipe"];

/// Arguments after a shell's own limits, in the place's folder.
fn limited(place: &Place, limits: &str, arguments: &str) -> Said {
    let script = format!("{limits}; exec {} {arguments}", env!("CARGO_BIN_EXE_experiment"));
    Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap().into()
}

#[test]
fn a_closed_stdout_ends_quietly() {
    let place = Place::with_spec();
    for arguments in [
        &["plan", "tiny.yaml"][..],
        &["tiny.yaml", "--dry-run"],
        &["data", "shapes", "--out", "sheet"],
        &["masks", "--text", "4", "--grid", "4", "--out", "masks"],
        &["--help"],
        &["--version"],
    ] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = place.command(arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{arguments:?}: {output:?}");
    }
    // What is written elsewhere is written all the same.
    assert!(place.path("masks/full.png").is_file());
}

#[test]
fn a_run_that_nobody_watches_ends_well() {
    let place = Place::with_spec();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let status = place.command(&["tiny.yaml", "--out", "a"]).stderr(writer).stdout(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = place.command(&["check", "absent.yaml", "gone.yaml"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn threads_are_bounded_and_the_bound_is_said() {
    let place = Place::with_spec();
    let cores = std::thread::available_parallelism().unwrap().get();
    let needle = format!("--threads 4000: expected at most {}", 4 * cores);
    place.experiment(&["tiny.yaml", "--threads", "4000", "--dry-run"]).failed(2, &needle);
    let said: Said =
        place.command(&["tiny.yaml", "--dry-run"]).env("RAYON_NUM_THREADS", "4000").output().unwrap().into();
    said.failed(2, "RAYON_NUM_THREADS 4000");
    for fine in ["0", "many", "1"] {
        let said = place.command(&["tiny.yaml", "--dry-run"]).env("RAYON_NUM_THREADS", fine).output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{fine}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_is_one_line() {
    let place = Place::with_spec();
    // A plan allocates next to nothing; where its measurement of the machine might not fit, it does without.
    for kibibytes in [120_000, 200_000, 300_000] {
        let said = limited(&place, &format!("ulimit -v {kibibytes}; export RAYON_NUM_THREADS=2"), "plan tiny.yaml");
        said.done();
        assert!(said.stdout.contains("too little memory to measure its speed"), "{kibibytes}: {said:?}");
    }
    for (kibibytes, arguments) in [(300_000, "tiny.yaml"), (60_000, "plan tiny.yaml")] {
        let said = limited(&place, &format!("ulimit -v {kibibytes}"), arguments);
        assert!(matches!(said.code, Some(0 | 6)), "{kibibytes}: {said:?}");
        assert!(QUIET.iter().all(|word| !said.stderr.contains(word)), "{said:?}");
        if said.code == Some(6) {
            assert_eq!(said.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said:?}");
        }
    }
    // Known before anything is allocated, with both numbers.
    let set = "transformer.batch=1048576";
    let place = Place::with_spec();
    let said = place.experiment(&["tiny.yaml", "--set", set]);
    said.failed(6, "too little memory: transformer needs ");
    assert!(said.stderr.contains("iB are available"), "{said:?}");
    assert!(!place.path("results").exists());
}

#[test]
fn numbers_beyond_reason_are_refused_by_name() {
    let place = Place::with_spec();
    for set in [
        "transformer.batch=1000000000",
        "clip.batch=18446744073709551615",
        "first_stage.accumulate=18446744073709551615",
        "first_stage.steps=18446744073709551615",
        "data.train_scenes=1000000000000",
        "evaluate.seen=1000000000000",
        "sample.candidates=1000000000000",
        "transformer.conv_kernel=4294967295",
    ] {
        let key = set.split('=').next().unwrap();
        place.experiment(&["check", "tiny.yaml", "--set", set]).failed(2, key);
    }
    place.experiment(&["check", "tiny.yaml", "--set", "seed=18446744073709551615"]).done();
    for grid in ["4294967296", "18446744073709551615", "65"] {
        place.experiment(&["masks", "--text", "1", "--grid", grid, "--out", "m"]).failed(2, "at most 4096 slots");
    }
}

#[cfg(unix)]
#[test]
fn signals_stop_after_a_checkpoint_and_ignored_ones_stay_ignored() {
    let place = Place::new().write("tiny.yaml", TINY.replace("steps: 12", "steps: 900000"));
    let send = |signal: &str, id: u32| {
        assert!(Command::new("kill").args([signal, &id.to_string()]).status().unwrap().success());
    };
    for (signal, out) in [("-USR1", "a"), ("-HUP", "b")] {
        let script = format!("trap '' INT; exec {} tiny.yaml --out {out}", env!("CARGO_BIN_EXE_experiment"));
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .current_dir(place.path(""))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().contains("step ")).unwrap().unwrap();
        send("-INT", child.id()); // it was ignored when the program started
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(child.try_wait().unwrap(), None);
        send(signal, child.id());
        let said: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(75), "{said:?}");
        let name = format!("stopped by SIG{}", &signal[1..]);
        assert!(said.iter().any(|line| line.contains(&name)), "{said:?}");
    }
}

#[test]
fn a_run_is_used_with_numbers_below_0_and_other_tokenizers() {
    let place = Place::with_run();
    let run = place.run().display().to_string();
    let sample = ["sample", &run, "--caption", "a red circle", "--n", "1"];
    place.experiment(&[&sample[..], &["--temperature", "-1"]].concat()).failed(2, "at least 0, got -1");
    place.experiment(&[&sample[..], &["--n", "99999999999"]].concat()).failed(2, "--n");
    // A vocabulary that the models have no rows for.
    let texts = ["a red circle on a pale background".to_owned(), "something else altogether".to_owned()];
    Bpe::train(texts.into_iter(), 4000).unwrap().save(place.run().join("tokenizer.json")).unwrap();
    place.experiment(&sample).failed(4, "tokenizer");
}

/// The header of a safetensors file of one empty tensor.
fn safetensors(name: &str, rank: usize) -> Vec<u8> {
    let shape = vec!["0"; rank].join(",");
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,0]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

#[test]
fn what_files_say_commands_no_terminal() {
    let place = Place::new()
        .write("rank.safetensors", safetensors("x", 40_000))
        .write("name.safetensors", safetensors(&"n".repeat(70_000), 1))
        .write("odd.safetensors", safetensors("a\u{202e}b\\u001b[2Jc", 1))
        .write("odd.yaml", "name: a\npreset: tiny\n\"x\u{202e}y\\e[2J\": 3\n");
    for file in ["rank.safetensors", "name.safetensors", "odd.safetensors"] {
        place.experiment(&["inspect", file]).done();
    }
    let said = place.experiment(&["inspect", "odd.safetensors"]);
    assert!(said.stdout.contains("a�b�[2Jc") && !said.stdout.contains(['\u{202e}', '\u{1b}']), "{said:?}");
    let said = place.experiment(&["check", "odd.yaml", "no\u{202e}ne.yaml"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("unknown key `x�y�[2J`") && said.stderr.contains("no�ne.yaml"), "{said:?}");
    assert!(!said.stderr.contains(['\u{202e}', '\u{1b}']), "{said:?}");
}

#[cfg(unix)]
#[test]
fn only_files_are_read_and_only_files_are_replaced() {
    let place = Place::new().write("tiny.safetensors", safetensors("x", 1)).write("real", "old");
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    for arguments in [&["inspect", "pipe"][..], &["decode", "tiny.safetensors", "pipe"]] {
        place.experiment(arguments).failed(4, "expected a regular file, got a pipe");
    }
    std::os::unix::fs::symlink("real", place.path("link")).unwrap();
    place.experiment(&["import", "torch", "tiny.safetensors", "--out", "link"]).done();
    assert!(place.path("link").is_symlink());
    assert!(fs::read(place.path("real")).unwrap().len() > 8);
    let into = place.experiment(&["import", "torch", "tiny.safetensors", "--out", "/dev/full"]);
    into.failed(6, "cannot write /dev/full");
}
