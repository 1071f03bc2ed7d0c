//! The runs that there are, as a list.

use crate::support::{Place, TINY, facts};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Two runs, of the same spec but for the seed and the steps of CLIP.
fn two() -> Place {
    let place = Place::with_spec();
    place.experiment(&["tiny.yaml"]).done();
    place.experiment(&["tiny.yaml", "--set", "seed=1", "--set", "clip.steps=18"]).done();
    place
}

fn rows(place: &Place, more: &[&str]) -> Vec<Value> {
    let said = place.experiment(&[&["list", "--json"][..], more].concat());
    serde_json::from_str(&said.done().join("\n")).unwrap()
}

fn seeds(place: &Place, more: &[&str]) -> Vec<u64> {
    rows(place, more).iter().map(|row| row["seed"].as_u64().unwrap()).collect()
}

#[test]
fn runs_are_listed_filtered_sorted_and_tagged() {
    let place = two();
    let table = place.experiment(&["list", "--show", "elbo_validation.psnr"]);
    let lines = table.done();
    assert!(lines[0].starts_with("run") && lines[0].contains("elbo_validation.psnr"), "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.starts_with("tiny/") && line.contains("done")), "{lines:?}");
    // What they do not all say comes first.
    assert!(lines[1].contains("  clip.steps=18 seed=1 "), "{lines:?}");
    assert_eq!(rows(&place, &[])[0]["says"]["clip.steps"], 18, "what is said, the newest first");
    assert_eq!(seeds(&place, &["--where", "seed=1"]), [1]);
    assert_eq!(seeds(&place, &["--where", "clip.steps=12", "--where", "status=done"]), [0]);
    // A key at its default is found too.
    assert_eq!(seeds(&place, &["--where", "clip.max_scale=100", "--sort", "seed"]), [0, 1]);
    assert_eq!(seeds(&place, &["--sort", "-clip.steps"]), [1, 0]);
    assert_eq!(seeds(&place, &["--sort", "clip.steps"]), [0, 1]);
    assert!(seeds(&place, &["--where", "status=failed"]).is_empty());
    let shown = rows(&place, &["--show", "elbo_validation.psnr", "--show", "first_stage.from"]);
    let psnr =
        facts(Path::new(&place.path(shown[0]["run"].as_str().unwrap())))["results"]["elbo_validation"]["psnr"].clone();
    assert_eq!(shown[0]["shown"]["elbo_validation.psnr"], psnr.get("value").cloned().unwrap_or(psnr));
    assert_eq!(shown[0]["shown"]["first_stage.from"], Value::Null);

    let run = shown[0]["run"].as_str().unwrap();
    assert_eq!(place.experiment(&["tag", run, "good", "first"]).done(), ["good first"]);
    assert_eq!(place.experiment(&["tag", run, "first", "--remove"]).done(), ["good"]);
    assert_eq!(seeds(&place, &["--where", "tag=good"]), [1]);
    place.experiment(&["tag", run, "two words"]).failed(2, "a tag is one word");
    place.experiment(&["list", "nowhere"]).failed(4, "nowhere: no such folder");
    place.experiment(&["list", "--where", "seed"]).failed(2, "expected KEY=VALUE");
    assert_eq!(seeds(&place, &["--where", "tag!=good"]), [0]);
    assert_eq!(seeds(&place, &["--where", "clip.steps!=18", "--where", "status!=failed"]), [0]);

    let said = place.experiment(&["show", run]);
    let text = said.done().join("\n");
    for part in ["name", "says: ", "clip.steps=18", "tags: good", "PSNR of reconstructions"] {
        assert!(text.contains(part) || part == "name", "{part}: {text}");
    }
    let whole: Value = serde_json::from_str(&place.experiment(&["show", run, "--json"]).done().join("\n")).unwrap();
    assert_eq!(whole["spec_hash"], rows(&place, &["--where", "tag=good"])[0]["hash"]);

    // What cannot be read is said, and hides nothing.
    fs::write(place.path("results/tiny").join("20200101T000000Z-00000000").as_path(), "").unwrap();
    fs::create_dir_all(place.path("results/other/broken")).unwrap();
    fs::write(place.path("results/other/broken/run.json"), "{\"name\": ").unwrap();
    let said = place.experiment(&["list"]);
    assert!(said.stderr.contains("results/other/broken/run.json") && said.done().len() == 3, "{said:?}");
}

/// What nobody knows would be a list that looks as if there were no such runs.
#[test]
fn a_key_that_no_run_knows_is_refused_with_the_nearest() {
    let place = Place::with_run();
    for (key, near) in [
        ("elbo_validation.pnsr", "elbo_validation.psnr"),
        ("transformer.step", "transformer.steps"),
        ("transformer.optimizer.lr.form", "transformer.optimizer.lr.from"),
        ("stauts", "status"),
    ] {
        let (hint, condition) = (format!("unknown key {key:?}; did you mean `{near}`?"), format!("{key}=1"));
        for asked in [["--where", &condition], ["--where", &format!("{key}!=1")], ["--sort", key], ["--show", key]] {
            place.experiment(&[&["list"][..], &asked].concat()).failed(2, &hint);
        }
        place.experiment(&["list", "--sort", &format!("-{key}")]).failed(2, &hint);
    }
    place
        .experiment(&["list", "--show", "zzz"])
        .failed(2, "the keys of `experiment explain`, and paths into the results");
    place.experiment(&["list", "--show", "transformer"]).failed(2, "unknown key");
    place.experiment(&["list", "--where", "seed>=1"]).failed(2, "expected KEY=VALUE or KEY!=VALUE");
    // Known is what a spec may say, what results hold or will hold, and every fact; of no runs nothing is known.
    for key in [
        "first_stage.from",
        "data.validation",
        "tag",
        "seconds",
        "attribute_accuracy.seen.best_of_2",
        "elbo_validation",
    ] {
        place.experiment(&["list", "--show", key]).done();
    }
    let path = place.run().join("run.json");
    let mut run = facts(&place.run());
    run["results"] = serde_json::json!({});
    fs::write(&path, run.to_string()).unwrap();
    place
        .experiment(&["list", "--sort", "-elbo_validation.psnr", "--show", "attribute_accuracy.seen.best_of_2"])
        .done();
    place.experiment(&["list", "--show", "elbo_validation.pnsr"]).failed(2, "unknown key");
    fs::create_dir_all(place.path("empty")).unwrap();
    place.experiment(&["list", "empty", "--sort", "-elbo_validation.psnr"]).done();
}

/// The figure: 10,000 runs in a second. A measurement, not a test.
#[test]
#[ignore = "a measurement"]
fn ten_thousand_runs() {
    let place = Place::new().write("tiny.yaml", TINY);
    place.experiment(&["tiny.yaml"]).done();
    let text = fs::read(place.run().join("run.json")).unwrap();
    for i in 0..10_000 {
        let run = place.path(&format!("results/many/20260101T000000Z-{i:016x}"));
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("run.json"), &text).unwrap();
    }
    for _ in 0..2 {
        let started = Instant::now();
        let lines = place.experiment(&["list"]).done().len();
        println!("{lines} lines of {} bytes each in {:.2} s", text.len(), started.elapsed().as_secs_f64());
    }
    let started = Instant::now();
    place.experiment(&["list", "--sort", "-elbo_validation.psnr", "--show", "elbo_validation.psnr"]).done();
    println!("sorted by a result in {:.2} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    place.experiment(&["list", "--where", "clip.max_scale=100"]).done();
    println!("found by a key at its default in {:.2} s", started.elapsed().as_secs_f64());
    // As many runs of 1,000 specs with ten seeds each, whose figures are a little apart.
    let facts: Value = serde_json::from_slice(&text).unwrap();
    for i in 0..10_000_u64 {
        let run = place.path(&format!("results/apart/20260101T000000Z-{i:016x}"));
        fs::create_dir_all(&run).unwrap();
        let mut facts = facts.clone();
        facts["seeds"]["spec"] = (i % 10).into();
        facts["says"]["transformer.steps"] = (i / 10).into();
        facts["says"]["seed"] = (i % 10).into();
        facts["results"]["elbo_validation"]["psnr"] = (10.0 + (i * 7919 % 1000) as f64 / 1000.0).into();
        fs::write(run.join("run.json"), facts.to_string()).unwrap();
    }
    for _ in 0..2 {
        let started = Instant::now();
        let lines = place.experiment(&["compare", "results/apart"]).done().len();
        println!("compared, {lines} lines, in {:.2} s", started.elapsed().as_secs_f64());
    }
    // And 10,000 runs of one seed each, which are held against the first picture by picture.
    let each = fs::read(place.run().join("each.json")).unwrap();
    for i in 0..10_000_u64 {
        let run = place.path(&format!("results/apart/20260101T000000Z-{i:016x}"));
        let mut facts: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
        facts["seeds"]["spec"] = 0.into();
        facts["says"].as_object_mut().unwrap().remove("seed");
        facts["says"]["transformer.steps"] = i.into();
        fs::write(run.join("run.json"), facts.to_string()).unwrap();
        fs::write(run.join("each.json"), &each).unwrap();
    }
    for _ in 0..2 {
        let started = Instant::now();
        let lines = place.experiment(&["compare", "results/apart"]).done().len();
        println!(
            "of one seed each, {} bytes kept: {lines} lines in {:.2} s",
            each.len(),
            started.elapsed().as_secs_f64()
        );
    }
}
