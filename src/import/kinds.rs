//! `experiment import`: a published checkpoint as one safetensors file, with its configuration in the metadata.

use super::needs::{self, Needs};
use super::source::Source;
use super::tensor::Stored;
use super::{Weights, header};
use crate::error::{Error, Result};
use serde_json::{Value as Json, json};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Bytes of a `config.json`.
const MAX_CONFIG: u64 = 1 << 20;

/// Whose checkpoint it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// OpenAI's dVAE: `encoder.pkl` and `decoder.pkl`.
    OpenaiDvae,
    /// OpenAI's CLIP: a TorchScript archive.
    OpenaiClip,
    /// The same in Hugging Face's names: `config.json` and `model.safetensors`.
    HfClip,
    /// Any file of tensors.
    Torch,
    /// ru-DALL-E's transformer.
    Rudalle,
    /// The Gumbel VQGAN of taming-transformers.
    TamingGumbel,
}

/// What was written.
#[derive(Debug)]
pub struct Imported {
    /// How many tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What their shapes, and the file where it says more, tell of the model.
    pub config: Json,
}

/// A tensor with the name that it will have, and where it is.
type Named<'a> = (String, &'a Weights, &'a Stored);

impl Kind {
    /// Every kind by its name on the command line.
    pub const ALL: [(&'static str, Kind); 6] = [
        ("openai-dvae", Kind::OpenaiDvae),
        ("openai-clip", Kind::OpenaiClip),
        ("hf-clip", Kind::HfClip),
        ("torch", Kind::Torch),
        ("rudalle", Kind::Rudalle),
        ("taming-gumbel", Kind::TamingGumbel),
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Kind::ALL.into_iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The kind called `name`.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name.
    pub fn named(name: &str) -> Result<Kind> {
        let names: Vec<&str> = Kind::ALL.into_iter().map(|(name, _)| name).collect();
        let unknown = || Error::Usage(format!("unknown kind {name:?}: expected one of {}", names.join(", ")));
        Kind::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind).ok_or_else(unknown)
    }
}

/// Writes the tensors of `files` to `out`, a safetensors file, with the names and dtypes that they were published with (the
/// dVAE's after `encoder.` and `decoder.`) and with `kind` and `config`, a JSON text, in its metadata.
///
/// # Errors
/// [`Error::Usage`] for the wrong number of files, [`Error::Data`] where a file is broken or a tensor that the kind needs is
/// missing, [`Error::Io`] if reading or writing fails.
pub fn import(kind: Kind, files: &[PathBuf], out: &Path) -> Result<Imported> {
    let (json, tensors): (Vec<&PathBuf>, Vec<&PathBuf>) =
        files.iter().partition(|file| kind == Kind::HfClip && file.extension().is_some_and(|e| e == "json"));
    let (expected, right) = match kind {
        Kind::OpenaiDvae => ("encoder.pkl and decoder.pkl", tensors.len() == 2),
        Kind::HfClip => ("config.json and model.safetensors", json.len() == 1 && !tensors.is_empty()),
        _ => ("one file", tensors.len() == 1),
    };
    if !right {
        return Err(Error::Usage(format!("import {}: expected {expected}, got {} files", kind.name(), files.len())));
    }
    let opened: Vec<Weights> = tensors.into_iter().map(Weights::open).collect::<Result<_>>()?;
    let (named, config) = match kind {
        Kind::OpenaiDvae => dvae(&opened)?,
        Kind::OpenaiClip => whole(&opened, "", needs::openai_clip)?,
        Kind::HfClip => {
            let config = config(json[0])?;
            let (named, _) = whole(&opened, "", |weights| needs::hf_clip(weights, &config))?;
            (named, config)
        }
        Kind::Torch => (opened.iter().flat_map(|file| renamed(file, "", "")).collect(), attributes(&opened[0])),
        Kind::Rudalle => whole(&opened, inside(&opened[0]), needs::rudalle)?,
        Kind::TamingGumbel => {
            let (mut named, config) = whole(&opened, inside(&opened[0]), needs::taming_gumbel)?;
            named.retain(|(name, ..)| !name.starts_with("loss.")); // the networks it was trained against
            (named, config)
        }
    };
    let mut taken = HashSet::new();
    if let Some((name, weights, _)) = named.iter().find(|(name, ..)| !taken.insert(name.as_str())) {
        return Err(weights.source.bad(format!("tensor {name} is in more than one file")));
    }
    if named.is_empty() {
        return Err(opened[0].source.bad("expected tensors, found none"));
    }
    let (tensors, bytes) = (named.len(), named.iter().map(|(_, _, tensor)| tensor.size()).sum());
    let metadata = [("format", "pt".to_owned()), ("kind", kind.name().to_owned()), ("config", config.to_string())];
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
    let named = named.into_iter().map(|(name, weights, tensor)| (name, &weights.source, tensor)).collect();
    header::write(out, named, metadata)?;
    Ok(Imported { tensors, bytes, config })
}

/// All tensors of all files, `prefix` left off, once `needs` has found what it looks for in the first.
fn whole<'a>(
    opened: &'a [Weights],
    prefix: &str,
    needs: impl Fn(&Needs<'_>) -> Result<Json>,
) -> Result<(Vec<Named<'a>>, Json)> {
    let config = needs(&Needs { files: opened, prefix })?;
    Ok((opened.iter().flat_map(|file| renamed(file, prefix, "")).collect(), config))
}

/// The tensors of a file whose names begin with `old`, which becomes `new`.
fn renamed<'a>(file: &'a Weights, old: &str, new: &str) -> Vec<Named<'a>> {
    let rename = |tensor: &'a Stored| Some((format!("{new}{}", tensor.name.strip_prefix(old)?), file, tensor));
    file.tensors.iter().filter_map(rename).collect()
}

