//! Runs on a user's own pictures: a folder, tar shards, and what happens to those that are broken.

use crate::support::{Place, TINY, facts, huge, png};
use std::path::Path;

/// [`TINY`] with another `data:` and the lines of `more`.
fn spec(data: &str, more: &str) -> String {
    let lines = TINY.lines().map(|line| if line.starts_with("data:") { data } else { line });
    lines.chain([more]).map(|line| format!("{line}\n")).collect()
}

const FOLDER: &str = "data: {kind: folder, train: [pictures], validation: {held: [held]}, augment: true, flip: true}";

/// `pictures/` with 22 pairs and the given broken ones, `held/` with 8.
fn folder(broken: &[(&str, Vec<u8>)]) -> Place {
    let mut place = Place::new().write("tiny.yaml", spec(FOLDER, ""));
    for i in 0..30u8 {
        let name = format!("{}/deep/{i}", if i < 22 { "pictures" } else { "held" });
        place = place.write(&format!("{name}.png"), png(24, 20, 8 * i));
        place = place.write(&format!("{name}.txt"), format!("picture number {i}\nanother caption\n"));
    }
    for (name, bytes) in broken {
        place = place.write(&format!("pictures/{name}.png"), bytes);
        place = place.write(&format!("pictures/{name}.txt"), "broken");
    }
    place
}

#[test]
fn a_folder_trains_and_its_broken_pictures_are_counted() {
    let place = folder(&[("one-pixel", png(1, 1, 9)), ("huge", huge(30_000)), ("torn", b"\x89PNG".to_vec())]);
    place.experiment(&["tiny.yaml"]).done();
    let facts = facts(&place.run());
    for stage in ["first_stage", "transformer", "clip"] {
        let counted = &facts["samples"][stage];
        let filtered = (&counted["filtered"]["too-small"], &counted["filtered"]["too-large"]);
        assert_eq!(filtered, (&1.into(), &1.into()), "{stage}: {counted}");
        assert_eq!(counted["broken"]["decode"], 1, "{stage}: {counted}");
        assert_eq!((&counted["seen"], &counted["used"]), (&25.into(), &22.into()), "{stage}: {counted}");
        assert_eq!(facts["bad_samples"][stage]["by_reason"], counted["broken"], "{stage}: {counted}");
    }
    assert!(facts["results"]["elbo_held"]["psnr"].is_number());
    assert!(place.run().join("images/sample-held-0-0.png").is_file());
}

#[test]
fn too_many_broken_pictures_stop_the_run() {
    let broken = ["a", "b", "c", "d"].map(|name| (name, b"nothing".to_vec()));
    let place = folder(&broken);
    place.experiment(&["tiny.yaml"]).failed(4, "4 of 26 samples are broken (4 decode); data.max_bad is 0.1");
    assert_eq!(facts(&place.run())["exit"], 4);
    place.experiment(&["tiny.yaml", "--set", "data.max_bad=0.2", "--out", "kinder"]).done();
}

/// A tar shard of `count` pairs, one key each.
fn shard(path: &Path, count: u8) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: String, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    for i in 0..count {
        add(format!("{i:03}.png"), &png(16, 16, 8 * i));
        add(format!("{i:03}.json"), format!("{{\"caption\": \"number {i}\"}}").as_bytes());
    }
    std::fs::write(path, builder.into_inner().unwrap()).unwrap();
}

fn shards() -> Place {
    let data = "data: {kind: webdataset, train: ['train-*.tar'], validation: {one: [one.tar], two: [two.tar]}}";
    let spec = spec(data, "").replace("first_stage: {", "first_stage: {kind: vqvae, ");
    let place = Place::new().write("tiny.yaml", spec);
    for (name, count) in [("train-0.tar", 16), ("train-1.tar", 12), ("one.tar", 8), ("two.tar", 5)] {
        shard(&place.path(name), count);
    }
    place
}

#[test]
fn shards_train_a_vqvae() {
    let place = shards();
    place.experiment(&["tiny.yaml"]).done();
    let run = place.run();
    assert!(run.join("checkpoints/vqvae/step-12/model.safetensors").is_file());
    let results = &facts(&run)["results"];
    assert_eq!((&results["elbo_one"]["pairs"], &results["elbo_two"]["pairs"]), (&8.into(), &5.into()));
    place.experiment(&["sample", "results/tiny", "--caption", "number 3", "--n", "2"]).done();
}

#[test]
fn data_is_found_from_another_folder() {
    let place = shards();
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    std::fs::rename(place.path("tiny.yaml"), place.path("elsewhere/tiny.yaml")).unwrap();
    place.experiment(&["elsewhere/tiny.yaml"]).failed(4, "train-*.tar: nothing matches this pattern");
    let mut command = place.command(&["elsewhere/tiny.yaml", "--out", "found"]);
    let output = command.env("DALLE_DATA", place.path("")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_truncated_or_missing_shard_is_named() {
    let place = shards();
    let whole = std::fs::read(place.path("train-1.tar")).unwrap();
    for end in [whole.len() / 2 + 100, whole.len() - 1024] {
        std::fs::write(place.path("train-1.tar"), &whole[..end]).unwrap();
        place.experiment(&["tiny.yaml"]).failed(4, "train-1.tar: at byte ");
    }
    std::fs::remove_file(place.path("two.tar")).unwrap();
    std::fs::write(place.path("train-1.tar"), &whole).unwrap();
    place.experiment(&["tiny.yaml"]).failed(4, "two.tar");
}
