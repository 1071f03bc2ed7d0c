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