/// What trainers put before the names of a state dict.
fn inside(file: &Weights) -> &'static str {
    let all = ["state_dict.module.", "state_dict.", "module."];
    all.into_iter().find(|prefix| file.tensors.iter().any(|tensor| tensor.name.starts_with(prefix))).unwrap_or("")
}

/// Which file is which is seen in the first convolution: 7×7 in the encoder, 1×1 in the decoder.
fn dvae(opened: &[Weights]) -> Result<(Vec<Named<'_>>, Json)> {
    let is_encoder = |file: &Weights| -> Result<bool> {
        Ok(Needs { files: std::slice::from_ref(file), prefix: "" }.side(needs::DVAE_INPUT, 2)? > 1)
    };
    let (encoder, decoder) = match (is_encoder(&opened[0])?, is_encoder(&opened[1])?) {
        (true, false) => (&opened[0], &opened[1]),
        (false, true) => (&opened[1], &opened[0]),
        (true, true) => return Err(opened[1].source.bad("expected a decoder, got a second encoder")),
        (false, false) => return Err(opened[1].source.bad("expected an encoder, got a second decoder")),
    };
    let config = needs::openai_dvae(encoder, decoder)?;
    let mut named = renamed(encoder, "", "encoder.");
    named.extend(renamed(decoder, "", "decoder."));
    Ok((named, config))
}

/// What a pickled module says of itself, or the metadata of a safetensors file.
fn attributes(file: &Weights) -> Json {
    let top = file.attributes.iter().filter(|(path, _)| !path.contains('.'));
    let top: serde_json::Map<String, Json> = top.cloned().collect();
    json!({"class": file.class, "attributes": top})
}

fn config(path: &Path) -> Result<Json> {
    let source = Source::open(path)?;
    if source.size() > MAX_CONFIG {
        return Err(source.bad(format!("expected at most {MAX_CONFIG} bytes, got {}", source.size())));
    }
    serde_json::from_slice(&source.bytes(0, source.size())?).map_err(|e| source.bad(format!("expected JSON: {e}")))
}
