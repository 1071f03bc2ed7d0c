//! Runs: started here, or read from a run directory that anyone wrote.

mod begin;
mod measured;
mod training;

use super::image::ImageGrid;
use super::model::Model;
use super::show::{Rich, Show, shown};
use super::spec::Spec;
use super::table::Table;
use crate::harness::models::{self, Build};
use crate::harness::notice;
use crate::harness::run_dir;
use crate::report::panels;
use crate::report::run::{Run as Read, Stage};
use crate::{Error, Result};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use training::Training;

pub(super) use begin::results_folder;

/// Time between two looks at a run that is waited for.
const LOOK: Duration = Duration::from_millis(200);
/// Looks between two lines of progress.
const LINE_EVERY: u32 = 25;

/// A run directory, finished or growing: what a [`Spec`] became. A run that this process started goes on in the background
/// while it is read; a clone is the same run.
#[derive(Clone)]
pub struct Run {
    path: PathBuf,
    training: Option<Arc<Training>>,
    build: Build,
}

impl Run {
    /// The run at `path`: its directory, or `results/NAME` for the newest of that name.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Run> {
        Run::at(path.as_ref())
    }

    pub(super) fn at(path: &Path) -> Result<Run> {
        Ok(Run { path: run_dir::find(path)?, training: None, build: models::named })
    }

    /// Waits for the end, with a line of progress every few seconds.
    ///
    /// # Errors
    /// What ended the run early.
    pub fn wait(&self) -> Result<()> {
        for look in 1u32.. {
            if self.ended()? {
                break;
            }
            if look.is_multiple_of(LINE_EVERY) {
                notice::line(self.progress()?);
            }
            thread::sleep(LOOK);
        }
        self.outcome()
    }

    /// Waits until `stage` has done `step` steps, or the run ends.
    ///
    /// # Errors
    /// What ended the run early.
    pub fn wait_for(&self, stage: &str, step: u64) -> Result<()> {
        while !self.read()?.stages.iter().any(|found| found.name == stage && found.step >= step) {
            if self.ended()? {
                return self.outcome();
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Asks a run that was started here to stop after a checkpoint, and waits for it; [`Run::trained`] goes on with it.
    ///
    /// # Errors
    /// [`Error::Usage`] for a run that was not started here; what else ended it.
    pub fn stop(&self) -> Result<()> {
        let Some(training) = &self.training else {
            return Err(Error::Usage(format!("{}: not started in this notebook", self.path.display())));
        };
        training.ask_to_stop();
        match self.wait() {
            Err(Error::Interrupted { .. }) => Ok(()),
            Err(_) if run_dir::read_run(&self.path)?["status"] == "interrupted" => Ok(()),
            other => other,
        }
    }

    fn ended(&self) -> Result<bool> {
        match &self.training {
            Some(training) => Ok(training.ended()),
            // A run whose process died says "running" for ever.
            None => Ok(run_dir::read_run(&self.path)?["status"] != "running" || !run_dir::is_written(&self.path)),
        }
    }

    /// What the thread came to; of a run that ended before, what `run.json` says.
    fn outcome(&self) -> Result<()> {
        if let Some(outcome) = self.training.as_ref().and_then(|training| training.outcome(&self.path)) {
            return outcome;
        }
        match run_dir::read_run(&self.path)?["error"].as_str() {
            Some(error) => Err(Error::data(&self.path, error)),
            None => Ok(()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Its spec, with every setting.
    ///
    /// # Errors
    /// [`Error::Data`] if the run has lost it.
    pub fn spec(&self) -> Result<Spec> {
        Spec::of_run(&self.path)
    }

    /// The models, with the weights of their newest checkpoints.
    ///
    /// # Errors
    /// [`Error::Data`] where no stage has a checkpoint yet.
    pub fn model(&self) -> Result<Model> {
        Model::open(&self.path, self.build)
    }

    /// The first `count` pictures of a validation set, with their captions, as the models see them: `validation`, or
    /// another of the spec's names.
    ///
    /// # Errors
    /// [`Error::Usage`] for a set that there is not, [`Error::Data`] where the pictures cannot be read.
    pub fn pictures(&self, set: &str, count: usize) -> Result<ImageGrid> {
        self.model()?.pictures(set, count)
    }

    /// Writes the run's report; its path.
    ///
    /// # Errors
    /// Those of [`crate::report::write`].
    pub fn report(&self) -> Result<String> {
        Ok(crate::report::write(&self.path)?.display().to_string())
    }

    fn read(&self) -> Result<Read> {
        Read::read(&self.path)
    }

    fn progress(&self) -> Result<String> {
        let read = self.read()?;
        let stage = |stage: &Stage| {
            let loss = stage.curves.iter().find(|curve| curve.0 == "loss").and_then(|curve| curve.1.values().last());
            format!("{} step {}, loss {:.3}", stage.name, stage.step, loss.copied().unwrap_or(f64::NAN))
        };
        Ok(read.stages.last().map_or_else(|| "starting".into(), stage))
    }
}

impl Display for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let read = match self.read() {
            Ok(read) => read,
            Err(error) => return write!(f, "{error}"),
        };
        let (name, status) = (read.text("name").unwrap_or("run"), read.text("status").unwrap_or("unknown"));
        write!(f, "{name}, {status}")?;
        for stage in &read.stages {
            let from = read.from(&stage.name).map_or_else(String::new, |from| format!(" from {from}"));
            write!(f, "; {} {} steps{from}", stage.name, stage.step)?;
        }
        if let Some(error) = read.text("error") {
            write!(f, "; {error}")?;
        }
        Ok(())
    }
}

impl Show for Run {
    fn rich(&self) -> Result<Rich> {
        let read = self.read()?;
        let mut table = Table::new(["run", ""]);
        let text = |name: &str| read.text(name).unwrap_or("–").to_owned();
        for name in ["name", "preset", "status", "started"] {
            table.row([name.to_owned(), text(name)]);
        }
        for stage in &read.stages {
            let how = match (read.from(&stage.name), read.seconds(&stage.name)) {
                (Some(from), _) => format!(", from {from}"),
                (None, Some(time)) => format!(", {time:.0} s"),
                (None, None) => String::new(),
            };
            table.row([panels::title(&stage.name), format!("{} steps{how}", stage.step)]);
        }
        for (title, file) in read.files() {
            table.row([title.to_owned(), format!("from {file}")]);
        }
        if let Some(error) = read.text("error") {
            table.row(["error".to_owned(), error.to_owned()]);
        }
        table.rich()
    }
}

shown!(Run);
