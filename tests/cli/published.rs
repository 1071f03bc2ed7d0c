//! Imported files on the command line. Published ones are large: the fixtures' small models stand for them where a size is
//! read from the file, and are refused where it is a type.

use crate::support::*;
use dalle::data::Picture;
use serde_json::Value;
use std::fs;
use std::path::Path;

const X: &str = "X.safetensors";

/// A folder with `file` of the fixtures, imported as `kind` to [`X`].
fn imported(kind: &str, file: &str) -> Place {
    let place = Place::new();
    let root = std::env::var("DALLE_FIXTURES").unwrap_or_else(|_| "tests/fixtures".into());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(root).join(file);
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
}
