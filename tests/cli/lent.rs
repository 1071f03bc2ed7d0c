//! Stages that are another run's, or an imported file's.

use crate::support::{Place, TINY, bits, facts};
use dalle::models::vqgan::{Config, QuantiserKind, Vqgan};
use dalle::random::Rng;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with a finished run of [`TINY`].
fn lender() -> (Place, PathBuf) {
    let place = Place::with_run();
    let run = place.run();
    (place, run)
}

/// The newest run of a name.
fn newest(place: &Place, name: &str) -> PathBuf {
    let runs = fs::read_dir(place.path(&format!("results/{name}"))).unwrap().map(|entry| entry.unwrap().path());
    runs.filter(|path| path.join("run.json").is_file()).max().unwrap()
}

fn resolved(run: &Path) -> serde_yaml::Value {
    serde_yaml::from_str(&fs::read_to_string(run.join("spec.resolved.yaml")).unwrap()).unwrap()
}

/// What stands in `metrics.jsonl` of a stage, without the time.
fn curve(run: &Path, stage: &str) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut lines: Vec<Value> = lines.filter(|line| line["stage"] == stage).collect();
    lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("time")));
    lines
}

fn files_of(run: &Path, stage: &str) -> Vec<(String, Vec<u8>)> {
    bits(run).into_iter().filter(|(name, _)| name.starts_with(&format!("checkpoints/{stage}/"))).collect()
}

#[test]
fn a_first_stage_of_another_run_is_used_and_the_lender_may_go() {
    let (place, lender) = lender();
    let place = place.write(
        "own.yaml",
        "extends: tiny.yaml\nname: own\nfirst_stage: {from: results/tiny, steps: 7}\nclip: {steps: 6}\n",
    );
    let said = place.experiment(&["own.yaml"]);
    said.done();
    assert!(said.stderr.contains("dvae: taken over from"), "{said:?}");
    assert!(said.stderr.contains("this one's first_stage.steps do not hold"), "{said:?}");
    let run = newest(&place, "own");
    let spec = resolved(&run);
    let name = lender.file_name().unwrap().to_str().unwrap();
    assert_eq!(spec["first_stage"]["from"].as_str(), Some(format!("results/tiny/{name}").as_str()));
    assert_eq!(spec["first_stage"]["steps"].as_u64(), Some(12));
    assert_eq!(files_of(&run, "dvae"), files_of(&lender, "dvae"));
    // Of the same codes, the same seed and the same spec the transformer learns the same, to the bit; CLIP's spec is another.
    assert_eq!(curve(&run, "transformer"), curve(&lender, "transformer"));
    assert_eq!(files_of(&run, "transformer"), files_of(&lender, "transformer"));
    assert_ne!(curve(&run, "clip"), curve(&lender, "clip"));
    let stage = &facts(&run)["stages"]["dvae"];
    assert_eq!(stage["lent"].as_str(), spec["first_stage"]["from"].as_str());
    assert_eq!(stage["blake3"].as_str().unwrap().len(), 64);

    // Wherever the stages are listed, that one is not taken for one that was trained here.
    let (path, from) = (run.to_str().unwrap(), format!("from {}", spec["first_stage"]["from"].as_str().unwrap()));
    let shown = place.experiment(&["show", path]);
    let lines = shown.done();
    let row = |title: &str| lines.iter().position(|line| line.starts_with(title)).unwrap();
    let (lent, own) = (row("Discrete VAE"), row("Transformer"));
    assert!(lines[lent].contains("  12  ") && lines[lent].matches('–').count() == 3, "{shown:?}");
    assert_eq!(lines[lent + 1], format!("  {from}"));
    assert!(lines[own].contains(" s  ") && lines[own].matches('–').count() == 0, "{shown:?}");
    assert!(!lines[own + 1].contains("from"), "{shown:?}");
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains(&format!("<small>12 steps, {from}</small>")) && report.contains(&format!(", {from}</td>")));
    place.experiment(&["export", "model", path, "--out", "card"]).done();
    assert!(fs::read_to_string(place.path("card/README.md")).unwrap().contains("| from run results/tiny/"));
    let origins = place.experiment(&["own.yaml", "--dry-run", "--where"]);
    let origin =
        |key: &str| origins.done().iter().find(|line| line.starts_with(&format!("{key}: "))).unwrap().to_string();
    assert!(origin("first_stage.steps").ends_with(&format!("# run {}", &from[5..])), "{origins:?}");
    assert!(
        origin("first_stage.from").ends_with("own.yaml:3") && origin("clip.steps").ends_with("own.yaml:4"),
        "{origins:?}"
    );

    fs::remove_dir_all(&lender).unwrap();
    place.experiment(&["sample", path, "--caption", "a red circle", "--n", "1", "--out", "drawn"]).done();
    place.experiment(&["eval", path, "--pairs", "4"]).done();
    let again = place.experiment(&[&format!("--resume={path}")]);
    assert!(again.stderr.contains("already finished"), "{again:?}");
}

