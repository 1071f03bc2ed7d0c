//! How a run comes to be: started, gone on with, or one of a sweep.

use super::Run;
use super::training::Training;
use crate::Result;
use crate::harness::device::Device;
use crate::harness::load::Loaded;
use crate::harness::models::{self, Build};
use crate::harness::notice;
use crate::harness::resume::Begun;
use crate::harness::run_dir::{self, RunDir};
use crate::harness::shared::Shared;
use crate::harness::sources;
use crate::harness::sweep::{self, Frozen, Index};
use crate::models::presets;
use crate::notebook::spec::Spec;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Run {
    /// Trains `spec` in the background and returns at once; the run is in `results/`, as the command line's.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a setting that does not fit the preset, [`Error::Io`](crate::Error::Io) where the folder cannot be written.
    pub fn start(spec: &Spec) -> Result<Run> {
        Run::start_with(spec, &spec.loaded.spec.preset, models::named)
    }

    /// `preset` is what the run is said to have.
    pub(in crate::notebook) fn start_with(spec: &Spec, preset: &str, build: Build) -> Result<Run> {
        // What does not fit is said here, before there is a run.
        let architecture = build(&spec.loaded.spec)?.architecture(&spec.loaded.spec)?;
        let (loaded, said) = sources::fitted(spec.loaded.clone(), Some(architecture.geometry.side))?;
        said.iter().for_each(notice::line);
        Run::create(loaded, preset, build)
    }

    fn create(loaded: Loaded, preset: &str, build: Build) -> Result<Run> {
        let mut dir = RunDir::create(results_folder(), &loaded, &["notebook".to_owned()])?;
        dir.update(|run| run["preset"] = preset.into())?;
        Run::spawn(loaded, dir, build, None)
    }

    fn go_on(begun: &Begun, shared: Option<Shared>) -> Result<Run> {
        let mut dir = RunDir::open(&begun.path)?;
        dir.change_spec(&begun.loaded, &begun.changes)?;
        Run::spawn(begun.loaded.clone(), dir, models::named, shared)
    }

    fn spawn(loaded: Loaded, mut dir: RunDir, build: Build, shared: Option<Shared>) -> Result<Run> {
        dir.happens_on(Device::Cpu.name(), None)?;
        let path = dir.path().to_owned();
        Ok(Run { path, training: Some(Arc::new(Training::start(loaded, dir, build, shared))), build })
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
            Some(path) => Run::go_on(&Begun { path, loaded, changes: Vec::new() }, None)?,
            None => {
                Run::fits(&loaded)?; // what does not is said before there is a run
                let preset = loaded.spec.preset.clone();
                Run::create(loaded, &preset, models::named)?
            }
        };
        notice::line(format_args!("training {}; this is done once", run.path.display()));
        run.wait()?;
        Ok(run)
    }

    /// Whether the models of a spec can be built.
    pub(in crate::notebook) fn fits(loaded: &Loaded) -> Result<()> {
        models::named(&loaded.spec)?.architecture(&loaded.spec).map(drop)
    }

    /// Does what is left to do of the run at `index` of a sweep; its folder.
    pub(in crate::notebook) fn of_sweep(frozen: &Frozen, index: usize) -> Result<PathBuf> {
        let results = results_folder();
        let _hold = frozen.hold(index)?;
        let runs = results.join(&frozen.name);
        let shared = Some(Shared { locks: runs.join("locks"), runs });
        let run = match sweep::index(frozen, index, &sweep::Runs::of(&results, &frozen.name), presets::NAMES)? {
            Index::Done(path) => return Ok(path),
            Index::Begun(begun) => Run::go_on(&begun, shared)?,
            Index::Absent => {
                let loaded = frozen.spec(index, presets::NAMES)?;
                let dir = RunDir::create(&results, &loaded, &["notebook".to_owned()])?;
                Run::spawn(loaded, dir, models::named, shared)?
            }
        };
        run.wait()?;
        Ok(run.path)
    }
}

/// Where runs go: the project's `results`, whether a cell runs in `notebooks` or at the top.
pub(in crate::notebook) fn results_folder() -> PathBuf {
    let beside = Path::new("../results");
    if !Path::new("results").is_dir() && beside.is_dir() { beside.into() } else { "results".into() }
}
