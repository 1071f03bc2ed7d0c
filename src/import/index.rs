//! A checkpoint in shards, as Hugging Face lays it out: `model.safetensors.index.json`, or `pytorch_model.bin.index.json`, says
//! which tensor is in which file beside it.

use super::Weights;
use crate::error::{Error, Result};
use crate::files;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Files of one checkpoint.
const MAX_SHARDS: usize = 1024;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether `path` is called as such an index is.
pub(super) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".index.json"))
}

/// The shards that the index at `path` names, in the order of their names.
///
/// # Errors
/// [`Error::Data`] where it is no index, names a file that is not beside it, or a shard lacks a tensor that it should have.
pub(super) fn shards(path: &Path) -> Result<Vec<Weights>> {
    let bad = |what: String| Error::data(path, what);
    let index: Index = serde_json::from_slice(&files::read(path, files::MOST_TEXT)?)
        .map_err(|e| bad(format!("expected an index of shards: {e}")))?;
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &index.weight_map {
        names.entry(shard).or_default().push(tensor);
    }
    if names.is_empty() || names.len() > MAX_SHARDS {
        return Err(bad(format!("expected 1 to {MAX_SHARDS} shards, got {}", names.len())));
    }
    let open = |(name, tensors): (&str, Vec<&str>)| {
        // A name that leads elsewhere is no shard beside the index.
        if Path::new(name).file_name().is_none_or(|file| file != name) {
            return Err(bad(format!("shard {name:?}: expected the name of a file beside the index")));
        }
        let weights = Weights::open(path.with_file_name(name))?;
        match tensors.into_iter().find(|tensor| weights.find(tensor).is_none()) {
            Some(tensor) => Err(bad(format!("tensor {tensor}: the index says that it is in {name}, where it is not"))),
            None => Ok(weights),
        }
    };
    names.into_iter().map(open).collect()
}
