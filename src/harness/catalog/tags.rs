//! Words that a person gives a run to find it by.

use crate::harness::run_dir::write_atomic;
use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The tags of a run, one a line.
const TAGS: &str = "tags";

/// The tags of the run at `path`.
pub(super) fn tags(path: &Path) -> Result<Vec<String>> {
    let file = path.join(TAGS);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        text => Ok(text.map_err(Error::io("read", &file))?.lines().map(str::to_owned).collect()),
    }
}

/// Adds words to the tags of the run at `path`, or removes them; returns what it has then.
///
/// # Errors
/// [`Error::Usage`] for a word with blanks or without letters; [`Error::Io`].
pub fn tag(path: impl AsRef<Path>, words: &[String], remove: bool) -> Result<Vec<String>> {
    let path = path.as_ref();
    if let Some(word) = words.iter().find(|word| word.is_empty() || word.contains(char::is_whitespace)) {
        return Err(Error::Usage(format!("a tag is one word, got {word:?}")));
    }
    let mut all = tags(path)?;
    all.retain(|tag| !words.contains(tag));
    if !remove {
        all.extend(words.iter().cloned());
    }
    if !words.is_empty() {
        let lines: String = all.iter().map(|tag| format!("{tag}\n")).collect();
        write_atomic(path.join(TAGS), lines.as_bytes())?;
    }
    Ok(all)
}
