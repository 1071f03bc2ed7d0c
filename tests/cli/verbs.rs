//! The verbs on specs, runs and data.

use crate::support::{Place, png};
use dalle::data::Picture;
use serde_json::Value;
use std::fs;

#[test]
fn check_names_every_error_of_every_spec() {
    let place = Place::with_spec().write("bad.yaml", "name: x\npreset: tinny\nstep: 3\n").write("worse.yaml", "[");
    assert_eq!(place.experiment(&["check", "--spec-only", "tiny.yaml"]).done(), ["tiny.yaml: ok"]);
    let said = place.experiment(&["check", "--spec-only", "bad.yaml", "tiny.yaml", "worse.yaml"]);
    assert_eq!(said.code, Some(2));
    assert_eq!(said.stdout, "tiny.yaml: ok\n");
    for needle in ["bad.yaml:2:9", "did you mean `tiny`", "unknown key `step`", "worse.yaml:"] {
        assert!(said.stderr.contains(needle), "{needle} in {}", said.stderr);
    }
    place.experiment(&["check", "tiny.yaml", "--set", "seed=-1"]).failed(2, "`seed` must be a whole number");
    let paper = ["check", "tiny.yaml", "--set", "preset=paper", "--set", "transformer.attention=[]"];
    place.experiment(&paper).failed(2, "planned");
    let unmet = ["check", "--spec-only", "tiny.yaml", "--set", "expect=[accuracy.seen > 0]"];
    place.experiment(&unmet).failed(2, "the results will hold no `accuracy`");
}

#[test]
fn plan_allocates_nothing_for_the_paper() {
    let place = Place::with_spec();
    let said = place.experiment(&["plan", "tiny.yaml", "--set", "preset=paper", "--set", "transformer.attention=[]"]);
    assert!(said.done().iter().any(|line| line.contains("transformer")), "{said:?}");
    assert!(!place.path("results").exists());
}

#[test]
fn the_selftest_is_a_table_of_what_was_compared() {
    let said = Place::with_spec().experiment(&["selftest"]);
    let lines = said.done();
    for check in
        ["attention, conv:3: gradients", "dvae: a step, weights", "clip: checkpoint to the CPU and back", "sampling"]
    {
        assert!(lines.iter().any(|line| line.starts_with(check) && line.ends_with("ok")), "{check} in {said:?}");
    }
    assert!(lines[lines.len() - 1].starts_with("0 of "));
    let place = Place::with_spec();
    let refused = place.experiment(&["selftest", "--device", "tpu"]);
    refused.failed(2, "'tpu'");
    assert!(refused.stderr.contains("[possible values: cpu, cuda]"), "{refused:?}");
}

