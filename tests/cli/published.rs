//! Imported files on the command line. Published ones are large: the fixtures' small models stand for them where a size is
//! read from the file, and are refused where it is a type.

use crate::support::*;
use dalle::data::Picture;
use dalle::models::clip::Clip;
use dalle::models::clip::presets::VitB32;
use dalle::nn;
use dfdx::prelude::Cpu;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const X: &str = "X.safetensors";
/// CLIP's merges under their published name.
const MERGES: &str = "bpe_simple_vocab_16e6.txt.gz";

fn fixtures() -> PathBuf {
    let root = std::env::var("DALLE_FIXTURES").unwrap_or_else(|_| "tests/fixtures".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join(root)
}

/// A folder with `file` of the fixtures, imported as `kind` to [`X`].
fn imported(kind: &str, file: &str) -> Place {
    let place = Place::new();
    let file = fixtures().join(file);
    place.experiment(&["import", kind, file.to_str().unwrap(), "--out", X]).done();
    place
}

#[test]
fn a_vqgan_of_any_size_codes_and_decodes() {
    let place = imported("taming-gumbel", "vqgan_gumbel/gumbel_vq.safetensors").write("in.png", png(48, 32, 90));
    place.experiment(&["encode", X, "in.png", "--out", "tokens.json"]).done();
    let tokens: Value = serde_json::from_slice(&fs::read(place.path("tokens.json")).unwrap()).unwrap();
    let stride = 48 / tokens["width"].as_u64().unwrap();
    assert_eq!(tokens["height"].as_u64(), Some(32 / stride));
    place.experiment(&["decode", X, "tokens.json", "--out", "back.png"]).done();
    let back = Picture::open(place.path("back.png")).unwrap();
    assert_eq!((back.width, back.height), (48, 32));
    place.experiment(&["rerank", X, "--caption", "a", "in.png"]).failed(4, "its kind is taming-gumbel");
    let on_gpu = place.experiment(&["encode", X, "in.png", "--device", "cuda"]);
    on_gpu.failed(2, "X.safetensors: imported weights run on the CPU: leave out --device cuda");
}

#[test]
fn a_transformer_of_another_size_is_refused_by_name() {
    let place = imported("rudalle", "rudalle/v2_g8.safetensors").write("bpe.model", "1 0\n9601 4\n1 0 2 3\n");
    fs::copy(imported("taming-gumbel", "vqgan_gumbel/gumbel_vq.safetensors").path(X), place.path("vqgan")).unwrap();
    let sample = ["sample", X, "--caption", "a cat"];
    let with = |decoder, tokenizer| {
        place.experiment(&[&sample[..], &["--decoder", decoder, "--tokenizer", tokenizer]].concat())
    };
    place.experiment(&sample).failed(2, "--decoder and --tokenizer");
    with("missing", "bpe.model").failed(4, "missing");
    with("vqgan", "missing").failed(4, "missing");
    with(X, "bpe.model").failed(4, "its kind is rudalle");
    with("vqgan", "bpe.model").failed(4, "text_embeddings.weight: expected shape [16512, 2048]");
    let files = ["--decoder", "vqgan", "--tokenizer", "bpe.model", "--device", "cuda"];
    place.experiment(&[&sample[..], &files].concat()).failed(2, "kernels of our own alone: expected --cuda-kernels");
    let place = place.write("large.model", "1 0\n9601 16384\n1 0 2 3\n");
    place
        .experiment(&[&sample[..], &["--decoder", "vqgan", "--tokenizer", "large.model"]].concat())
        .failed(4, "expected at most 16384 tokens, got 16385");
}

#[test]
fn a_clip_of_another_size_is_refused() {
    let place = imported("openai-clip", "openai_clip/jit/vit_j_fp16.pt").write("a.png", png(16, 16, 0));
    let rerank = ["rerank", X, "--caption", "a cat", "a.png"];
    place.experiment(&rerank).failed(4, "expected the sizes of ViT-B/32");
    // Lent to a run it is refused too, and no transformer is trained for it.
    fs::copy(fixtures().join("clip_bpe").join(MERGES), place.path(MERGES)).unwrap();
    let place = place.write("own.yaml", TINY.replace("clip: {", &format!("clip: {{from: {X}, ")));
    let said = place.experiment(&["own.yaml"]);
    said.failed(4, "expected the sizes of ViT-B/32");
    assert!(!said.stderr.contains("transformer: step"), "{said:?}");
}

/// A CLIP of random weights under the published names: only published sizes are types, and the least has 605 MB.
#[test]
#[ignore = "605 MB, twice, and half a minute"]
fn a_published_clip_is_lent_to_a_run_which_stands_alone_then() {
    let place = Place::new();
    let model: Clip<VitB32, f32, Cpu> = nn::build(&Cpu::default(), 0).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = nn::export(&model)
        .unwrap()
        .into_iter()
        .map(|tensor| (tensor.name, tensor.shape, tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let file = safetensors::serialize(
        tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())),
        None,
    );
    let place = place.write("raw.safetensors", file.unwrap());
    fs::create_dir(place.path("in")).unwrap();
    place.experiment(&["import", "openai-clip", "raw.safetensors", "--out", "in/CLIP.safetensors"]).done();
    fs::remove_file(place.path("raw.safetensors")).unwrap();
    fs::copy(fixtures().join("clip_bpe").join(MERGES), place.path("in").join(MERGES)).unwrap();
    let place = place.write("tiny.yaml", TINY.replace("clip: {", "clip: {from: in/CLIP.safetensors, "));
    place.experiment(&["tiny.yaml"]).done();
    let run = place.run();
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(metrics.contains("\"transformer\"") && !metrics.contains("\"clip\""), "it is not trained");
    let results = &facts(&run)["results"];
    assert!(results["rerank_curve"]["similarity"][0].is_number() && results["zero_shot"]["seen"].is_object());
    // The file may go.
    fs::remove_dir_all(place.path("in")).unwrap();
    let shown = place.experiment(&["show", "results/tiny"]);
    assert!(shown.done().contains(&"CLIP, from in/CLIP.safetensors"), "{shown:?}");
    let draw = ["sample", "results/tiny", "--caption", "a red circle", "--n", "2", "--out"];
    let drawn = |out: &str| -> Vec<String> {
        let said = place.experiment(&[&draw[..], &[out, "--json"]].concat());
        let said: Value = serde_json::from_str(&said.done().join("\n")).unwrap();
        said["captions"][0]["pictures"].as_array().unwrap().iter().map(|one| one["similarity"].to_string()).collect()
    };
    assert!(drawn("one") == drawn("two") && drawn("one").iter().all(|of| of.parse::<f64>().is_ok()));
    place.experiment(&["export", "model", "results/tiny", "--out", "model"]).failed(4, "published");
}
