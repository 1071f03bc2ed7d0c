//! Runs: started here, or read from a run directory that anyone wrote.

use super::chart::{Chart, ChartGrid};
use super::image::{Image, ImageGrid};
use super::model::Model;
use super::show::{Rich, Show, shown};
use super::spec::Spec;
use super::table::Table;
use crate::data::Picture;
use crate::harness::models::{self, Family};
use crate::harness::notice;
use crate::harness::pipeline::{self, Watch};
use crate::harness::run_dir::{self, RunDir};
use crate::harness::signals::Stop;
use crate::harness::{load, sources};
use crate::report::run::{Run as Read, Stage};
use crate::report::{charts, panels, results};
use crate::{Error, Result};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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

/// A run that a thread of this process writes.
#[derive(Debug)]
struct Training {
    stop: Stop,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

/// Whose models a spec's are.
pub(super) type Build = fn(&crate::spec::Spec) -> Result<Box<dyn Family>>;

impl Run {
    /// The run at `path`: its directory, or `results/NAME` for the newest of that name.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Run> {
        Run::at(path.as_ref())
    }

    fn at(path: &Path) -> Result<Run> {
        Ok(Run { path: run_dir::find(path)?, training: None, build: models::named })
    }

    /// Trains `spec` in the background and returns at once; the run is in `results/`, as the command line's.
    ///
    /// # Errors
    /// [`Error::Usage`] for a setting that does not fit the preset, [`Error::Io`] where the folder cannot be written.
    pub fn start(spec: &Spec) -> Result<Run> {
        Run::start_with(spec, &spec.loaded.spec.preset, models::named)
    }

    /// `preset` is what the run is said to have.
    pub(super) fn start_with(spec: &Spec, preset: &str, build: Build) -> Result<Run> {
        // What does not fit is said here, before there is a run.
        let architecture = build(&spec.loaded.spec)?.architecture(&spec.loaded.spec)?;
        let (loaded, said) = sources::fitted(spec.loaded.clone(), Some(architecture.geometry.side))?;
        said.iter().for_each(notice::line);
        Run::create(loaded, preset, build)
    }

    fn create(loaded: load::Loaded, preset: &str, build: Build) -> Result<Run> {
        let mut dir = RunDir::create(results_folder(), &loaded, &["notebook".to_owned()])?;
        dir.update(|run| run["preset"] = preset.into())?;
        Ok(Run::spawn(loaded, dir, build))
    }

    fn spawn(loaded: load::Loaded, mut dir: RunDir, build: Build) -> Run {
        let (path, stop) = (dir.path().to_owned(), Stop::never());
        let watch = Watch { stop: stop.clone(), progress: false };
        let train = move || {
            let trained = |family: Box<dyn Family>| pipeline::run_with(&loaded, family.as_ref(), &mut dir, &watch);
            let outcome = build(&loaded.spec).and_then(trained);
            // A run that failed, or was stopped, has a report too; its error comes before the report's.
            let report = crate::report::write(dir.path()).map(drop);
            outcome.and(report)
        };
        let thread = Mutex::new(Some(thread::spawn(train)));
        Run { path, training: Some(Arc::new(Training { stop, thread })), build }
    }

    /// The finished run of the spec at `path`: opened where there is one, else trained here, or resumed, with a line of
    /// progress every few seconds.
    ///
    /// # Errors
    /// Those of the spec and of the training.
    pub fn trained(path: impl AsRef<Path>) -> Result<Run> {
        Run::trained_at(path.as_ref())
    }

    fn trained_at(path: &Path) -> Result<Run> {
        let (loaded, said) = sources::fitted(Spec::at(path)?.loaded, None)?;
        let same = run_dir::find_same(results_folder(), &loaded.spec)?;
        if let Some(done) = &same
            && run_dir::read_run(done)?["status"] == "done"
        {
            return Ok(Run { path: done.clone(), training: None, build: models::named });
        }
        said.iter().for_each(notice::line);
        let run = match same {
            Some(begun) => {
                let mut dir = RunDir::open(begun)?;
                dir.change_spec(&loaded, &[])?;
                Run::spawn(loaded, dir, models::named)
            }
            None => {
                models::named(&loaded.spec)?.architecture(&loaded.spec)?; // what does not fit is said before there is a run
                let preset = loaded.spec.preset.clone();
                Run::create(loaded, &preset, models::named)?
            }
        };
        notice::line(format_args!("training {}; this is done once", run.path.display()));
        run.wait()?;
        Ok(run)
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
        training.stop.ask();
        match self.wait() {
            Err(Error::Interrupted { .. }) => Ok(()),
            Err(_) if run_dir::read_run(&self.path)?["status"] == "interrupted" => Ok(()),
            other => other,
        }
    }

