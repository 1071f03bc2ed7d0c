//! Pictures are coded once: the file of codes, made by `data encode` or on the way.

use crate::support::{Place, TINY, bits, facts};
use std::fs;
use std::path::PathBuf;

/// A folder of pictures, and a spec that trains on them in `views` fixed views, or as they are.
fn place(views: u64) -> Place {
    let place = Place::new();
    let make = ["data", "shapes", "--size", "32", "--count", "40", "--out", "pictures"];
    place.experiment(&make).done();
    let (_, stages) = TINY.split_once("first_stage").unwrap();
    let data = match views {
        0 => "augment: false, flip: false, flip_pairs: false".into(),
        views => format!("views: {views}"),
    };
    let spec =
        format!("name: own\npreset: tiny\ndata: {{kind: folder, train: [pictures], {data}}}\nfirst_stage{stages}");
    place.write("own.yaml", spec.replace(", seen: 4, held_out: 4, two_objects: 4", ""))
}

fn run(place: &Place, name: &str) -> PathBuf {
    let runs = fs::read_dir(place.path(&format!("results/{name}"))).unwrap().map(|entry| entry.unwrap().path());
    runs.filter(|path| path.join("run.json").is_file()).max().unwrap()
}

fn codes(place: &Place, name: &str) -> [u64; 2] {
    let facts = facts(&run(place, name));
    ["found", "coded"].map(|key| facts["codes"]["transformer"][key].as_u64().unwrap())
}

#[test]
fn a_training_from_kept_codes_has_the_bits_of_one_without() {
    for views in [0, 2] {
        let (with, without) = (place(views), place(views).write("results/tokens", "in the way"));
        with.experiment(&["own.yaml"]).done();
        let said = without.experiment(&["own.yaml"]);
        said.done();
        assert!(said.stderr.contains("pictures are coded each time anew"), "{said:?}");
        let [left, right] = [&with, &without].map(|place| bits(&run(place, "own")));
        let stages = |bits: &std::collections::BTreeMap<String, Vec<u8>>| {
            let of = |(name, bytes): (&String, &Vec<u8>)| {
                name.starts_with("checkpoints").then(|| (name.clone(), bytes.clone()))
            };
            bits.iter().filter_map(of).collect::<Vec<_>>()
        };
        assert_eq!(stages(&left), stages(&right));
        let [found, coded] = codes(&with, "own");
        assert!(found > 0 && coded < 96 && found + coded == 96, "{found} {coded}");
        assert_eq!(codes(&without, "own"), [0, 96]);
        // What lies below `results` beside the runs of a name is no name for runs.
        for entry in fs::read_dir(with.path("results")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let said = with.experiment(&["check", "own.yaml", "--spec-only", "--set", &format!("name={name}")]);
            match name.as_str() {
                "own" => drop(said.done()),
                _ => said.failed(2, &format!("`name` must not be `{name}`")),
            }
        }
    }
}

#[test]
fn what_was_encoded_before_is_only_read() {
    let place = place(3);
    place.experiment(&["data", "encode", "own.yaml"]).failed(2, "expected a first stage that is trained");
    place.experiment(&["own.yaml"]).done();
    let said = place.experiment(&["data", "encode", "own.yaml"]);
    let lines = said.done();
    assert!(lines[0].starts_with("36 samples: "), "{lines:?}");
    let more = ["own.yaml", "--set", "name=more", "--set", "first_stage.from=results/own"];
    place.experiment(&[&["data", "encode"][..], &more].concat()).done();
    place.experiment(&more).done();
    assert_eq!(codes(&place, "more"), [96, 0]);
    let file = place.path(lines.last().unwrap());
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    // Another first stage has codes of its own.
    place.experiment(&["own.yaml", "--set", "name=third", "--set", "seed=1"]).done();
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 2);
    let fresh = ["data", "encode", "own.yaml", "--set", "data.views=0"];
    place.experiment(&fresh).failed(2, "set data.views");
}

/// Codes go with the last run that uses them, on the terms of everything else: said first, freed with `--yes`.
#[test]
fn codes_are_pruned_that_no_run_uses() {
    let place = place(0);
    for seed in ["seed=0", "seed=1"] {
        place.experiment(&["own.yaml", "--set", seed]).done();
    }
    let kept_in = |run: &PathBuf| facts(run)["codes"]["transformer"]["kept_in"].as_str().unwrap().to_owned();
    let mut runs: Vec<PathBuf> =
        fs::read_dir(place.path("results/own")).unwrap().map(|entry| entry.unwrap().path()).collect();
    runs.sort_by_key(|run| facts(run)["seeds"]["spec"].as_u64());
    let names = [kept_in(&runs[0]), kept_in(&runs[1])];
    fs::write(place.path("results/tokens/half.codes.tmp"), [0; 10]).unwrap();
    let found = |more: &[&str]| -> Vec<(String, String, u64)> {
        let said = place.experiment(&[&["prune", "--json"][..], more].concat()).done().join("\n");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let items = said["items"].as_array().unwrap().iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let items = items.map(|item| (text(&item["path"]), text(&item["why"]), item["bytes"].as_u64().unwrap()));
        items.filter(|(path, ..)| path.contains("/tokens/")).collect()
    };
    let half = ("results/tokens/half.codes.tmp".to_owned(), "unfinished".to_owned(), 10);
    assert_eq!(found(&[]), std::slice::from_ref(&half), "both are used");
    // One that may go on looks for those of its first stage.
    let path = runs[1].join("run.json");
    let mut facts = facts(&runs[1]);
    (facts["status"], facts["codes"]) = ("interrupted".into(), serde_json::Value::Null);
    fs::write(&path, facts.to_string()).unwrap();
    assert_eq!(found(&[]), std::slice::from_ref(&half));
    fs::remove_dir_all(&runs[1]).unwrap();
    let dry = found(&[]);
    assert_eq!(
        (dry.len(), dry[0].0.as_str(), dry[0].1.as_str()),
        (2, &*format!("results/tokens/{}", names[1]), "unused-codes")
    );
    assert!(dry[0].2 >= 4096 && place.path(&dry[0].0).is_file());
    let text = place.experiment(&["prune"]).stdout;
    assert!(text.contains("unused codes      results/tokens/"), "{text}");
    assert_eq!(found(&["--yes"]), dry);
    let left: Vec<_> =
        fs::read_dir(place.path("results/tokens")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [names[0].as_str()]);
    // What is pruned of the folder of one name says nothing of the codes of all.
    assert!(place.experiment(&["prune", "results/own"]).done().iter().all(|line| !line.contains("tokens")));
}

/// A file that something else wrote over is made anew, and it is said; the training goes on.
#[test]
fn a_damaged_file_of_codes_is_made_again() {
    let place = place(0);
    place.experiment(&["own.yaml"]).done();
    let tokens = fs::read_dir(place.path("results/tokens")).unwrap().next().unwrap().unwrap().path();
    fs::write(&tokens, "something else").unwrap();
    let said = place.experiment(&["data", "encode", "own.yaml"]);
    assert!(said.done()[0].contains("36 pictures coded, 0 were there"), "{said:?}");
    assert!(said.stderr.contains("not the codes that were kept here; pictures are coded again"), "{said:?}");
    let again = place.experiment(&["data", "encode", "own.yaml"]);
    assert!(again.done()[0].contains("0 pictures coded, 36 were there"), "{again:?}");
}
