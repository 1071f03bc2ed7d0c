//! Experiment specs.

use super::show::{Rich, Show, shown};
use crate::Result;
use crate::harness::load::{self, Loaded};
use crate::harness::plan::plan;
use crate::harness::run_dir;
use crate::models::presets;
use crate::report::html::escape;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// An experiment's YAML, checked: what a [`Run`](super::Run) is of. Its keys are the fields of
/// [`spec::Spec`](crate::spec::Spec).
#[derive(Clone)]
pub struct Spec {
    pub(super) loaded: Loaded,
    sets: Vec<String>,
}

impl Spec {
    /// Reads a spec's file.
    ///
    /// # Errors
    /// [`Error::Spec`](crate::Error::Spec) with every problem, where it is and what was meant; [`Error::Usage`](crate::Error::Usage) without such a file.
    pub fn read(path: impl AsRef<Path>) -> Result<Spec> {
        Spec::at(path.as_ref())
    }

    pub(super) fn at(path: &Path) -> Result<Spec> {
        Ok(Spec { loaded: load::load(path, &[], presets::NAMES)?, sets: Vec::new() })
    }

    /// Checks a spec's text; paths in it are relative to the working folder.
    ///
    /// # Errors
    /// Those of [`Spec::read`].
    pub fn parse(yaml: &str) -> Result<Spec> {
        Ok(Spec { loaded: Loaded::parse("spec", yaml, Path::new("."), &[], presets::NAMES)?, sets: Vec::new() })
    }

    /// The same spec with a value changed: `transformer.steps=100`.
    ///
    /// # Errors
    /// [`Error::Spec`](crate::Error::Spec) for a key that there is not or a value that does not fit.
    pub fn set(&self, change: &str) -> Result<Spec> {
        let sets = [&self.sets[..], &[change.to_owned()]].concat();
        let Loaded { text, folder, file, .. } = &self.loaded;
        let mut loaded = Loaded::parse("spec", text, folder, &sets, presets::NAMES)?;
        loaded.file.clone_from(file);
        Ok(Spec { loaded, sets })
    }

    /// What it will cost, a line a stage: parameters, memory in bytes, arithmetic in floating-point operations, and time on this
    /// machine.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a setting that does not fit the preset.
    pub fn plan(&self) -> Result<Text> {
        Ok(Text(plan(&self.loaded.spec)?.to_string()))
    }

    /// Every setting, defaults filled in.
    ///
    /// # Errors
    /// [`Error::Spec`](crate::Error::Spec).
    pub fn resolved(&self) -> Result<Text> {
        Ok(Text(self.loaded.spec.resolved()?))
    }

    /// That of the run at `path`.
    pub(super) fn of_run(path: &Path) -> Result<Spec> {
        Ok(Spec { loaded: run_dir::read_spec(path, presets::NAMES)?, sets: Vec::new() })
    }
}

impl Display for Spec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.sets.iter().try_for_each(|set| writeln!(f, "# with {set}"))?;
        f.write_str(&self.loaded.text)
    }
}

impl Show for Spec {
    fn rich(&self) -> Result<Rich> {
        Ok(preformatted(&self.to_string()))
    }
}

/// Lines to read.
#[derive(Clone)]
pub struct Text(String);

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Show for Text {
    fn rich(&self) -> Result<Rich> {
        Ok(preformatted(&self.0))
    }
}

fn preformatted(text: &str) -> Rich {
    Rich::Html(format!("<pre style=\"white-space:pre;overflow-x:auto\">{}</pre>", escape(text.trim_end())))
}

shown!(Spec, Text);