#[test]
fn every_stage_may_be_lent_and_then_only_pictures_are_drawn() {
    let (place, lender) = lender();
    let place = place.write(
        "all.yaml",
        "extends: tiny.yaml\nname: all\nfirst_stage: {from: results/tiny}\ntransformer: {from: results/tiny}\nclip: {from: results/tiny}\n",
    );
    place.experiment(&["all.yaml"]).done();
    let run = newest(&place, "all");
    assert_eq!(fs::read(run.join("tokenizer.json")).unwrap(), fs::read(lender.join("tokenizer.json")).unwrap());
    for stage in ["dvae", "transformer", "clip"] {
        assert_eq!(files_of(&run, stage), files_of(&lender, stage), "{stage}");
    }
    assert_eq!(facts(&run)["results"], facts(&lender)["results"]);
    // Stopped before its end, it is gone on with as any run.
    let place = place.write("more.yaml", "extends: all.yaml\nname: more\nclip: {from: results/all}\n");
    place.experiment(&["more.yaml"]).done();
    assert_eq!(files_of(&newest(&place, "more"), "clip"), files_of(&lender, "clip"));
}

#[test]
fn a_lender_that_does_not_fit_is_refused() {
    let (place, _) = lender();
    let place = place.write("other.yaml", format!("{}seed: 3\n", TINY.replace("name: tiny", "name: other")));
    place.experiment(&["other.yaml"]).done();
    let with = |text: &str| {
        let place = Place::new().write("a.yaml", text);
        place.experiment(&["check", "a.yaml", "--spec-only"])
    };
    with("{name: a, preset: tiny, first_stage: {from: nowhere}}").failed(2, "no run here");
    with("{name: a, preset: tiny, first_stage: {from: x.safetensors}}").failed(2, "there is no file");
    for (file, stage, why) in
        [("no header", "first_stage", "expected a safetensors file"), ("", "clip", "x.safetensors")]
    {
        let spec = format!("{{name: a, preset: tiny, {stage}: {{from: x.safetensors}}}}");
        let place = Place::new().write("x.safetensors", file).write("a.yaml", spec);
        place.experiment(&["check", "a.yaml", "--spec-only"]).failed(2, why);
    }
    let alone = Place::new().write("x.safetensors", vqgan(32));
    let alone = alone.write("a.yaml", "{name: a, preset: tiny, clip: {from: x.safetensors}}");
    alone.experiment(&["check", "a.yaml", "--spec-only"]).failed(2, "expected CLIP's merges beside it");
    with("{name: a, preset: tiny, first_stage: {from: 3}}").failed(2, "must be a run, or a .safetensors file");
    with("{name: a, preset: tiny, transformer: {from: b}}").failed(2, "first stage whose codes it has learned");
    let two = with("{name: a, preset: tiny, first_stage: {from: b}, transformer: {from: x.safetensors}}");
    two.failed(2, "no run here");
    assert!(two.stderr.contains("`transformer.from` must be a run"), "{two:?}");
    let place = place.write("mini.yaml", "{name: a, preset: mini, first_stage: {from: results/tiny}}");
    place.experiment(&["check", "mini.yaml", "--spec-only"]).failed(2, "pictures of 32 pixels a side");
    let place = place.write(
        "mixed.yaml",
        "extends: tiny.yaml\nname: mixed\nfirst_stage: {from: results/tiny}\ntransformer: {from: results/other}\n",
    );
    place.experiment(&["mixed.yaml"]).failed(4, "has learned the codes of another first stage");
    let place = place.write(
        "words.yaml",
        "extends: tiny.yaml\nname: words\nfirst_stage: {from: results/tiny}\ntransformer: {from: results/tiny}\n\
         clip: {from: results/other}\n",
    );
    place.experiment(&["words.yaml"]).failed(2, "two tokenizers");
    // A run that has not got that far.
    let place = place.write("begun.yaml", "extends: tiny.yaml\nname: begun\nfirst_stage: {from: results/half}\n");
    let half = newest(&place, "other");
    fs::create_dir_all(place.path("results/half")).unwrap();
    fs::rename(&half, place.path("results/half").join(half.file_name().unwrap())).unwrap();
    let path = newest(&place, "half").join("run.json");
    let mut run: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    run["kept"] = Value::Null;
    fs::write(&path, run.to_string()).unwrap();
    place.experiment(&["begun.yaml"]).failed(4, "is trained to its end");
}

