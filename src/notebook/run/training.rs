//! A run that a thread of this process writes.

use crate::harness::load::Loaded;
use crate::harness::models::{Build, Family};
use crate::harness::pipeline::{self, Watch};
use crate::harness::run_dir::RunDir;
use crate::harness::shared::Shared;
use crate::harness::signals::Stop;
use crate::{Error, Result};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// The thread, until somebody takes what it came to.
#[derive(Debug)]
pub(super) struct Training {
    stop: Stop,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl Training {
    /// Trains `loaded` into `dir` in the background, but for stages that are there to be `shared`, and writes the run's report.
    pub(super) fn start(loaded: Loaded, mut dir: RunDir, build: Build, shared: Option<Shared>) -> Training {
        let stop = Stop::never();
        let watch = Watch { stop: stop.clone(), progress: false, shared };
        let train = move || {
            let trained = |family: Box<dyn Family>| pipeline::run_with(&loaded, family.as_ref(), &mut dir, &watch);
            let outcome = build(&loaded.spec).and_then(trained);
            // A run that failed, or was stopped, has a report too; its error comes before the report's.
            let report = crate::report::write(dir.path()).map(drop);
            outcome.and(report)
        };
        Training { stop, thread: Mutex::new(Some(thread::spawn(train))) }
    }

    /// Asks for a stop after a checkpoint.
    pub(super) fn ask_to_stop(&self) {
        self.stop.ask();
    }

    pub(super) fn ended(&self) -> bool {
        self.thread().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What the thread came to, said once; `run` is where it wrote.
    pub(super) fn outcome(&self, run: &Path) -> Option<Result<()>> {
        // Taken in a statement of its own: a lock in the next one would last as long as the thread.
        let thread = self.thread().take();
        Some(thread?.join().unwrap_or_else(|_| Err(Error::data(run, "the training panicked"))))
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<Result<()>>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
