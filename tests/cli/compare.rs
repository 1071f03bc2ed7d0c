//! Runs side by side.

use crate::support::{Place, facts};
use dalle::harness::compare::{Comparison, Over};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

fn run(place: &Place, sets: &[&str]) -> PathBuf {
    let more = sets.iter().flat_map(|set| ["--set", set]);
    let said = place.experiment(&["tiny.yaml"].into_iter().chain(more).collect::<Vec<_>>());
    place.path(said.done().last().unwrap()).parent().unwrap().to_owned()
}

/// Two specs, of which one has learned nothing, with the seeds 0 and 1.
fn four() -> (Place, [PathBuf; 4]) {
    let place = Place::with_spec();
    let long = "first_stage.steps=200";
    let runs = [
        run(&place, &["seed=0"]),
        run(&place, &["seed=1"]),
        run(&place, &[long, "seed=0"]),
        run(&place, &[long, "seed=1"]),
    ];
    (place, runs)
}

fn compared(place: &Place, more: &[&str]) -> Value {
    let said = place.experiment(&[&["compare", "--json"][..], more].concat());
    serde_json::from_str(&said.done().join("\n")).unwrap()
}

fn figure<'a>(comparison: &'a Value, path: &str, group: usize) -> &'a Value {
    let rows = comparison["results"].as_array().unwrap();
    &rows.iter().find(|row| row["path"] == path).unwrap_or_else(|| panic!("{path}"))["figures"][group]
}

