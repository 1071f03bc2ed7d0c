//! TensorBoard's files of a run while it is trained: a thread of its own reads the run directory now and then, as any other
//! process would. A step of the training does nothing for it, and an export that fails stops no training.

use super::tensorboard::Board;
use crate::harness::notice;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two looks.
pub const EVERY: Duration = Duration::from_secs(2);

/// An export that goes on until it is told to finish.
pub struct Follower {
    done: Sender<()>,
    thread: JoinHandle<Result<PathBuf>>,
}

impl Follower {
    /// Begins to export the run at `run`, which this process writes, below `out`.
    ///
    /// # Errors
    /// Those of [`Board::open`] and of the first [`Board::update`]; [`Error::Device`] where no thread can be started.
    pub fn start(run: &Path, out: &Path) -> Result<Follower> {
        let mut board = Board::open(run, out)?;
        board.update()?;
        let (done, told) = mpsc::channel();
        let follow = move || {
            while told.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = board.update() {
                    let what = "TensorBoard's files end here, the run goes on";
                    notice::line(format_args!("warning: {what}: {error}"));
                    return Err(error);
                }
            }
            board.finish()
        };
        let thread = thread::Builder::new().name("tensorboard".into()).spawn(follow);
        let thread = thread.map_err(|error| Error::Device(format!("cannot start a thread: {error}")))?;
        Ok(Follower { done, thread })
    }

    /// Writes the rest, once the run has ended, and says where all of it is.
    ///
    /// # Errors
    /// What kept it from being written, also if that was long ago.
    pub fn finish(self) -> Result<PathBuf> {
        // It may have ended with an error, which is the thread's to say.
        let _ = self.done.send(());
        self.thread.join().unwrap_or_else(|_| Err(Error::Device("the export to TensorBoard has panicked".into())))
    }
}
