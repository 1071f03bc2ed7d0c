//! One test a kind of file.

use crate::Target;
use crate::edits::{png_sums, tar_sums};
use dalle::checkpoint;
use dalle::data::{Picture, Source, WebDataset};
use dalle::harness::tokens::TokenGrid;
use dalle::harness::{load, run_dir};
use dalle::import::Weights;
use dalle::models::presets;
use dalle::report::{self, run::Run};
use dalle::text::{Bpe, ClipBpe, Yttm};
use dalle::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The first bytes tell which parser it is for.
const NO_WEIGHTS: &[&str] = &["expected a safetensors file, or one"];

fn weights(path: &Path) -> Result<()> {
    let weights = Weights::open(path)?;
    for tensor in weights.tensors() {
        let bytes = weights.bytes(&tensor.name)?;
        assert_eq!(bytes.len() as u64, tensor.size());
    }
    Ok(())
}

/// Text that a tokenizer must not fail on.
const TEXT: &str = "a red circle, 12 ▁ ﬀ <|endoftext|>\u{0} 🦀";

#[test]
fn torch() {
    Target { outside: NO_WEIGHTS, ..Target::new("torch", 4) }.run(weights);
}

#[test]
fn legacy() {
    Target { outside: NO_WEIGHTS, ..Target::new("legacy", 4) }.run(weights);
}

#[test]
fn safetensors() {
    Target { outside: NO_WEIGHTS, ..Target::new("safetensors", 4) }.run(weights);
}

#[test]
fn bpe() {
    Target::new("bpe", 4).run(|path| {
        let bpe = Bpe::load(path)?;
        bpe.decode(&bpe.encode(TEXT));
        Ok(())
    });
}

#[test]
fn merges() {
    // A changed byte of a packed file seldom comes through its sum.
    Target {
        outside: &["corrupt", "gzip", "deflate", "unexpected end", "stream did not contain"],
        ..Target::new("merges", 4)
    }
    .run(|path| {
        let bpe = ClipBpe::load(path)?;
        bpe.decode(&bpe.encode(TEXT));
        Ok(())
    });
}

#[test]
fn yttm() {
    Target::new("yttm", 4).run(|path| {
        Yttm::load(path)?.encode(TEXT);
        Ok(())
    });
}

#[test]
fn sentence() {
    let of = |kind: &str, name: &str| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(kind).join(name)
    };
    let bpe = Bpe::load(of("bpe", "good-shapes.json")).unwrap();
    let clip = ClipBpe::load(of("merges", "good-plain.txt")).unwrap();
    let yttm = Yttm::load(of("yttm", "good-four.model")).unwrap();
    Target::new("sentence", 4).run(|path| {
        // An argument that is no UTF-8 does not get so far.
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        bpe.decode(&bpe.encode(&text));
        clip.decode(&clip.encode(&text));
        yttm.encode(&text);
        Ok(())
    });
}

#[test]
fn yaml() {
    Target { outside: &["not UTF-N"], ..Target::new("yaml", 2) }
        .run(|path| load::load(path, &[], presets::NAMES).map(drop));
}

#[test]
fn set() {
    Target::new("set", 2).run(|path| {
        let set = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        load::check("spec.yaml", "name: x\npreset: tiny\n", &[set], presets::NAMES).map(drop)
    });
}

#[test]
fn tar() {
    Target { repair: tar_sums, ..Target::new("tar", 4) }.run(|path| {
        let shards = WebDataset::open(&[path.to_owned()])?;
        // A broken sample is counted, not an error.
        (0..shards.len()).for_each(|index| drop(shards.get(index)));
        Ok(())
    });
}

/// Reads a picture's captions from the member `0.kind` of a shard.
fn captions(kind: &str, path: &Path) -> Result<()> {
    let picture = Picture { width: 1, height: 1, rgb: vec![0; 3] }.png().unwrap();
    let mut shard = tar::Builder::new(Vec::new());
    for (kind, bytes) in [("png", picture), (kind, fs::read(path).unwrap())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        shard.append_data(&mut header, format!("0.{kind}"), &bytes[..]).unwrap();
    }
    let at = path.with_extension("tar");
    fs::write(&at, shard.into_inner().unwrap()).unwrap();
    let sample = WebDataset::open(&[at])?.get(0);
    sample.map(drop).map_err(|bad| Error::data(path, format!("{}: {}", bad.reason, bad.detail)))
}

#[test]
fn tokens() {
    Target::new("tokens", 4).run(|path| TokenGrid::read(path).map(drop));
}

#[test]
fn json() {
    Target::new("json", 4).run(|path| captions("json", path));
}

#[test]
fn text() {
    Target::new("text", 4).run(|path| captions("txt", path));
}

/// What is no longer a picture by its first bytes is told before any decoder.
const NO_PICTURE: &[&str] = &["The image format"];

#[test]
fn png() {
    Target { repair: png_sums, outside: NO_PICTURE, ..Target::new("png", 4) }.run(|path| Picture::open(path).map(drop));
}

#[test]
fn jpeg() {
    Target { outside: NO_PICTURE, ..Target::new("jpeg", 4) }.run(|path| Picture::open(path).map(drop));
}

#[test]
fn webp() {
    Target { outside: NO_PICTURE, ..Target::new("webp", 4) }.run(|path| Picture::open(path).map(drop));
}

/// The report of a run whose one file is at `path`; a file that it could not use is an error here.
fn reported(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap();
    let run = Run::read(folder)?;
    report::page(&run);
    let name = path.file_name().unwrap().to_string_lossy();
    match run.absent.iter().find(|(file, _)| *file == name) {
        Some((_, why)) => Err(Error::data(path, why.lines().collect::<Vec<_>>().join(" "))),
        None => Ok(()),
    }
}

#[test]
fn run_json() {
    Target { file: "run.json", ..Target::new("run", 4) }.run(|path| {
        run_dir::read_run(path.parent().unwrap())?;
        reported(path)
    });
}

#[test]
fn metrics() {
    Target { file: "metrics.jsonl", ..Target::new("metrics", 4) }.run(|path| {
        let folder = path.parent().unwrap();
        fs::write(folder.join("run.json"), "{}").unwrap();
        run_dir::metrics_lines(folder)?;
        reported(path)
    });
}

#[test]
fn manifest() {
    let folder = tempfile::tempdir().unwrap();
    let files = [("model.safetensors", b"weights".to_vec()), ("state.json", b"{}".to_vec())];
    checkpoint::write(folder.path(), 5, &files).unwrap();
    let good = fs::read(folder.path().join("step-5/MANIFEST.json")).unwrap();
    let corpus = [("good-written".to_owned(), good.clone()), ("bad-cut".to_owned(), good[..good.len() / 2].to_vec())];
    Target { file: "step-5/MANIFEST.json", ..Target::new("manifest", 4) }.read(&corpus, |path| {
        let step = path.parent().unwrap();
        for (name, bytes) in &files {
            fs::write(step.join(name), bytes).unwrap();
        }
        checkpoint::latest(step.parent().unwrap(), &mut checkpoint::Older::Refused).map(drop)
    });
}
