//! A spec that checks, and where it came from: what a run, its data and its models are made of. Whether its expectations can be met
//! is not asked here, for that takes the evaluators ([`super::load`]).

use crate::spec::parse::{self, MOST_BYTES, Node};
use crate::spec::problem::{self, Place, Problem, Source};
use crate::spec::{Spec, check as schema, defaults, set};
use crate::{Error, Result};
use serde_yaml::Value;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A spec that checks, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// With every default filled in and every `--set` applied.
    pub spec: Spec,
    /// The file as given.
    pub text: String,
    /// The file's folder: data paths are relative to it.
    pub folder: PathBuf,
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// What it says, without any default.
    pub(super) given: Value,
}

impl Loaded {
    /// The spec where so many `pictures` are there to train on: they bound the steps that it leaves out.
    ///
    /// # Errors
    /// [`Error::Spec`] where serde refuses what is filled in; none of a spec that checks.
    pub fn with_pictures(&self, pictures: usize) -> Result<Loaded> {
        match serde_yaml::from_value(defaults::fill(self.given.clone(), Some(pictures))) {
            Ok(spec) => Ok(Loaded { spec, ..self.clone() }),
            Err(error) => Err(Error::Spec(error.to_string())),
        }
    }
}

/// Reads the spec that a run keeps at `path`. What it expected was held against the results that its version of the program
/// had, so paths that have gone since keep no finished run from being used.
///
/// # Errors
/// Those of [`load`](super::load::load), but for expectations.
pub fn reopen(path: impl AsRef<Path>, presets: &[&str]) -> Result<Loaded> {
    at(path.as_ref(), &[], presets, |_, _| Vec::new())
}

/// What is wrong with the expectations of a spec, and with the tree that it was read from.
type Expected = fn(&Node, &Spec) -> Vec<Problem>;

/// The spec at `path`, to be checked as [`checked`] does.
pub(super) fn at(path: &Path, sets: &[String], presets: &[&str], expected: Expected) -> Result<Loaded> {
    let text = read(path)?;
    let (spec, given) = checked(&path.display().to_string(), &text, sets, presets, expected)?;
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok(Loaded { spec, text, folder, file: Some(path.to_owned()), given })
}

/// The spec in `text`, and what it says without any default; `expected` finds what is wrong with its expectations.
pub(super) fn checked(
    name: &str,
    text: &str,
    sets: &[String],
    presets: &[&str],
    expected: Expected,
) -> Result<(Spec, Value)> {
    let mut sources = vec![Source { name: name.to_owned(), text: text.to_owned() }];
    sources.extend(sets.iter().map(|text| Source { name: "--set".to_owned(), text: text.clone() }));
    let mut problems = Vec::new();
    let mut root = match parse::parse(text, 0, 0, &mut problems) {
        Ok(root) => root,
        Err(problem) => return Err(problem::report([problems, vec![problem]].concat(), &sources)),
    };
    for (source, text) in (1..).zip(sets) {
        set::apply(&mut root, text, source, &mut problems);
    }
    problems.extend(schema::check(&root, presets));
    if problems.is_empty() {
        let given = root.to_value();
        match serde_yaml::from_value(defaults::fill(given.clone(), None)) {
            Ok(spec) => {
                problems.extend(expected(&root, &spec));
                if problems.is_empty() {
                    return Ok((spec, given));
                }
            }
            Err(error) => problems.push(Problem::new(&Place { source: 0, start: 0, end: 0 }, error.to_string(), "")),
        }
    }
    Err(problem::report(problems, &sources))
}

fn read(path: &Path) -> Result<String> {
    let usage = |what: &str| Error::Usage(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => usage("no such spec"),
        _ => Error::io("read", path)(error),
    })?;
    if path.is_dir() {
        return Err(usage("a folder, not a spec"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() > MOST_BYTES {
        return Err(Error::Spec(format!(
            "{}: larger than {MOST_BYTES} bytes, the most that a spec may hold",
            path.display()
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count();
        Error::Spec(format!("{}:{line}: not UTF-8 at byte {valid}", path.display()))
    })
}
