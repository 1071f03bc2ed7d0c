//! `experiment import`: a published checkpoint as one safetensors file, with its configuration in the metadata.

use super::needs::{self, Needs};
use super::source::Source;
use super::tensor::Stored;
use super::{Weights, header, index};
use crate::error::{Error, Result};
use serde_json::{Value as Json, json};
use std::collections::{BTreeSet, HashMap, HashSet};
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
    /// What of the files was not written, a sentence each.
    pub left_out: Vec<String>,
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
    let (json, tensors): (Vec<&PathBuf>, Vec<&PathBuf>) = files.iter().partition(|file| {
        kind == Kind::HfClip && file.extension().is_some_and(|e| e == "json") && !index::is_index(file)
    });
    let (expected, right) = match kind {
        Kind::OpenaiDvae => ("encoder.pkl and decoder.pkl", tensors.len() == 2),
        Kind::HfClip => ("config.json and model.safetensors", json.len() == 1 && !tensors.is_empty()),
        _ => ("one file", tensors.len() == 1),
    };
    if !right {
        return Err(Error::Usage(format!("import {}: expected {expected}, got {} files", kind.name(), files.len())));
    }
    let mut opened = Vec::new();
    for path in tensors {
        match index::is_index(path) {
            true => opened.extend(index::shards(path)?),
            false => opened.push(Weights::open(path)?),
        }
    }
    if kind == Kind::OpenaiDvae && opened.len() != 2 {
        return Err(Error::Usage(format!("import {}: expected {expected}, in one file each", kind.name())));
    }
    let (named, config) = match kind {
        Kind::OpenaiDvae => dvae(&opened)?,
        Kind::OpenaiClip => whole(&opened, "text_projection", needs::openai_clip)?,
        Kind::HfClip => {
            let config = config(json[0])?;
            let (named, _) = whole(&opened, "text_projection.weight", |weights| needs::hf_clip(weights, &config))?;
            (named, config)
        }
        Kind::Torch => {
            // All tensors are wanted: also one that only a call would make.
            if let Some((file, (name, global))) = opened.iter().find_map(|file| Some((file, file.unread()?))) {
                return Err(file.source.bad(format!("tensor {name} cannot be read: it is made by {global:?}")));
            }
            (opened.iter().flat_map(|file| renamed(file, "", "")).collect(), attributes(&opened[0]))
        }
        Kind::Rudalle => whole(&opened, "text_embeddings.weight", needs::rudalle)?,
        Kind::TamingGumbel => {
            let (mut named, config) = whole(&opened, "encoder.conv_in.weight", needs::taming_gumbel)?;
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
    Ok(Imported { tensors, bytes, config, left_out: left_out(&opened, tensors) })
}

/// What was not written of `opened`, of whose tensors `written` were.
fn left_out(opened: &[Weights], written: usize) -> Vec<String> {
    let all: usize = opened.iter().map(|file| file.tensors.len()).sum();
    let made: Vec<&str> = opened.iter().flat_map(|file| &file.opaque).map(|(_, global)| global.as_str()).collect();
    let mut said = Vec::new();
    if written < all {
        said.push(format!("{} tensors that are not of this model are left out", all - written));
    }
    if let Some(first) = made.first() {
        let count = made.len();
        said.push(format!("{count} values that only running the file would make are left out, such as a {first:?}"));
    }
    said
}

/// All tensors of all files, what stands before the name `known` left off, once `needs` has found what it looks for.
fn whole<'a>(
    opened: &'a [Weights],
    known: &str,
    needs: impl Fn(&Needs<'_>) -> Result<Json>,
) -> Result<(Vec<Named<'a>>, Json)> {
    let prefix = prefix(opened, known)?;
    let config = needs(&Needs { files: opened, prefix: &prefix })?;
    Ok((opened.iter().flat_map(|file| renamed(file, &prefix, "")).collect(), config))
}

/// The tensors of a file whose names begin with `old`, which becomes `new`.
fn renamed<'a>(file: &'a Weights, old: &str, new: &str) -> Vec<Named<'a>> {
    let rename = |tensor: &'a Stored| Some((format!("{new}{}", tensor.name.strip_prefix(old)?), file, tensor));
    file.tensors.iter().filter_map(rename).collect()
}

/// What trainers put before the names of a state dict, in any order and number.
const WRAPPERS: [&str; 6] = ["state_dict", "model_state_dict", "module", "model", "net", "_orig_mod"];

/// What stands before the name `known`, which every checkpoint of the kind has; nothing where it is not there.
///
/// # Errors
/// [`Error::Data`] where it is there twice: which of them is meant?
fn prefix(opened: &[Weights], known: &str) -> Result<String> {
    let wraps = |rest: &str| rest.strip_suffix('.').is_some_and(|rest| rest.split('.').all(|w| WRAPPERS.contains(&w)));
    let before = |name: &str| name.strip_suffix(known).filter(|rest| rest.is_empty() || wraps(rest)).map(str::to_owned);
    let names =
        opened.iter().flat_map(|file| file.tensors.iter().map(|t| &t.name).chain(file.opaque.iter().map(|o| &o.0)));
    let found: BTreeSet<String> = names.filter_map(|name| before(name)).collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(first), Some(second)) if !first.is_empty() => {
            let what = format!("expected one model, found {first}{known} and {second}{known}");
            Err(opened[0].source.bad(what))
        }
        (first, _) => Ok(first.unwrap_or_default()),
    }
}

/// Which file is which is seen in the first convolution: 7×7 in the encoder, 1×1 in the decoder.
fn dvae(opened: &[Weights]) -> Result<(Vec<Named<'_>>, Json)> {
    let half = |file: &Weights| prefix(std::slice::from_ref(file), needs::DVAE_INPUT);
    let is_encoder = |file: &Weights| -> Result<bool> {
        Ok(Needs { files: std::slice::from_ref(file), prefix: &half(file)? }.side(needs::DVAE_INPUT, 2)? > 1)
    };
    let (encoder, decoder) = match (is_encoder(&opened[0])?, is_encoder(&opened[1])?) {
        (true, false) => (&opened[0], &opened[1]),
        (false, true) => (&opened[1], &opened[0]),
        (true, true) => return Err(opened[1].source.bad("expected a decoder, got a second encoder")),
        (false, false) => return Err(opened[1].source.bad("expected an encoder, got a second decoder")),
    };
    let (down, up) = (half(encoder)?, half(decoder)?);
    let config = needs::openai_dvae((encoder, &down), (decoder, &up))?;
    let mut named = renamed(encoder, &down, "encoder.");
    named.extend(renamed(decoder, &up, "decoder."));
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
