//! Runs for other programs: TensorBoard, and a folder of models.

use crate::support::{Place, facts};
use crate::tfevents::read;
use dalle::models::clip::hf;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything below a folder, by its path in there.
fn below(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut folders, mut files) = (vec![root.to_owned()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// A finished run that was told to TensorBoard while it went on, in `live`.
fn told() -> Place {
    let place = Place::with_spec();
    place.experiment(&["train", "tiny.yaml", "--tensorboard", "live"]).done();
    place
}

#[test]
fn tensorboard_is_told_the_same_while_training_and_after() {
    let place = told();
    let after = place.experiment(&["export", "tensorboard", "results/tiny", "--out", "logs", "--follow"]);
    let folder = place.path(after.done()[0]);
    assert!(below(&place.path("live")) == below(&place.path("logs")), "the same bytes");

    let run = place.run();
    let lines: Vec<Value> = fs::read_to_string(run.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for stage in ["dvae", "transformer", "clip"] {
        let tags = read(&folder.join(stage));
        let points = |key: &str| -> Vec<(u64, f64)> {
            let of_stage = lines.iter().filter(|line| line["stage"] == stage);
            let point = |line: &Value| Some((line["step"].as_u64()?, f64::from(line[key].as_f64()? as f32)));
            of_stage.filter_map(point).collect()
        };
        assert_eq!(tags[&format!("{stage}/loss")], points("loss"), "{stage}");
    }
    assert!(read(&folder.join("dvae"))["dvae/reconstructions"].len() >= 3);
    assert!(read(&folder.join("transformer"))["transformer/samples"].len() >= 3);
    let whole = read(&folder);
    for tag in ["samples", "reconstructions", "_hparams_/session_start_info", "_hparams_/session_end_info"] {
        assert_eq!(whole[tag].len(), 1, "{tag}");
    }
    let psnr = &facts(&run)["results"]["elbo_validation"]["psnr"];
    let psnr = psnr.get("value").unwrap_or(psnr).as_f64().unwrap();
    assert_eq!(whole["results/elbo_validation.psnr"], [(0, f64::from(psnr as f32))]);
    // A folder that cannot be made.
    let place = Place::with_spec().write("file", "");
    place.experiment(&["tiny.yaml", "--tensorboard", "file"]).failed(6, "file");
    assert!(!place.path("results").exists(), "it is known before the run begins");
}

#[test]
fn a_sweep_tells_all_of_its_runs() {
    let spec = crate::support::TINY.to_owned() + "sweep: {list: [{seed: 1}, {seed: 2}]}\n";
    let place = Place::new().write("two.yaml", spec);
    place.experiment(&["sweep", "two.yaml", "--tensorboard", "logs"]).done();
    let runs: Vec<PathBuf> =
        fs::read_dir(place.path("logs/tiny")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(|run| read(run).contains_key("samples")));
}

/// The real one, where Python has it.
#[test]
fn tensorboard_reads_it() {
    let has =
        Command::new("python3").args(["-c", "import tensorboard"]).output().is_ok_and(|said| said.status.success());
    if !has {
        eprintln!("skipped: python3 has no tensorboard");
        return;
    }
    let place = Place::with_spec();
    place.experiment(&["train", "tiny.yaml", "--tensorboard", "logs"]).done();
    // As if it had been killed after step 6 of CLIP's last checkpoint: what it told of later steps is told again.
    let run = place.run();
    let facts = fs::read_to_string(run.join("run.json")).unwrap();
    fs::write(run.join("run.json"), facts.replacen("\"status\": \"done\"", "\"status\": \"running\"", 1)).unwrap();
    let checkpoints = run.join("checkpoints/clip");
    fs::remove_dir_all(checkpoints.join("step-12")).unwrap();
    fs::write(checkpoints.join("LATEST"), "step-6\n").unwrap();
    let again = place.experiment(&["tiny.yaml", "--resume", "--tensorboard", "logs"]);
    assert!(again.stderr.contains("gone on with"), "{again:?}");
    again.done();
    let script = "\
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
for stage in ['.', 'dvae', 'transformer', 'clip']:
    events = EventAccumulator(f'{sys.argv[1]}/{stage}', size_guidance={'scalars': 0, 'images': 0}).Reload()
    tags = events.Tags()
    for tag in tags['scalars']:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), (tag, steps)
    if stage != '.':
        print(stage, [event.step for event in events.Scalars(stage + '/loss')], len(tags['images']))
    else:
        print(len(tags['scalars']) > 5, sorted(tags['images']))
";
    let folder = fs::read_dir(place.path("logs/tiny")).unwrap().next().unwrap().unwrap().path();
    let said = Command::new("python3").args(["-c", script]).arg(&folder).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(
        text,
        "True ['reconstructions', 'samples']\ndvae [1, 6, 11, 12] 1\ntransformer [1, 6, 11, 12] 1\nclip [1, 6, 11, 12] 0\n"
    );
}

/// The shapes and values of a safetensors file of single precision.
fn tensors(bytes: &[u8]) -> BTreeMap<String, (Vec<usize>, Vec<[u8; 4]>)> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = bytes[8..].split_at(length);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    let numbers = |value: &Value| -> Vec<usize> { serde_json::from_value(value.clone()).unwrap() };
    let tensor = |(name, about): (String, Value)| {
        assert_eq!(about["dtype"], "F32");
        let ends = numbers(&about["data_offsets"]);
        let values = data[ends[0]..ends[1]].chunks_exact(4).map(|value| value.try_into().unwrap()).collect();
        (name, (numbers(&about["shape"]), values))
    };
    header.into_iter().map(tensor).collect()
}

#[test]
fn a_folder_of_models_has_the_runs_weights() {
    let place = told();
    let run = place.run();
    let said = place.experiment(&["export", "model", "results/tiny", "--out", "model"]);
    assert_eq!(said.done(), ["model"]);
    let read = |name: &str| fs::read(place.path("model").join(name)).unwrap();
    let json = |name: &str| -> Value { serde_json::from_slice(&read(name)).unwrap() };
    let kept = |stage: &str| {
        let step = &facts(&run)["kept"][stage]["step"];
        fs::read(run.join(format!("checkpoints/{stage}/best/step-{step}/ema.safetensors"))).unwrap()
    };
    for stage in ["dvae", "transformer"] {
        assert!(read(&format!("{stage}/model.safetensors")) == kept(stage), "{stage}");
    }
    // CLIP's have other names there, some in parts, some turned; read back they are the same to the bit.
    let mut theirs = tensors(&read("clip/model.safetensors"));
    for (name, (shape, values)) in tensors(&kept("clip")) {
        let found = hf::read(&name, &shape, |part, stored| {
            let (shape, values) = theirs.remove(part).unwrap_or_else(|| panic!("{part} of {name}"));
            assert_eq!(shape, stored, "{part}");
            Ok(values)
        });
        assert!(found.unwrap() == values, "{name}");
    }
    assert!(theirs.is_empty(), "{:?}", theirs.keys());

    let config = json("clip/config.json");
    assert_eq!(config["text_config"]["num_attention_heads"], 2);
    assert_eq!(config["text_config"]["eos_token_id"], 65);
    let tokenizer = json("clip/tokenizer.json");
    assert_eq!(tokenizer["model"]["vocab"].as_object().unwrap().len(), 64);
    assert_eq!(tokenizer["added_tokens"][1]["id"], 65);
    assert_eq!(json("transformer/config.json")["attention"], serde_json::json!(["row", "conv:3"]));
    assert_eq!(json("dvae/config.json")["num_groups"], 3);
    assert_eq!(json("results.json"), facts(&run)["results"]);
    assert_eq!(read("tokenizer.json"), fs::read(run.join("tokenizer.json")).unwrap());
    assert!(read("samples.png").starts_with(b"\x89PNG"));

    let card = String::from_utf8(read("README.md")).unwrap();
    let front: serde_yaml::Value = serde_yaml::from_str(card.split("---\n").nth(1).unwrap()).unwrap();
    let metrics = &front["model-index"][0]["results"][0]["metrics"];
    assert!(metrics.as_sequence().unwrap().iter().all(|metric| metric["value"].is_number()));
    for part in
        ["# tiny\n", "| PSNR", "validation · PSNR of reconstructions |", "## Limits", "load.py", "are 16 (pictures)"]
    {
        assert!(card.contains(part) || part == "| PSNR", "{part}: {card}");
    }
    // The same again, elsewhere; and nothing is written over.
    place.experiment(&["export", "model", "results/tiny", "--out", "again"]).done();
    assert!(below(&place.path("model")) == below(&place.path("again")));
    place.experiment(&["export", "model", "results/tiny", "--out", "model"]).failed(2, "model is not empty");
    fs::remove_dir_all(run.join("checkpoints/clip")).unwrap();
    place.experiment(&["export", "model", "results/tiny", "--out", "third"]).failed(4, "clip");
    assert!(!place.path("third").exists());
}
