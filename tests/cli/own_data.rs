//! What people bring: names that repeat, captions in other encodings, sets that are of no use. Nothing of it is silent.

use crate::support::{Place, TINY, bits, facts, png};
use serde_json::Value;
use std::fs;

/// [`TINY`] with another `data:`.
fn spec(data: &str) -> String {
    let lines = TINY.lines().map(|line| if line.starts_with("data:") { data } else { line });
    lines.map(|line| format!("{line}\n")).collect()
}

const FOLDER: &str = "data: {kind: folder, train: [train], validation: {held: [held]}}";

/// `train/` with 12 pairs and `held/` with 4, and a spec that reads them.
fn folder(data: &str) -> Place {
    let mut place = Place::new().write("tiny.yaml", spec(data));
    for i in 0..16u8 {
        let name = format!("{}/{i}", if i < 12 { "train" } else { "held" });
        place = place.write(&format!("{name}.png"), png(16, 16, 15 * i));
        place = place.write(&format!("{name}.txt"), format!("picture number {i}"));
    }
    place
}

/// A tar shard of pictures and captions under the given keys.
fn shard(pairs: &[(String, u8)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (key, i) in pairs {
        for (name, bytes) in [("png", png(16, 16, 15 * i)), ("txt", format!("number {i}").into_bytes())] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("{key}.{name}"), bytes.as_slice()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

#[test]
fn pictures_and_captions_are_the_same_whatever_their_keys() {
    let data = "data: {kind: webdataset, train: [same], validation: {held: [held.tar]}}";
    let mut place = Place::new().write("tiny.yaml", spec(data));
    for (set, start) in [("same", 0), ("unique", 100)] {
        for tar in 0..2u8 {
            let pairs: Vec<(String, u8)> =
                (0..6).map(|i| (format!("{:03}", i + usize::from(tar) * start), i as u8 + 6 * tar)).collect();
            place = place.write(&format!("{set}/{tar}.tar"), shard(&pairs));
        }
    }
    let place = place.write("held.tar", shard(&[("a".into(), 14), ("b".into(), 15)]));
    place.experiment(&["tiny.yaml", "--out", "a"]).done();
    place.experiment(&["tiny.yaml", "--out", "b", "--set", "data.train=[unique]"]).done();
    let metrics = |out: &str| {
        let run = fs::read_dir(place.path(&format!("{out}/tiny"))).unwrap().next().unwrap().unwrap().path();
        bits(&run).remove("metrics").unwrap()
    };
    assert_eq!(String::from_utf8(metrics("a")).unwrap(), String::from_utf8(metrics("b")).unwrap());
}

#[test]
fn captions_are_read_as_text_or_not_at_all() {
    let utf16: Vec<u8> = "\u{feff}a red cat".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let place = folder(FOLDER).write("held/12.txt", &utf16).write("train/3.txt", b"caf\xe9");
    place.experiment(&["tiny.yaml", "--set", "data.max_bad=0.2"]).done();
    let samples = fs::read_to_string(place.run().join("images/samples.json")).unwrap();
    assert!(samples.contains("a red cat") && !samples.contains('\u{fffd}'), "{samples}");
    assert_eq!(facts(&place.run())["bad_samples"]["transformer"]["by_reason"]["encoding"], 1);
    let warned = facts(&place.run())["warnings"].to_string();
    assert!(warned.contains("samples-skipped") && warned.contains("1 of 12 samples are broken"), "{warned}");
}

/// What the spec names is looked for at its line.
#[test]
fn data_that_are_not_there_point_at_the_line_that_names_them() {
    let line = TINY.lines().position(|line| line.starts_with("data:")).unwrap() + 1;
    for (data, named, why) in [
        ("data: {kind: folder, train: [train, gone], validation: {held: [held]}}", "gone", "cannot list"),
        ("data: {kind: folder, train: [train], validation: {held: [gone]}}", "gone", "cannot list"),
        ("data: {kind: folder, train: [\"gone*\"], validation: {held: [held]}}", "\"gone*\"", "nothing matches"),
        ("data: {kind: folder, train: [tiny.yaml], validation: {held: [held]}}", "tiny.yaml", "expected a folder"),
        ("data: {kind: webdataset, train: [gone.tar], validation: {held: [held]}}", "gone.tar", "gone.tar"),
    ] {
        let place = folder(data);
        let place_of = |said: &crate::support::Said, spec: &str| {
            let column = data.find(named).unwrap() + 1;
            said.failed(4, &format!("{spec}:{line}:{column}: "));
            said.failed(4, why);
            let caret = format!(
                "  | {}{} a path is relative to the spec's folder",
                " ".repeat(column - 1),
                "^".repeat(named.len())
            );
            assert!(said.stderr.contains(&caret), "{caret}\n{}", said.stderr);
        };
        place_of(&place.experiment(&["tiny.yaml"]), "tiny.yaml");
        place_of(&place.experiment(&["check", "tiny.yaml"]), "tiny.yaml");
        let text = fs::read_to_string(place.path("tiny.yaml")).unwrap();
        let place = place.write("swept.yaml", format!("{text}sweep: {{grid: {{seed: [0, 1]}}}}\n"));
        place_of(&place.experiment(&["check", "swept.yaml"]), "swept.yaml");
    }
    let data = FOLDER.replace("[train]", "[gone]");
    let said = folder(&data).experiment(&["tiny.yaml", "--set", "data.train=[nowhere]"]);
    said.failed(4, "--set:1:13: cannot list");
}

#[test]
fn a_set_that_is_of_no_use_is_found_before_training() {
    let mut place = folder("data: {kind: folder, train: [train], validation: {held: [held], mute: [mute]}}");
    for i in 0..4 {
        place = place.write(&format!("mute/{i}.png"), png(16, 16, i));
    }
    let said = place.experiment(&["tiny.yaml"]);
    said.failed(4, "mute: 4 of 4 samples are broken (4 no-caption)");
    assert!(!place.run().join("checkpoints/dvae").exists(), "{said:?}");
    place.experiment(&["check", "tiny.yaml"]).failed(4, "mute: 4 of 4 samples are broken (4 no-caption)");
    // A folder without captions is not the tokenizer's fault.
    let train = ["check", "tiny.yaml", "--set", "data={kind: folder, train: [mute]}"];
    place.experiment(&train).failed(4, "expected a file of captions with the same stem");
    let absent = ["check", "tiny.yaml", "--set", "data={kind: folder, train: [absent]}"];
    place.experiment(&absent).failed(4, "absent");
    let torn = ["check", "tiny.yaml", "--set", "data={kind: folder, train: [train, mute], validation: {held: [held]}}"];
    place.experiment(&torn).failed(4, "4 of 16 samples are broken");
    let one = ["check", "tiny.yaml", "--set", "data={kind: folder, train: ['train/0.png*']}"];
    place.experiment(&one).failed(4, "expected at least two samples");
}

#[test]
fn pictures_are_held_out_where_no_validation_set_is_named() {
    let place = folder("data: {kind: folder, train: [train], validation_share: 0.25}");
    let said = place.experiment(&["tiny.yaml"]);
    said.done();
    assert!(said.stderr.contains("data: 9 samples to train on; validation: 3, held out"), "{said:?}");
    let facts = facts(&place.run());
    assert_eq!((&facts["data"]["train"], &facts["data"]["validation"]["validation"]), (&9.into(), &3.into()));
    assert_eq!(facts["samples"]["first_stage"]["seen"], 9);
    assert_eq!(facts["results"]["elbo_validation"]["pairs"], 3);
    let none = ["check", "--spec-only", "tiny.yaml", "--set", "data.validation_share=0"];
    place.experiment(&none).failed(2, "`data.validation` must name files");
}

#[test]
fn what_is_filtered_does_not_stop_a_run() {
    let mut place = folder(FOLDER);
    for i in 0..4 {
        place =
            place.write(&format!("train/banner{i}.png"), png(64, 16, i)).write(&format!("train/banner{i}.txt"), "wide");
    }
    place.experiment(&["tiny.yaml"]).done();
    let counted = facts(&place.run())["samples"]["first_stage"].clone();
    assert_eq!((&counted["filtered"]["aspect"], &counted["seen"]), (&4.into(), &16.into()), "{counted}");
}

#[test]
fn a_caption_that_is_cut_is_said() {
    let long = (0..40).map(|word| format!("word{word}")).collect::<Vec<_>>().join(" ");
    let place = folder(FOLDER).write("train/0.txt", &long);
    place.experiment(&["tiny.yaml"]).done();
    let facts = facts(&place.run());
    let warned: Vec<(&Value, &Value)> =
        facts["warnings"].as_array().unwrap().iter().map(|w| (&w["stage"], &w["kind"])).collect();
    for stage in ["transformer", "clip"] {
        assert!(warned.contains(&(&stage.into(), &"captions-cut".into())), "{stage}: {warned:?}");
        assert_eq!(facts["captions"][stage]["looked_at"]["cut"], 1);
        assert!(facts["captions"][stage]["trained_on"]["cut"].as_u64().unwrap() > 0);
    }
    let said = place.experiment(&["sample", "results/tiny", "--caption", &long, "--n", "1"]);
    said.done();
    assert!(said.stderr.contains("transformer: 1 of 1 captions are cut"), "{said:?}");
    assert!(said.stderr.contains("CLIP: 1 of 1 captions are cut"), "{said:?}");
    let quiet = place.experiment(&["sample", "results/tiny", "--caption", "a", "--n", "1"]);
    assert!(!quiet.stderr.contains("cut"), "{quiet:?}");
    let image = "samples/0-0.png";
    let said = place.experiment(&["rerank", "results/tiny", "--caption", &long, image]);
    assert!(said.stderr.contains("CLIP: 1 of 1 captions are cut"), "{said:?}");
    let said = place.experiment(&["check", "tiny.yaml"]);
    assert!(said.stdout.contains("transformer: about 1 of 12 captions are cut"), "{said:?}");
}

#[test]
fn check_says_what_the_data_hold() {
    let place = folder(FOLDER)
        .write("train/tiny.png", png(3, 3, 0))
        .write("train/tiny.txt", "small")
        .write("train/lost.txt", "no picture here");
    let said = place.experiment(&["check", "tiny.yaml"]);
    let lines = said.done();
    assert_eq!(lines[0], "tiny.yaml: ok");
    for needle in ["training: 14 samples", "1 broken: 1 no-picture", "1 filtered out: 1 too-small", "held: 4 samples"] {
        assert!(said.stdout.contains(needle), "{needle} in {said:?}");
    }
    assert!(!place.path("results").exists());
}

#[test]
fn shapes_are_written_as_a_folder_to_train_on() {
    let place = Place::new().write("tiny.yaml", spec("data: {kind: folder, train: [shapes/train]}"));
    let make = ["data", "shapes", "--size", "16", "--count", "12", "--split", "train", "--seed", "3"];
    place.experiment(&[&make[..], &["--out", "shapes/train"]].concat()).done();
    assert_eq!(fs::read_dir(place.path("shapes/train")).unwrap().count(), 24);
    place.experiment(&["tiny.yaml"]).done();
    assert_eq!(facts(&place.run())["samples"]["clip"]["broken"], serde_json::json!({}));
    let again = [&make[..], &["--out", "shapes/train"]].concat();
    place.experiment(&again).failed(2, "expected an empty or a new folder");
    let said = place.experiment(&["data", "shapes", "--split", "held-out"]);
    assert!(said.code == Some(2) && said.stderr.contains("--count"), "{said:?}");
}
