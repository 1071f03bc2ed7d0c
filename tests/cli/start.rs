//! `experiment new`: a spec that fits somebody's pictures.

use crate::support::{Place, png};
use std::fs;

fn pictures(count: u8, side: usize) -> Place {
    (0..count).fold(Place::new(), |place, index| {
        let name = format!("my pictures/{index:02}");
        let place = place.write(&format!("{name}.png"), png(side, side + 4, index));
        place.write(&format!("{name}.txt"), format!("a gradient, number {index}"))
    })
}

/// What was written, without the times, which are the machine's.
fn timeless(text: &str) -> String {
    let mut rest = text.replace('\n', "\u{0}");
    let mut found = String::new();
    while let Some((before, after)) = rest.split_once("about ") {
        let (_, after) = after.split_once("here").unwrap();
        found += &format!("{before}about TIME here");
        rest = after.to_owned();
    }
    (found + &rest).replace('\u{0}', "\n")
}

#[test]
fn few_pictures_get_a_spec_that_checks_and_trains() {
    let place = pictures(12, 40);
    let said = place.experiment(&["new", "my pictures", "--out", "specs/mine.yaml"]);
    assert!(said.done()[0].starts_with("specs/mine.yaml: 12 samples in a folder, preset mini, about "), "{said:?}");
    assert!(said.stderr.contains("- whether the pictures hold writing"), "{said:?}");
    let text = fs::read_to_string(place.path("specs/mine.yaml")).unwrap();
    insta::assert_snapshot!("spec_of_few_pictures", timeless(&text));
    let schema = fs::read_to_string(place.path("specs/schema.json")).unwrap();
    assert_eq!(schema.trim_end(), place.experiment(&["schema"]).stdout.trim_end());
    let checked = place.experiment(&["check", "specs/mine.yaml"]);
    assert_eq!(checked.done()[0], "specs/mine.yaml: ok");
    place.experiment(&["new", "my pictures", "--out", "specs/mine.yaml"]).failed(2, "is there already");
    let small = ["preset=tiny", "first_stage.steps=2", "transformer.steps=2", "clip.steps=2"];
    let sets: Vec<&str> = small.iter().flat_map(|set| ["--set", set]).collect();
    place.experiment(&[&["specs/mine.yaml"][..], &sets].concat()).done();
}

#[test]
fn shards_are_taken_for_shards() {
    let pair = |tar: &mut tar::Builder<fs::File>, name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    let place = Place::new().write("shards/readme.md", "").write("shards/own.png", png(40, 40, 0));
    for shard in 0..2u8 {
        let mut tar = tar::Builder::new(fs::File::create(place.path(&format!("shards/train-{shard}.tar"))).unwrap());
        for index in 0..4u8 {
            pair(&mut tar, &format!("{index}.png"), &png(64, 64, 8 * shard + index));
            // One in four is broken.
            let caption = if index == 3 { String::new() } else { "a gradient ".repeat(60) + &index.to_string() };
            pair(&mut tar, &format!("{index}.txt"), caption.as_bytes());
        }
        tar.finish().unwrap();
    }
    place.experiment(&["new", "shards"]).done();
    let text = fs::read_to_string(place.path("shards.yaml")).unwrap();
    for part in
        ["kind: webdataset", "train: [shards]", "max_bad: 0.5", "2 no-caption", "beside-shards", "captions are cut"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(place.experiment(&["check", "shards.yaml"]).done()[0], "shards.yaml: ok");
    place.experiment(&["new", "shards/train-*.tar", "--out", "a/b.yaml"]).done();
    assert!(fs::read_to_string(place.path("a/b.yaml")).unwrap().contains("train: [\"../shards/train-*.tar\"]"));
    place.experiment(&["new", "shards/train-0.tar"]).done();
    assert_eq!(place.experiment(&["check", "a/b.yaml", "train-0.yaml"]).done()[0], "a/b.yaml: ok");
}

#[test]
fn what_cannot_be_trained_on_is_said_and_nothing_is_written() {
    let place = pictures(1, 40);
    let tried = |place: &Place, data: &str, needle: &str| {
        place.experiment(&["new", data, "--out", "new.yaml"]).failed(4, needle);
        assert!(!place.path("new.yaml").exists() && !place.path("schema.json").exists());
    };
    tried(&place, "my pictures", "expected at least two samples");
    tried(&place, "gone", "gone: no such folder or shard");
    tried(&place, "gone/*.tar", "gone");
    tried(&pictures(4, 9), "my pictures", "9 to 9 pixels wide, 13 to 13 high; expected a short side of at least 16");
    let place =
        (0..3u8).fold(Place::new(), |place, index| place.write(&format!("bare/{index}.png"), png(40, 40, index)));
    tried(&place, "bare", "none of 3 samples can be used: 3 no-caption");
    tried(&place, "bare", "expected a file of captions with the same stem");
    tried(&Place::new().write("notes/a.md", "x"), "notes", "notes");
}
