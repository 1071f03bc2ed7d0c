//! A spec that checks, and where it came from: what a run, its data and its models are made of. Whether its expectations can be met
//! is not asked here, for that takes the evaluators ([`super::load`]).

use super::origins::Origins;
use crate::spec::parse::{self, Key, MOST_BYTES, Node};
use crate::spec::problem::{self, Place, Problem, Source};
use crate::spec::{Spec, check as schema, defaults, extends, set, sweep};
use crate::{Error, Result};
use serde_yaml::Value;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Where it says it.
    pub(super) origins: Origins,
    /// Which of its words do not hold, since a stage is another run's.
    pub said: Vec<String>,
}

/// A spec that checks.
pub(super) struct Checked {
    pub(super) spec: Spec,
    /// What it says, without any default.
    pub(super) given: Value,
    /// Where it says it.
    pub(super) origins: Origins,
    /// Which of its words do not hold.
    pub(super) said: Vec<String>,
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

impl Loaded {
    /// Every value of the spec on a line of its own, and behind it where it comes from: a file's line, an argument, or no more
    /// than its default.
    ///
    /// # Errors
    /// [`Error::Spec`] for a value that JSON cannot hold; none of a checked spec is.
    pub fn origins(&self) -> Result<String> {
        self.origins.beside(&self.spec)
    }

    /// The same for programs: `{"seed": {"value": 7, "where": "a.yaml:3"}, …}`.
    ///
    /// # Errors
    /// Those of [`Loaded::origins`].
    pub fn told_origins(&self) -> Result<serde_json::Value> {
        self.origins.told(&self.spec)
    }

    /// `error`, which what the spec says at `path` (`data.train[0]`) is at fault for: with its line, where there is one.
    pub(super) fn blamed(&self, path: &str, error: Error, hint: &str) -> Error {
        self.origins.blamed(path, error, hint)
    }
}

/// Reads the spec that a run keeps at `path`. What it expected was held against the results that its version of the program
/// had, so paths that have gone since keep no finished run from being used.
///
/// # Errors
/// Those of [`load`](super::load::load), but for expectations.
pub fn reopen(path: impl AsRef<Path>, presets: &[&str]) -> Result<Loaded> {
    at(path.as_ref(), &[], presets, |_, _| Vec::new(), &settled)
}

/// What a spec says once it is known what of it is another run's.
pub(super) struct Settled {
    /// All of it.
    pub(super) given: Value,
    /// Which of its own words do not hold.
    pub(super) said: Vec<String>,
}

/// Settles a spec that was read, and found to be one.
pub(super) type Settle<'a> = &'a (dyn Fn(&Node, Value) -> std::result::Result<Settled, Vec<Problem>> + Sync);

/// For a spec that was settled before, as a run keeps it.
pub(super) fn settled(_: &Node, given: Value) -> std::result::Result<Settled, Vec<Problem>> {
    Ok(Settled { given, said: Vec::new() })
}

/// What is wrong with the expectations of a spec, and with the tree that it was read from.
pub(super) type Expected = fn(&Node, &Spec) -> Vec<Problem>;

/// The spec at `path`, to be checked as [`checked`] does.
pub(super) fn at(
    path: &Path,
    sets: &[String],
    presets: &[&str],
    expected: Expected,
    settle: Settle<'_>,
) -> Result<Loaded> {
    let text = read(path)?;
    let checked = checked((&path.display().to_string(), path), &text, sets, presets, expected, settle)?;
    Ok(checked.loaded(text, path))
}

impl Checked {
    /// As it stands in `file`, whose text is `text`.
    pub(super) fn loaded(self, text: String, file: &Path) -> Loaded {
        let Checked { spec, given, origins, said } = self;
        Loaded { spec, text, folder: folder_of(file).to_owned(), file: Some(file.to_owned()), given, origins, said }
    }
}

/// The folder that a spec's paths are relative to.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// A text as it was read, before it is held against the schema.
pub(super) struct Tree {
    /// With all that it extends, and every `--set`.
    pub(super) root: Node,
    /// Taken out of it.
    pub(super) sweep: Option<(Key, Node)>,
    /// What places point into.
    pub(super) sources: Arc<[Source]>,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
}

/// Reads `text`. In messages it has a name, and what it extends lies beside `file`.
pub(super) fn tree((name, file): (&str, &Path), text: &str, sets: &[String]) -> Result<Tree> {
    let mut sources = vec![Source { name: name.to_owned(), text: text.to_owned() }];
    let mut problems = Vec::new();
    let whole = parse::parse(text, 0, 0, &mut problems)
        .and_then(|root| extends::inherit(root, file, &mut sources, &mut problems, &parent));
    let mut root = match whole {
        Ok(root) => root,
        Err(problem) => return Err(problem::report([problems, vec![problem]].concat(), &sources)),
    };
    let sweep = sweep::take(&mut root);
    for text in sets {
        set::apply(&mut root, text, sources.len(), &mut problems);
        sources.push(Source { name: "--set".to_owned(), text: text.clone() });
    }
    Ok(Tree { root, sweep, sources: sources.into(), problems })
}

/// The spec in a tree, or all that is wrong with it; `expected` finds what is wrong with its expectations.
pub(super) fn judged(
    root: &Node,
    sources: &Arc<[Source]>,
    presets: &[&str],
    expected: Expected,
    settle: Settle<'_>,
) -> std::result::Result<Checked, Vec<Problem>> {
    let problems = schema::check(root, presets);
    if !problems.is_empty() {
        return Err(problems);
    }
    let Settled { given, said } = settle(root, root.to_value())?;
    let spec: Spec = serde_yaml::from_value(defaults::fill(given.clone(), None))
        .map_err(|error| vec![Problem::new(&Place { source: 0, start: 0, end: 0 }, error.to_string(), "")])?;
    match expected(root, &spec) {
        problems if problems.is_empty() => Ok(Checked { spec, given, origins: Origins::of(root, sources), said }),
        problems => Err(problems),
    }
}

/// The spec in `text`, which must be of one.
pub(super) fn checked(
    name: (&str, &Path),
    text: &str,
    sets: &[String],
    presets: &[&str],
    expected: Expected,
    settle: Settle<'_>,
) -> Result<Checked> {
    let Tree { root, sweep, sources, mut problems } = tree(name, text, sets)?;
    if let Some((key, _)) = sweep {
        problems.push(Problem::new(
            &key.place,
            "`sweep` makes many specs of this one",
            "run them with `experiment sweep`",
        ));
    }
    match judged(&root, &sources, presets, expected, settle) {
        Ok(checked) if problems.is_empty() => Ok(checked),
        Ok(_) => Err(problem::report(problems, &sources)),
        Err(more) => Err(problem::report([problems, more].concat(), &sources)),
    }
}

/// The text of a spec that another one extends, or why there is none.
fn parent(path: &Path) -> std::result::Result<String, String> {
    read(path).map_err(|error| error.to_string())
}

pub(super) fn read(path: &Path) -> Result<String> {
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