#[test]
fn a_candidate_does_not_depend_on_how_many_are_drawn() {
    let place = Place::with_run();
    let candidates = |n: &str, out: &str| {
        let arguments = ["sample", "results/tiny", "--caption", "a red circle", "--n", n, "--keep", n, "--out", out];
        let said = place.experiment(&arguments);
        let mut pictures = Vec::new();
        for line in said.done().iter().filter(|line| line.contains("(candidate ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let candidate: usize = words[3].trim_end_matches(')').parse().unwrap();
            pictures.push((candidate, words[0].to_owned(), fs::read(place.path(words[1])).unwrap()));
        }
        pictures.sort();
        assert_eq!(pictures.len().to_string(), n);
        assert!(place.path(out).join("sheet.png").is_file());
        pictures
    };
    let five = candidates("5", "five");
    assert_eq!(candidates("1", "one"), five[..1]);
    assert!(five.iter().any(|(_, _, picture)| *picture != five[0].2), "five times the same picture");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_run_is_used_on_the_device_that_is_asked_for() {
    let place = Place::with_run().write("a.png", png(16, 16, 0));
    for asked in [
        &["sample", "results/tiny", "--caption", "a"][..],
        &["encode", "results/tiny", "a.png"],
        &["rerank", "results/tiny", "--caption", "a", "a.png"],
        &["eval", "results/tiny"],
    ] {
        place.experiment(&[asked, &["--device", "cuda"]].concat()).failed(6, "no CUDA in this build");
    }
}

#[cfg(not(feature = "emoji"))]
#[test]
fn emoji_are_refused_with_the_feature_that_brings_them() {
    Place::new().experiment(&["data", "emoji"]).failed(2, "no emoji in this build: build it with --features emoji");
}

#[test]
fn a_primed_sample_keeps_the_rows_it_was_given() {
    let place = Place::with_run().write("given.png", png(16, 16, 90));
    let encoded = |image: &str| -> Vec<Value> {
        let said = place.experiment(&["encode", "results/tiny", image]);
        let tokens: Value = serde_json::from_str(said.done()[0]).unwrap();
        assert_eq!((&tokens["height"], &tokens["width"]), (&4.into(), &4.into()));
        tokens["codes"].as_array().unwrap().clone()
    };
    let tokens = serde_json::json!({"height": 4, "width": 4, "codes": encoded("given.png")}).to_string();
    let place = place.write("tokens.json", tokens);
    place.experiment(&["decode", "results/tiny", "tokens.json"]).done();
    let decoded = fs::read(place.path("decoded.png")).unwrap();
    // All rows given: the sample is what the first stage makes of the picture.
    let fixed = ["--caption", "a blue square", "--n", "1", "--prime", "given.png", "--prime-rows"];
    let sample = |rows: &str, out: &str| {
        place.experiment(&[&["sample", "results/tiny"], &fixed[..], &[rows, "--out", out]].concat()).done();
        fs::read(place.path(out).join("0-0.png")).unwrap()
    };
    assert_eq!(sample("4", "all"), decoded);
    assert_ne!(sample("0", "none"), decoded);
    place.experiment(&[&["sample", "results/tiny"], &fixed[..], &["5"]].concat()).failed(2, "the grid has 4 rows");
}

#[test]
fn guidance_changes_the_pictures_of_a_run_that_dropped_captions() {
    let place = Place::with_spec();
    // A VQ-VAE uses several codes after so few steps, and without an average the transformer has learned something.
    let sets = [
        "first_stage.kind=vqvae",
        "first_stage.steps=60",
        "transformer.steps=60",
        "transformer.ema.decay=0",
        "transformer.optimizer.lr={from: 0.003, to: 0.003}",
        "transformer.caption_dropout=0.3",
    ];
    let more = sets.iter().flat_map(|set| ["--set", set]);
    place.experiment(&["tiny.yaml"].into_iter().chain(more).collect::<Vec<_>>()).done();
    let sample = |guidance: &str| {
        let fixed = ["sample", "results/tiny", "--caption", "a red circle", "--n", "8", "--guidance"];
        place.experiment(&[&fixed[..], &[guidance, "--out", guidance]].concat()).done();
        fs::read(place.path(guidance).join("sheet.png")).unwrap()
    };
    assert_ne!(sample("1"), sample("3"));
}

#[test]
fn guidance_is_refused_where_no_empty_caption_was_seen() {
    let place = Place::with_run();
    place
        .experiment(&["sample", "results/tiny", "--caption", "a red circle", "--guidance", "3"])
        .failed(2, "caption_dropout");
    place.experiment(&["tiny.yaml", "--set", "sample.guidance=3"]).failed(2, "empty captions");
}

#[test]
fn encode_and_decode_take_any_size_that_the_strides_divide() {
    let place = Place::with_run().write("wide.png", png(48, 32, 40));
    place.experiment(&["encode", "results/tiny", "wide.png", "--out", "wide.json"]).done();
    let tokens: Value = serde_json::from_slice(&fs::read(place.path("wide.json")).unwrap()).unwrap();
    assert_eq!((&tokens["height"], &tokens["width"]), (&8.into(), &12.into()));
    assert_eq!(tokens["codes"].as_array().unwrap().len(), 96);
    assert_eq!(place.experiment(&["decode", "results/tiny", "wide.json", "--out", "back.png"]).done(), ["back.png"]);
    let back = Picture::open(place.path("back.png")).unwrap();
    assert_eq!((back.width, back.height), (48, 32));
}

#[test]
fn rerank_sorts_pictures_and_classifies_with_several_captions() {
    let place = Place::with_run().write("a.png", png(16, 16, 0)).write("b.png", png(40, 20, 250));
    let rerank = ["rerank", "results/tiny", "--caption", "a red circle"];
    let said = place.experiment(&[&rerank[..], &["a.png", "b.png"]].concat());
    let lines = said.done();
    let scores: Vec<f64> = lines.iter().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect();
    assert!(lines.len() == 2 && scores[0] >= scores[1], "{lines:?}");
    let said = place.experiment(&[&rerank[..], &["--caption", "a blue square", "a.png", "b.png"]].concat());
    let lines = said.done();
    assert!(lines.len() == 6 && lines[0] == "a.png" && lines[3] == "b.png", "{lines:?}");
    let template = |template: &str| place.experiment(&[&rerank[..], &["--template", template, "a.png"]].concat());
    assert_eq!(template("{}").done()[0], format!("{:>6.2}  a.png", score_of_a(&place)));
    assert_ne!(template("{} and a blue square").stdout, template("{}").stdout);
    template("a picture").failed(2, "expected {} where the caption goes");
}

fn score_of_a(place: &Place) -> f64 {
    let said = place.experiment(&["rerank", "results/tiny", "--caption", "a red circle", "a.png"]);
    said.done()[0].split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn masks_are_drawn() {
    let place = Place::new();
    let said = place.experiment(&["masks", "--text", "6", "--grid", "4", "--kernel", "3", "--out", "masks"]);
    let lines = said.done();
    assert_eq!(lines.len(), fs::read_dir(place.path("masks")).unwrap().count());
    // Full attention over 6 text slots and 16 positions is every causal pair.
    assert!(lines[0].starts_with("full") && lines[0].contains(" 253 pairs"), "{lines:?}");
    assert!(Picture::open(place.path("masks/row.png")).is_ok());
}

#[test]
fn the_report_is_written_again() {
    let place = Place::with_run();
    let report = place.run().join("report.html");
    fs::remove_file(&report).unwrap();
    let said = place.experiment(&["report", "results/tiny"]);
    assert_eq!(place.path(said.done()[0]), report);
    assert!(report.is_file());
}

#[test]
fn shapes_are_shown() {
    let place = Place::new();
    let said = place.experiment(&["data", "shapes", "--size", "64"]);
    assert!(said.done().len() > 48 && place.path("experiments/data/shapes/sheet.png").is_file());
    place.experiment(&["data", "shapes", "--size", "48"]).failed(2, "32 or 64");
}

#[test]
fn a_wrong_verb_gets_the_right_hint() {
    let place = Place::with_spec();
    place.experiment(&["swep"]).failed(2, "\"swep\" is neither a spec nor a verb; did you mean `sweep`?");
    place.experiment(&["swep", "tiny.yaml", "--jobs", "2"]).failed(2, "did you mean `sweep`?");
    place
        .experiment(&["comapre", "a", "b"])
        .failed(2, "\"comapre\" is neither a spec nor a verb; did you mean `compare`?");
    place.experiment(&["--json", "list"]).failed(2, "the verb `list` stands before its options: experiment list");
    place.experiment(&["zzz"]).failed(2, "the verbs are train, sweep, list");
    let said = place.experiment(&["tiny.yaml", "--set", "sweep.grid.seed=[1]", "--dry-run"]);
    said.failed(2, "unknown key `sweep`");
    assert!(!said.stderr.contains("did you mean `sweep`"), "{said:?}");
    place.experiment(&["train", "missing.yaml"]).failed(2, "missing.yaml: no such spec");
    assert_eq!(
        place.experiment(&["train", "tiny.yaml", "--dry-run"]).done(),
        place.experiment(&["tiny.yaml", "--dry-run"]).done()
    );
}
