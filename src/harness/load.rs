//! A file and `--set` arguments to a checked [`Spec`]: read with a cap, parsed to a tree with places, overridden, held against
//! the schema, and only then read by serde.

use super::expected;
use crate::spec::parse::{self, MOST_BYTES};
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
    /// A spec that stands in `text`, with data beside `folder`; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`Error::Spec`] with every problem of the text and of the arguments.
    pub fn parse(name: &str, text: &str, folder: &Path, sets: &[String], presets: &[&str]) -> Result<Loaded> {
        let (spec, given) = check_with(name, text, sets, presets, Expectations::Checked)?;
        Ok(Loaded { spec, text: text.to_owned(), folder: folder.to_owned(), file: None, given })
    }

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

/// Reads and checks the spec at `path`; `sets` are `key.path=value`, `presets` the names of the preset table.
///
/// # Errors
/// [`Error::Usage`] without such a file; [`Error::Spec`] with every problem of the file and of the arguments.
pub fn load(path: impl AsRef<Path>, sets: &[String], presets: &[&str]) -> Result<Loaded> {
    load_with(path.as_ref(), sets, presets, Expectations::Checked)
}

/// Reads the spec that a run keeps at `path`. What it expected was held against the results that its version of the program
/// had, so paths that have gone since keep no finished run from being used.
///
/// # Errors
/// Those of [`load`], but for expectations.
pub fn reopen(path: impl AsRef<Path>, presets: &[&str]) -> Result<Loaded> {
    load_with(path.as_ref(), &[], presets, Expectations::AsTheyAre)
}

fn load_with(path: &Path, sets: &[String], presets: &[&str], expectations: Expectations) -> Result<Loaded> {
    let text = read(path)?;
    let (spec, given) = check_with(&path.display().to_string(), &text, sets, presets, expectations)?;
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok(Loaded { spec, text, folder, file: Some(path.to_owned()), given })
}

/// Checks the text of a spec; `name` stands for the file in messages.
///
/// # Errors
/// [`Error::Spec`] with every problem of the text and of the arguments.
pub fn check(name: &str, text: &str, sets: &[String], presets: &[&str]) -> Result<Spec> {
    check_with(name, text, sets, presets, Expectations::Checked).map(|(spec, _)| spec)
}

/// Whether the paths of expectations must be ones that the results will hold.
#[derive(Clone, Copy, PartialEq)]
enum Expectations {
    Checked,
    AsTheyAre,
}

/// The spec, and what it says without any default.
fn check_with(
    name: &str,
    text: &str,
    sets: &[String],
    presets: &[&str],
    expectations: Expectations,
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
            Ok(spec) if expectations == Expectations::AsTheyAre => return Ok((spec, given)),
            Ok(spec) => {
                problems.extend(expected::problems(&root, &spec));
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
