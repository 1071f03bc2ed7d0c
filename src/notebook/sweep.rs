//! Sweeps: many runs of one text.

use super::run::{Run, results_folder};
use super::runs::Runs;
use super::show::{Rich, Show, shown};
use super::table::Table;
use crate::Result;
use crate::harness::notice;
use crate::harness::plan;
use crate::harness::sweep::{self, Frozen, Variant};
use crate::models::presets;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// The specs that one with `sweep:` stands for, every one of them checked. The command line runs the same files
/// (`experiment sweep`), and finds what was trained here, as this finds what it trained.
#[derive(Clone)]
pub struct Sweep {
    variants: Vec<Variant>,
}

impl Sweep {
    /// Reads a sweep's file.
    ///
    /// # Errors
    /// [`Error::Spec`](crate::Error::Spec) with every problem of the file and of all specs of it;
    /// [`Error::Usage`](crate::Error::Usage) without such a file.
    pub fn read(path: impl AsRef<Path>) -> Result<Sweep> {
        let (variants, twice) = sweep::expand(path, &[], presets::NAMES)?;
        Ok(Sweep::of(variants, twice))
    }

    /// Checks a sweep's text; paths in it are relative to the working folder.
    ///
    /// # Errors
    /// Those of [`Sweep::read`].
    pub fn parse(yaml: &str) -> Result<Sweep> {
        let (variants, twice) = sweep::parse("sweep", yaml, Path::new("."), presets::NAMES)?;
        Ok(Sweep::of(variants, twice))
    }

    fn of(variants: Vec<Variant>, twice: Option<String>) -> Sweep {
        twice.iter().for_each(notice::line);
        Sweep { variants }
    }

    /// How many specs.
    pub fn len(&self) -> usize {
        self.variants.len()
    }

    /// True where there are none, which no sweep that was read is.
    pub fn is_empty(&self) -> bool {
        self.variants.is_empty()
    }

    /// What each of them will cost by itself, and all together, where a stage that they share counts once.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a setting that does not fit the preset.
    pub fn plan(&self) -> Result<Table> {
        let specs = self.variants.iter().map(|variant| (variant.said.as_str(), &variant.loaded.spec));
        Ok(Table(plan::of_many(specs)?.table()))
    }

    /// Trains what is missing, one run after another, and waits for it; the runs in the order of the sweep. A run that is done is
    /// not trained again, one that was begun is gone on with, and a stage that several of them have in common is trained once.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a setting that does not fit the preset, before anything is trained; what ended a run
    /// early: those before it are done then.
    pub fn run(&self) -> Result<Runs> {
        let (variants, said) = sweep::fitted(self.variants.clone())?;
        said.iter().for_each(notice::line);
        for Variant { loaded, .. } in &variants {
            Run::fits(loaded)?;
        }
        let frozen = Frozen::make(results_folder(), &variants)?;
        let mut paths = Vec::with_capacity(variants.len());
        for (index, (_, said)) in frozen.rows.iter().enumerate() {
            notice::line(format_args!("{} of {}: {said}", index + 1, frozen.rows.len()));
            paths.push(Run::of_sweep(&frozen, index)?);
        }
        Runs::at(&paths)
    }
}

impl Display for Sweep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.table().fmt(f)
    }
}

impl Sweep {
    fn table(&self) -> Table {
        let mut table = Table::new(["index", "says"]);
        let rows = self.variants.iter().enumerate();
        rows.for_each(|(index, variant)| table.row([index.to_string(), variant.said.clone()]));
        table
    }
}

impl Show for Sweep {
    fn rich(&self) -> Result<Rich> {
        self.table().rich()
    }
}

shown!(Sweep);