#[test]
fn runs_that_differ_in_the_seed_are_one_group_and_groups_are_held_against_the_first() {
    let (place, runs) = four();
    let names = runs.each_ref().map(|run| run.to_str().unwrap());
    let all = compared(&place, &names);
    let keys: Vec<&str> = all["keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"first_stage.steps") && !keys.contains(&"seed"), "{keys:?}");
    assert_eq!((&all["groups"][0]["seeds"], &all["groups"][1]["seeds"]), (&[0, 1].into(), &[0, 1].into()));
    let (short, long) = (figure(&all, "elbo_validation.psnr", 0), figure(&all, "elbo_validation.psnr", 1));
    let psnr = |run: &PathBuf| facts(run)["results"]["elbo_validation"]["psnr"].as_f64().unwrap();
    assert_eq!(short["seeds"], serde_json::json!([psnr(&runs[0]), psnr(&runs[1])]));
    assert!(short["spread"].as_f64().unwrap() > 0.0 && short["difference"].is_null(), "{short}");
    let expected = (psnr(&runs[2]) + psnr(&runs[3]) - psnr(&runs[0]) - psnr(&runs[1])) / 2.0;
    let difference = &long["difference"];
    assert!((difference["estimate"]["value"].as_f64().unwrap() - expected).abs() < 1e-9, "{difference}");
    // Seed by seed, of which there are two: Student's t with one degree of freedom.
    let moved = [psnr(&runs[2]) - psnr(&runs[0]), psnr(&runs[3]) - psnr(&runs[1])];
    let half = 12.706_205 * (moved[0] - moved[1]).abs() / 2.0;
    assert!((difference["estimate"]["high"].as_f64().unwrap() - expected - half).abs() < 1e-6, "{difference}");
    assert_eq!(difference["over"], "same-seeds");
    // Of other seeds: Welch's.
    let third = run(&place, &["first_stage.steps=200", "seed=2"]);
    let other = compared(&place, &[names[0], names[1], names[2], third.to_str().unwrap()]);
    assert_eq!(figure(&other, "elbo_validation.psnr", 1)["difference"]["over"], "seeds");
    fs::remove_dir_all(third).unwrap();
    let looked_at = all["looked_at"].as_u64().unwrap();
    assert!(looked_at > 20 && all["beyond"].as_u64().unwrap() <= looked_at, "{looked_at}");
    // A folder is all of its runs, the oldest first.
    assert_eq!(compared(&place, &["results/tiny"])["results"], all["results"]);

    // Of one seed each: over the same pictures, one by one, which kept what they came to.
    let two = compared(&place, &[names[0], names[2]]);
    let one = figure(&two, "elbo_validation.psnr", 1);
    assert_eq!((&one["difference"]["over"], &one["spread"]), (&"pairs".into(), &Value::Null));
    assert_eq!(one["difference"]["estimate"]["n"], 8);
    assert_eq!(one["difference"]["verdict"], "better", "16 times as many steps: {one}");
    let each: Value = serde_json::from_slice(&fs::read(runs[0].join("each.json")).unwrap()).unwrap();
    let values = each["figures"]["elbo_validation.psnr"]["values"].as_array().unwrap();
    let mean = values.iter().map(|value| value.as_f64().unwrap()).sum::<f64>() / values.len() as f64;
    assert!((mean - psnr(&runs[0])).abs() < 1e-9);
    // Every mean of a set, and every share of captions, has what is behind it.
    let facts = facts(&runs[0]);
    for (path, of) in each["figures"].as_object().unwrap() {
        let found = path.split('.').fold(&facts["results"], |value, key| &value[key]);
        let found = found.get("value").unwrap_or(found).as_f64().unwrap();
        let values = of["values"].as_array().unwrap();
        let mean = values.iter().map(|value| value.as_f64().unwrap()).sum::<f64>() / values.len() as f64;
        assert!((mean - found).abs() <= 1e-9 * found.abs().max(1.0), "{path}: {mean}, {found}");
    }

    // Of other seeds: other pictures.
    let apart = compared(&place, &[names[0], names[3]]);
    assert_eq!(figure(&apart, "elbo_validation.psnr", 1)["difference"]["over"], "each");

    // Every table fits a terminal: of many keys what tells a group from others stands below it.
    let told = Comparison::of(&[
        place.path("results/tiny"),
        run(&place, &["text.dropout=0.2", "transformer.attention=[row, col]"]),
    ]);
    fits(&told.as_ref().unwrap().to_string());
    assert_eq!(told.unwrap().to_string().matches("\n  first_stage.").count(), 3, "a line for each group");
    fs::remove_dir_all(newest(&place)).unwrap();
    let said = place.experiment(&["compare", "results/tiny", "--html", "side.html"]);
    fits(said.done().join("\n").split("differences were looked at").next().unwrap().rsplit_once('\n').unwrap().0);
    let text = said.done().join("\n");
    for part in [
        "first_stage.steps",
        "PSNR of reconstructions",
        "less A",
        "over the same seeds, one by one",
        "differences were looked at",
        "Discrete VAE",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let html = fs::read_to_string(place.path("side.html")).unwrap();
    for section in ["specs", "results", "curves", "pictures", "runs"] {
        assert!(html.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    assert!(html.matches("data:image/png").count() > 10 && html.matches("<svg").count() > 10);
    assert!(!html.contains(place.path("").to_str().unwrap()), "no path of this machine");
}

/// Asserts that no line of a table is wider than a terminal of 100 columns; sentences begin with a capital letter.
fn fits(text: &str) {
    for line in
        text.lines().filter(|line| !line.starts_with(|letter: char| letter.is_ascii_digit() || letter.is_uppercase()))
    {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

fn newest(place: &Place) -> PathBuf {
    let runs = fs::read_dir(place.path("results/tiny")).unwrap().map(|run| run.unwrap().path());
    runs.max_by_key(|run| facts(run)["started"].as_str().map(str::to_owned)).unwrap()
}

#[test]
fn many_groups_fit_a_terminal_too() {
    let place = Place::with_run();
    let text = fs::read_to_string(place.run().join("run.json")).unwrap();
    let mut facts: Value = serde_json::from_str(&text).unwrap();
    for steps in 1..9 {
        let run = place.path(&format!("results/many/20260101T000000Z-{steps:016x}"));
        fs::create_dir_all(&run).unwrap();
        facts["says"]["transformer.steps"] = steps.into();
        facts["results"]["elbo_validation"]["psnr"] = (steps as f64).into();
        facts["results"]["elbo_validation"]["image_token_nats"] = (50.0 + steps as f64).into();
        facts["results"]["elbo_validation"]["codes_in_use"] = steps.into();
        facts["results"]["attribute_accuracy"]["seen"]["best_of_2"]["value"] = (steps as f64 / 100.0).into();
        fs::write(run.join("run.json"), facts.to_string()).unwrap();
    }
    let text = Comparison::of(&[place.path("results/many")]).unwrap().to_string();
    fits(&text);
    let words: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in ["group (1) ↑ (2) ↑ (3) ↓ (4) ↑", "(3): validation · image tokens ↓", "H 8.0 % within 8 58 8"]
    {
        assert!(words.iter().any(|own| own == line), "{line}: {text}");
    }
}

#[test]
fn what_cannot_be_compared_is_said() {
    let place = Place::with_run();
    let first = place.run();
    place.experiment(&["compare", "nowhere"]).failed(4, "nowhere: no run here");
    // The same spec and seed again is no repeat.
    place.experiment(&["tiny.yaml"]).done();
    let again = compared(&place, &["results/tiny"]);
    assert_eq!(again["groups"].as_array().unwrap().len(), 1);
    assert_eq!(again["groups"][0]["runs"].as_array().unwrap().len(), 1);
    assert_ne!(again["groups"][0]["runs"][0], first.to_str().unwrap());
    assert!(again["notes"][0].as_str().unwrap().starts_with("1 older runs of the same spec"), "{again}");
    // What was kept must be what was written.
    let other = run(&place, &["clip.steps=18"]);
    fs::write(other.join("each.json"), "{}").unwrap();
    let said = place.experiment(&["compare", first.to_str().unwrap(), other.to_str().unwrap()]);
    assert!(said.stdout.contains("note: not compared one by one: ") && said.stdout.contains("each.json"), "{said:?}");
    // Without results there is nothing to compare.
    let mut facts = facts(&other);
    facts["results"] = serde_json::json!({});
    fs::write(other.join("run.json"), facts.to_string()).unwrap();
    place.experiment(&["compare", other.to_str().unwrap()]).failed(4, "no run with results");
    assert_eq!(
        compared(&place, &[first.to_str().unwrap(), other.to_str().unwrap()])["groups"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_comparison_is_a_value() {
    let place = Place::with_run();
    let other = run(&place, &["clip.steps=18"]);
    let first =
        fs::read_dir(place.path("results/tiny")).unwrap().map(|run| run.unwrap().path()).find(|run| *run != other);
    let comparison = Comparison::of(&[first.unwrap(), other]).unwrap();
    assert_eq!(comparison.title(1), "B: clip.steps=18");
    // What CLIP has no part in is the same to the bit.
    let psnr = comparison.results.iter().find(|row| row.path == "elbo_validation.psnr").unwrap();
    let difference = psnr.figures[1].as_ref().unwrap().difference.as_ref().unwrap();
    assert_eq!((difference.estimate.value, difference.over, difference.verdict), (0.0, Over::Pairs, None));
    assert!(comparison.html().unwrap().contains("the same"));
}
