//! A run's models as a folder in the manner of Hugging Face: weights, configurations, tokenizers, results, samples, a card that says
//! what they are worth, and the code that runs them.
//!
//! `transformers` has a class for CLIP and reads it as it is. For the first stage and the transformer it has none: `load.py` runs
//! them with PyTorch alone.

mod card;
mod clip;

use super::pictures;
use crate::checkpoint::Older;
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::harness::device::Device;
use crate::harness::models::Architecture;
use crate::harness::open::{RunModels, Which};
use crate::models::dvae::EPSILON;
use crate::report::run::Run;
use crate::spec::FirstStageKind;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Runs what `transformers` has no class for.
const LOAD: &str = include_str!("load.py");

/// What was written.
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    /// The stages with the steps that their weights are of.
    pub stages: Vec<(&'static str, u64)>,
    /// What was damaged of the run.
    pub warnings: Vec<String>,
}

/// Writes the models of `run` into the folder `out`, which must not hold anything yet.
///
/// # Errors
/// [`Error::Usage`] where something is there; [`Error::Data`] where a stage has no weights yet, or they are damaged; [`Error::Io`].
pub fn model(run: &Path, out: &Path, which: Which) -> Result<Folder> {
    if fs::read_dir(out).is_ok_and(|mut there| there.next().is_some()) {
        return Err(Error::Usage(format!("{} is not empty: a folder of models is written whole", out.display())));
    }
    let mut opened = RunModels::open(run, Device::Cpu)?;
    let files = opened.told(which, |run, older: &mut Older<'_>| run.files(older))?;
    let bpe = opened.tokenizer()?;
    let (architecture, spec) = (opened.architecture(), &opened.loaded().spec);
    let read = Run::read(opened.path())?;
    let [(first, _, codec), (_, _, transformer), (_, _, clip)] = &files;

    let lines = |value: &Value| format!("{value:#}\n").into_bytes();
    let mut written: Vec<(String, Vec<u8>)> = vec![
        (format!("{first}/config.json"), lines(&codec_config(codec, architecture, spec.first_stage.kind)?)),
        (format!("{first}/model.safetensors"), codec.clone()),
        ("transformer/config.json".into(), lines(&transformer_config(architecture))),
        ("transformer/model.safetensors".into(), transformer.clone()),
        ("tokenizer.json".into(), bpe.json()?.into_bytes()),
        ("spec.resolved.yaml".into(), spec.resolved()?.into_bytes()),
        ("results.json".into(), lines(read.facts.get("results").unwrap_or(&Value::Null))),
        ("load.py".into(), LOAD.as_bytes().to_vec()),
    ];
    let clip = clip::files(clip, architecture, &bpe)?;
    written.extend(clip.into_iter().map(|(name, bytes)| (format!("clip/{name}"), bytes)));
    let samples = pictures::samples(&read)?;
    if let Some(samples) = &samples {
        let png = samples.png().map_err(|error| Error::data(&read.path, error.detail))?;
        written.push(("samples.png".into(), png));
    }
    let stages: Vec<(&'static str, u64)> = files.iter().map(|(stage, step, _)| (*stage, *step)).collect();
    let facts = card::Facts {
        run: &read,
        spec,
        clip: architecture.clip,
        stages: &stages,
        samples: samples.is_some(),
        warnings: opened.warnings(),
    };
    // Last: a folder without it is not whole.
    written.push(("README.md".into(), card::card(&facts)?.into_bytes()));
    for (name, bytes) in written {
        let path = out.join(name);
        let folder = path.parent().unwrap_or(out);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        write_atomic(&path, &bytes)?;
    }
    Ok(Folder { path: out.to_owned(), stages, warnings: opened.warnings().to_vec() })
}

/// The first stage's sizes, for `load.py`.
fn codec_config(file: &[u8], architecture: &Architecture, kind: FirstStageKind) -> Result<Value> {
    let bad = |what: String| Error::data(kind.name(), what);
    let file = SafeTensors::deserialize(file).map_err(|error| bad(error.to_string()))?;
    // The names count groups and blocks: `decoder.blocks.group_2.block_1.…`.
    let most = |part: &str| {
        let numbers = file.names().into_iter().filter_map(|name| {
            name.strip_prefix("decoder.")?.split('.').find_map(|word| word.strip_prefix(part))?.parse::<usize>().ok()
        });
        numbers.max().ok_or_else(|| bad(format!("expected tensors of a decoder with {part}N in their names")))
    };
    let (groups, blocks) = (most("group_")?, most("block_")?);
    let geometry = architecture.geometry;
    Ok(json!({
        "model_type": format!("dalle-{}", kind.name()),
        "image_size": geometry.side,
        "grid_size": geometry.grid,
        "vocab_size": geometry.codes,
        "num_groups": groups,
        "num_blocks_per_group": blocks,
        "post_gain": 1.0 / ((groups * blocks) as f64).powi(2),
        "epsilon": EPSILON,
    }))
}

/// The transformer's sizes, for `load.py`.
fn transformer_config(Architecture { geometry, layout, patterns, text, tower, .. }: &Architecture) -> Value {
    let attention: Vec<String> = patterns.iter().map(ToString::to_string).collect();
    json!({
        "model_type": "dalle-transformer",
        "text_vocab_size": text.bpe,
        "text_length": layout.text,
        "image_vocab_size": geometry.codes,
        "grid_size": layout.grid,
        "hidden_size": tower.width,
        "num_attention_heads": tower.heads,
        "intermediate_size": tower.mlp,
        "num_hidden_layers": tower.depth,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "attention": attention,
    })
}