    fn ended(&self) -> Result<bool> {
        match &self.training {
            Some(training) => {
                let thread = training.thread.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(thread.as_ref().is_none_or(JoinHandle::is_finished))
            }
            // A run whose process died says "running" for ever.
            None => Ok(run_dir::read_run(&self.path)?["status"] != "running" || !run_dir::is_written(&self.path)),
        }
    }

    /// What the thread came to; of a run that ended before, what `run.json` says.
    fn outcome(&self) -> Result<()> {
        let thread = self.training.as_ref().and_then(|training| {
            let mut thread = training.thread.lock().unwrap_or_else(PoisonError::into_inner);
            thread.take()
        });
        if let Some(thread) = thread {
            return thread.join().unwrap_or_else(|_| Err(Error::data(&self.path, "the training panicked")));
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

    /// The chart of one quantity of a stage (`dvae`, `transformer`, `clip`), with what it is compared to: the key as in
    /// `metrics.jsonl`, such as `loss`, `temperature`, `grad_norm`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a stage or a quantity that there is not, or not yet.
    pub fn chart(&self, stage: &str, quantity: &str) -> Result<Chart> {
        self.drawn(stage, quantity, panels::chart)
    }

    fn drawn(&self, stage: &str, quantity: &str, draw: fn(&Stage, &str) -> Option<charts::Chart>) -> Result<Chart> {
        let read = self.read()?;
        let stage = found(&read.stages, stage)?;
        let drawn = draw(stage, quantity).ok_or_else(|| {
            let known: Vec<&str> = stage.curves.iter().map(|curve| curve.0.as_str()).collect();
            Error::Usage(format!("quantity {quantity:?}: stage {} has {}", stage.name, known.join(", ")))
        })?;
        Ok(Chart(drawn))
    }

    /// All charts of a stage.
    ///
    /// # Errors
    /// [`Error::Usage`] for a stage that there is not, or not yet.
    pub fn charts(&self, stage: &str) -> Result<ChartGrid> {
        let read = self.read()?;
        Ok(ChartGrid(panels::charts(found(&read.stages, stage)?).into_iter().map(Chart).collect()))
    }

    /// What reranking gained: the best of N candidates by CLIP.
    ///
    /// # Errors
    /// [`Error::Usage`] before the run is measured.
    pub fn rerank_curve(&self) -> Result<ChartGrid> {
        let read = self.read()?;
        let curve = read.results.and_then(|results| results.rerank_curve);
        let curve = curve.ok_or_else(|| Error::Usage("no reranking curve yet: is the run finished?".into()))?;
        Ok(ChartGrid(results::rerank_charts(&curve).into_iter().map(Chart).collect()))
    }

    /// Everything that was measured after training.
    ///
    /// # Errors
    /// Those of reading `run.json`.
    pub fn results(&self) -> Result<Table> {
        let mut table = Table::new(["measurement", "value", "95 % interval"]);
        results::measurements(&self.read()?)
            .into_iter()
            .for_each(|(path, value, detail)| table.row([path, value, detail]));
        Ok(table)
    }

    /// One measurement by its path in `run.json`'s results: `elbo_validation.psnr`.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such number.
    pub fn result(&self, path: &str) -> Result<f64> {
        let read = self.read()?;
        let mut value = read.facts.get("results");
        for key in path.split('.') {
            value = value.and_then(|value| value.get(key));
        }
        let number = value.and_then(|value| value.as_f64().or_else(|| value.get("value")?.as_f64()));
        number.ok_or_else(|| Error::Usage(format!("{path}: no such number among the results")))
    }

    /// The pictures that the run drew of its captions, the best by CLIP first in each row.
    ///
    /// # Errors
    /// [`Error::Data`] for a picture that is lost.
    pub fn samples(&self) -> Result<ImageGrid> {
        let read = self.read()?;
        let mut images = Vec::new();
        let mut columns = 1;
        for sampled in &read.samples {
            let mut candidates: Vec<_> = sampled.candidates.iter().collect();
            candidates.sort_by(|a, b| b.similarity.unwrap_or(f64::MIN).total_cmp(&a.similarity.unwrap_or(f64::MIN)));
            columns = columns.max(candidates.len());
            for (place, candidate) in candidates.into_iter().enumerate() {
                let caption = if place == 0 { sampled.caption.clone() } else { String::new() };
                let file = self.path.join(&candidate.file);
                // Not a file elsewhere, which a run that came from others might name.
                read.listed(&candidate.file).map_err(|why| Error::data(&file, why))?;
                images.push(Image { picture: Picture::open(file)?, caption });
            }
        }
        Ok(ImageGrid::of(&images).columns(columns))
    }

    /// Writes the run's report; its path.
    ///
    /// # Errors
    /// Those of [`crate::report::write`].
    pub fn report(&self) -> Result<String> {
        Ok(crate::report::write(&self.path)?.display().to_string())
    }

    /// Several runs side by side: a measurement of each run, by its path in the results, a row a run.
    ///
    /// # Errors
    /// Those of reading `run.json`; a measurement that a run lacks is a dash.
    pub fn compare(runs: &[Run], measurements: &[&str]) -> Result<Table> {
        let mut table = Table::new(["run", "status", "measurement", "value"]);
        for run in runs {
            let read = run.read()?;
            let name = run.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let name = format!("{}/{name}", read.text("name").unwrap_or("run"));
            for path in measurements {
                let value = run.result(path).map_or("–".into(), crate::report::axis::number);
                let status = read.text("status").unwrap_or("unknown").to_owned();
                table.row([name.clone(), status, (*path).to_owned(), value]);
            }
        }
        Ok(table)
    }

    /// One quantity of several runs in one chart; `names` are the runs' in the legend.
    ///
    /// # Errors
    /// Those of [`Run::chart`]; [`Error::Usage`] where there are more or fewer names than runs.
    pub fn overlay(runs: &[Run], names: &[&str], stage: &str, quantity: &str) -> Result<Chart> {
        if runs.len() != names.len() || runs.is_empty() {
            return Err(Error::Usage(format!("{} runs with {} names: expected one each", runs.len(), names.len())));
        }
        let mut all: Option<charts::Chart> = None;
        for (run, name) in runs.iter().zip(names) {
            let Chart(mut chart) = run.drawn(stage, quantity, panels::only)?;
            chart.series.iter_mut().for_each(|series| series.name = (*name).to_owned());
            match &mut all {
                Some(all) => all.series.append(&mut chart.series),
                None => all = Some(chart),
            }
        }
        all.map(Chart).ok_or_else(|| Error::Usage("no runs".into()))
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

fn found<'a>(stages: &'a [Stage], name: &str) -> Result<&'a Stage> {
    let known = || stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ");
    let none = || {
        Error::Usage(format!(
            "stage {name:?}: the run has {}",
            if stages.is_empty() { "none yet".into() } else { known() }
        ))
    };
    stages.iter().find(|stage| stage.name == name).ok_or_else(none)
}

/// Where runs go: the project's `results`, whether a cell runs in `notebooks` or at the top.
fn results_folder() -> PathBuf {
    let beside = Path::new("../results");
    if !Path::new("results").is_dir() && beside.is_dir() { beside.into() } else { "results".into() }
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
            write!(f, "; {} {} steps", stage.name, stage.step)?;
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
            let time = read.seconds(&stage.name).map_or_else(String::new, |time| format!(", {time:.0} s"));
            table.row([panels::title(&stage.name), format!("{} steps{time}", stage.step)]);
        }
        if let Some(error) = read.text("error") {
            table.row(["error".to_owned(), error.to_owned()]);
        }
        table.rich()
    }
}

shown!(Run);