/// A Gumbel VQGAN of random weights for the tiny preset's pictures, as its authors' checkpoint would name its tensors.
fn vqgan(codes: usize) -> Vec<u8> {
    let config = Config {
        channels: 32,
        multipliers: vec![1, 1, 1],
        blocks: 1,
        attention: vec![2],
        latent: 32,
        codes,
        embed: 32,
        ..Config::gumbel_f8_8192()
    };
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut rng = Rng::new(0, "vqgan", 0, 0);
    Vqgan::load(&config, QuantiserKind::Gumbel, &mut |name, shape| {
        let size: usize = shape.iter().product();
        let values: Vec<f32> = (0..size).map(|_| rng.below(2000) as f32 / 1e4 - 0.1).collect();
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((name.to_owned(), shape.to_vec(), bytes));
        Ok(values)
    })
    .unwrap();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn a_vqgan_lies_under_an_own_transformer() {
    let place = Place::with_spec().write("vqgan.safetensors", vqgan(32)).write("other.safetensors", vqgan(40));
    for (from, to) in [("vqgan.safetensors", "in/X.safetensors"), ("other.safetensors", "in/Y.safetensors")] {
        fs::create_dir_all(place.path("in")).unwrap();
        place.experiment(&["import", "taming-gumbel", from, "--out", to]).done();
    }
    let place = place
        .write("own.yaml", "extends: tiny.yaml\nname: own\nfirst_stage: {from: in/X.safetensors}\n")
        .write("lent.yaml", "extends: tiny.yaml\nname: lent\nfirst_stage: {from: results/own}\nclip: {steps: 6}\n")
        .write("wrong.yaml", "extends: tiny.yaml\nname: wrong\nfirst_stage: {from: in/Y.safetensors}\n")
        .write("clip.yaml", "extends: tiny.yaml\nname: clip\nclip: {from: in/X.safetensors}\n");
    place.experiment(&["own.yaml"]).done();
    let run = newest(&place, "own");
    fs::remove_dir_all(place.path("in")).unwrap();
    let results = &facts(&run)["results"];
    // Nothing is known of the likelihood of pictures; what the codes are worth is.
    let set = &results["elbo_validation"];
    assert!(set["image_token_nats"].is_number() && set["psnr"].is_number(), "{results:#}");
    assert!(set["joint_nats"].is_null() && set["picture_nats"].is_null(), "{results:#}");
    assert!(curve(&run, "dvae").is_empty() && !curve(&run, "transformer").is_empty());
    let path = run.to_str().unwrap();
    place.experiment(&["sample", path, "--caption", "a red circle", "--n", "1", "--out", "drawn"]).done();
    let shown = place.experiment(&["show", path]);
    let row = shown.done().iter().find(|line| line.starts_with("First stage")).unwrap().to_string();
    assert!(row.ends_with("from in/X.safetensors"), "{shown:?}");
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("<th scope=\"row\">First stage</th>") && report.contains("<td>from in/X.safetensors</td>"));
    let again = place.experiment(&[&format!("--resume={path}")]);
    assert!(again.stderr.contains("already finished"), "{again:?}");
    // From that run it may be lent on.
    place.experiment(&["lent.yaml"]).done();
    assert_eq!(curve(&newest(&place, "lent"), "transformer"), curve(&run, "transformer"));

    place.experiment(&["wrong.yaml"]).failed(2, "there is no file");
    let place = place.write("in/Y.safetensors", b"");
    place.experiment(&["wrong.yaml"]).failed(2, "Y.safetensors: expected a safetensors file");
}
