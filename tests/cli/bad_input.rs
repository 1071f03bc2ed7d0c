//! Bad input: one clear line, the promised exit code, at once, and nothing lost.

use crate::support::{Place, bits, facts, huge, png};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A loaded machine may take its time; a person would wait no longer.
const AT_ONCE: Duration = Duration::from_secs(5);

fn refused(place: &Place, arguments: &[&str], code: i32, needle: &str) {
    let started = Instant::now();
    place.experiment(arguments).failed(code, needle);
    assert!(started.elapsed() < AT_ONCE, "{arguments:?} took {:?}", started.elapsed());
}

#[test]
fn specs_are_refused_before_anything_starts() {
    let place = Place::with_spec().write("deep.yaml", "[".repeat(100_000)).write("latin.yaml", b"name: \xe9");
    assert!(place.experiment(&[]).stderr.contains("Usage: experiment"));
    refused(&place, &["missing.yaml"], 2, "missing.yaml: no such spec");
    refused(&place, &["."], 2, "a folder, not a spec");
    refused(&place, &["deep.yaml"], 2, "nested deeper than 64 levels");
    refused(&place, &["latin.yaml"], 2, "not UTF-8");
    refused(&place, &["tiny.yaml", "--set", "preset=huge"], 2, "unknown preset `huge`");
    refused(&place, &["tiny.yaml", "--set", "transformer.stepz=3"], 2, "unknown key `stepz` in `transformer`");
    refused(&place, &["tiny.yaml", "--set", "transformer.attention=[diagonal]"], 2, "`transformer.attention[0]`");
    let parts = ["tiny.yaml", "--set", "transformer.batch=6", "--set", "transformer.accumulate=4"];
    refused(&place, &parts, 2, "`transformer.accumulate` must divide `transformer.batch` = 6, found 4");
    refused(
        &place,
        &["tiny.yaml", "--set", "first_stage.accumulate=0"],
        2,
        "a whole number from 1 to 1048576, found 0",
    );
    refused(&place, &["tiny.yaml", "--set", "clip.accumulate=2"], 2, "unknown key `accumulate` in `clip`");
    if cfg!(not(feature = "cuda")) {
        refused(&place, &["tiny.yaml", "--device", "cuda"], 6, "no CUDA in this build");
    }
    refused(&place, &["tiny.yaml", "--resume=nowhere"], 4, "no run here");
    for (set, needle) in [
        ("text.vocabulary=100", "`text.vocabulary` must be at most the 64 of preset tiny, found 100"),
        ("transformer.attention=[row]", "--set:1:23: `transformer.attention` must name a pattern for each of 2 layers"),
        ("preset=paper", "tiny.yaml:5:47: `transformer.attention` must name a pattern for each of 64 layers"),
    ] {
        refused(&place, &["tiny.yaml", "--set", set], 2, needle);
    }
    assert!(!place.path("results").exists(), "nothing starts with such a spec");
}

#[test]
fn results_that_cannot_be_written_are_refused_first() {
    let place = Place::with_spec().write("file", "");
    refused(&place, &["tiny.yaml", "--out", "file/below"], 6, "cannot create file/below");
    refused(&place, &["masks", "--text", "4", "--grid", "4", "--out", "file/below"], 6, "cannot create");
}

#[test]
fn captions_must_say_something() {
    let place = Place::with_run().write("a.png", png(16, 16, 0));
    for caption in ["", " \t"] {
        refused(&place, &["sample", "results/tiny", "--caption", caption], 2, "expected at least one word");
        refused(&place, &["rerank", "results/tiny", "--caption", caption, "a.png"], 2, "expected at least one word");
    }
    refused(&place, &["sample", "results/tiny"], 2, "");
    for (option, value, needle) in
        [("--n", "0", "expected 1 to"), ("--top-p", "0", "top-p"), ("--temperature", "-1", "temperature")]
    {
        let option = format!("{option}={value}");
        refused(&place, &["sample", "results/tiny", "--caption", "a", &option], 2, needle);
    }
    assert!(!place.path("samples").exists());
}

#[test]
fn pictures_and_tokens_are_checked() {
    let place = Place::with_run()
        .write("pixel.png", png(1, 1, 0))
        .write("huge.png", huge(30_000))
        .write("large.png", png(2048, 1024, 0))
        .write("garbage.png", "no picture")
        .write("text.json", "no tokens")
        .write("high.json", r#"{"height":1,"width":1,"codes":[32]}"#)
        .write("short.json", r#"{"height":2,"width":2,"codes":[1]}"#)
        .write("vast.json", format!(r#"{{"height":256,"width":257,"codes":[{}0]}}"#, "0,".repeat(256 * 257 - 1)));
    refused(&place, &["encode", "results/tiny", "pixel.png"], 4, "multiples of 4, got 1×1");
    refused(&place, &["encode", "results/tiny", "large.png"], 4, "got 2048×1024");
    for (file, needle) in [
        ("pixel.png", "1x1 pixels"),
        ("huge.png", "30000x30000 pixels"),
        ("garbage.png", "garbage.png"),
        ("absent.png", "absent.png"),
    ] {
        refused(&place, &["rerank", "results/tiny", "--caption", "a", file], 4, needle);
        refused(&place, &["sample", "results/tiny", "--caption", "a", "--prime", file], 4, needle);
    }
    refused(&place, &["encode", "results/tiny", "huge.png"], 4, "30000x30000 pixels");
    for (file, needle) in [
        ("text.json", "expected the JSON of encode"),
        ("high.json", "below 32"),
        ("short.json", "expected 2×2"),
        ("vast.json", "expected at most"),
        ("absent.json", "absent.json"),
    ] {
        refused(&place, &["decode", "results/tiny", file], 4, needle);
    }
    refused(&place, &["encode", "nowhere", "pixel.png"], 4, "no run here");
}

#[test]
fn a_damaged_checkpoint_is_refused_unless_an_older_one_will_do_and_two_are_refused() {
    let place = Place::with_run();
    let damage = |step: &str| {
        let path = place.run().join("checkpoints/clip/best").join(step).join("ema.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1000] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let sample = ["sample", "results/tiny", "--caption", "a red circle", "--n", "1"];
    damage("step-12");
    refused(&place, &sample, 4, "best/step-12/ema.safetensors");
    let older = [&sample[..], &["--allow-older-checkpoint"]].concat();
    let said = place.experiment(&older);
    said.done();
    assert!(said.stderr.contains("fell back to step-6"), "{said:?}");
    damage("step-6");
    refused(&place, &older, 4, "clip");
}

#[test]
fn a_number_that_is_not_finite_names_stage_step_and_tensor() {
    for (stage, name) in [("first_stage", "dvae"), ("transformer", "transformer"), ("clip", "clip")] {
        let place = Place::with_spec();
        let rate = format!("{stage}.optimizer.lr={{from: 1e30, to: 1e30}}");
        let said = place.experiment(&["tiny.yaml", "--set", &rate]);
        said.failed(5, &format!("{name}: step "));
        assert!(said.stderr.contains("is not finite"), "{said:?}");
        assert_eq!(facts(&place.run())["exit"], 5);
    }
}

/// Nobody reads what is printed: that is an error or nothing, never a panic, and the run is whole.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_or_full_output_is_no_panic() {
    let place = Place::with_spec();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command: Command = place.command(&["tiny.yaml"]);
    let output = command.stdout(full()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write standard output"), "{output:?}");
    let output = place.command(&["check", "tiny.yaml", "absent.yaml"]).stderr(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(facts(&place.run())["exit"] == 0 && bits(&place.run()).len() > 20);
}
