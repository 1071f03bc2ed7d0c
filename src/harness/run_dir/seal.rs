//! Files of a run that never change once they are written: `run.json` keeps their blake3.

use super::{RESOLVED, TOKENIZER};
use crate::{Error, Result};
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// `run.json`'s record of them.
pub(super) const SEALS: &str = "blake3";

/// That of a file of a run; `None` where there is none.
pub(super) fn seal_of(run: &Path, name: &str) -> Result<Option<String>> {
    let path = run.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(seal(&bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

/// The hexadecimal blake3 of bytes.
pub(super) fn seal(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The blake3 that a run's `run.json` keeps of one of its files.
pub fn sealed(facts: &Value, name: &str) -> Option<String> {
    facts[SEALS][name].as_str().map(str::to_owned)
}

/// An error where the file `name` of a run is not what `run.json` keeps of it, or is the spec and is not there.
pub(super) fn unchanged(run: &Path, facts: &Value, name: &str) -> Result<()> {
    let kept = match &facts[SEALS][name] {
        Value::String(kept) => vec![kept.as_str()],
        Value::Array(kept) => kept.iter().filter_map(Value::as_str).collect(),
        // Before there were seals the hash of the spec was the start of its file's.
        _ if name == RESOLVED => facts["spec_hash"].as_str().into_iter().collect(),
        _ => return Ok(()),
    };
    match seal_of(run, name)? {
        Some(got) => held((run, name), &kept, &got),
        None if name == RESOLVED => {
            Err(Error::data(run.join(name), "expected the spec that the run wrote, found none"))
        }
        None => Ok(()),
    }
}

/// Holds the blake3 of a file that is there to what is kept of it.
fn held((run, name): (&Path, &str), kept: &[&str], got: &str) -> Result<()> {
    if kept.iter().any(|kept| !kept.is_empty() && got.starts_with(kept)) {
        return Ok(());
    }
    let kept = if kept.is_empty() { "none".into() } else { kept.join(" or ") };
    let hint = if name == TOKENIZER { "; without it, --resume makes it again" } else { "" };
    let what = format!("changed since the run wrote it: expected blake3 {kept}, got {got}{hint}");
    Err(Error::data(run.join(name), what))
}

/// A file of a run that never changes once it is written, held to `seals`, which are all that `run.json` keeps; `None` where there is
/// none.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] where it is not what the run wrote.
pub fn sealed_by(run: &Path, seals: &Value, name: &str) -> Result<Option<Vec<u8>>> {
    let path = run.join(name);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(Error::io("read", &path))?,
    };
    if let Some(kept) = seals[name].as_str() {
        held((run, name), &[kept], &seal(&bytes))?;
    }
    Ok(Some(bytes))
}
