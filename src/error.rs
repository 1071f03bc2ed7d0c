//! The one error type of the library. Every message says what went wrong, where, what was expected and what was found;
//! its first line stands alone. Only `main` prints; [`Error::exit_code`] is the command line's contract.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, grouped by what a caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A wrong argument: an unknown preset, an empty caption, an option out of range.
    #[error("{0}")]
    Usage(String),
    /// A spec that does not check. The text holds every error of the file: the first line stands alone, snippets follow.
    #[error("{0}")]
    Spec(String),
    /// A line of the spec's `expect:` block that the run did not meet.
    #[error("expectation failed: {0}")]
    Expect(String),
    /// Data or weights that are missing, truncated or of the wrong shape.
    #[error("{}: {what}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it: expected and got.
        what: String,
    },
    /// A value that is not finite.
    #[error("{stage}: step {step}: {tensor} is not finite ({value}); the last good checkpoint is kept")]
    Numeric {
        /// The stage that was training.
        stage: String,
        /// The step at which it happened.
        step: u64,
        /// The loss or the parameter whose gradient it was.
        tensor: String,
        /// The value found, in words.
        value: String,
    },
    /// A stage whose loss has left every measure: going on would only cost time.
    #[error("{stage}: step {step}: {what}; the last good checkpoint is kept")]
    Diverged {
        /// The stage that was training.
        stage: String,
        /// The step after which it was found.
        step: u64,
        /// Which figure, what it is and what it was.
        what: String,
    },
    /// Reading or writing failed: a full disk, a read-only folder, a file to read that does not exist.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The device refused: no GPU, not enough memory.
    #[error("device: {0}")]
    Device(String),
    /// A device does not compute what the CPU does.
    #[error("selftest: {failed} of {checks} checks failed")]
    Selftest {
        /// Checks beyond their limit.
        failed: usize,
        /// All checks.
        checks: usize,
    },
    /// Stopped by a signal after writing a checkpoint; `--resume` goes on from there.
    #[error("stopped by {signal} after a checkpoint; continue with --resume={}", run.display())]
    Interrupted {
        /// `SIGINT` or `SIGTERM`.
        signal: &'static str,
        /// The run directory.
        run: PathBuf,
    },
}

impl Error {
    /// The exit code that the command line promises for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Selftest { .. } => 1,
            Error::Usage(_) | Error::Spec(_) => 2,
            Error::Expect(_) => 3,
            Error::Data { .. } => 4,
            // Reading what is not there is missing data, whichever call noticed it.
            Error::Io { action: "read" | "open" | "list", source, .. } if source.kind() == ErrorKind::NotFound => 4,
            Error::Numeric { .. } | Error::Diverged { .. } => 5,
            Error::Io { .. } | Error::Device(_) => 6,
            Error::Interrupted { signal: "SIGINT", .. } => 130,
            Error::Interrupted { .. } => 75,
        }
    }

    /// Something is wrong with the data at `path`. What it quotes of a file may hold anything: control characters become �, so
    /// that the message is one line and a terminal obeys nothing in it.
    pub fn data(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        let what = what.into().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Error::Data { path: path.as_ref().to_owned(), what }
    }

    /// `action` on `path` failed with `source`. For use as `.map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { action, path, source }
    }
}

impl From<dfdx::tensor::CpuError> for Error {
    fn from(e: dfdx::tensor::CpuError) -> Self {
        Error::Device(e.to_string())
    }
}
