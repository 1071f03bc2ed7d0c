//! The one error type of the library. Every message says what went wrong, where, what was expected and what was found;
//! its first line stands alone. Only `main` prints; [`Error::exit_code`] is the command line's contract.

use std::cell::Cell;
use std::io::ErrorKind;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, grouped by what a caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A wrong argument: an unknown preset, an empty caption, an option out of range.
    #[error("{}", printable(.0))]
    Usage(String),
    /// A spec that does not check. The text holds every error of the file: the first line stands alone, snippets follow. It
    /// may be styled for a terminal; displayed it is not.
    #[error("{}", printable(&unstyled(.0)))]
    Spec(String),
    /// What a spec names cannot be used: the text points at its line as [`Error::Spec`]'s does, the error is what it was found by.
    #[error("{}", printable(&unstyled(text)))]
    Named {
        /// Place, message and snippet.
        text: String,
        /// What is wrong.
        error: Box<Error>,
    },
    /// A line of the spec's `expect:` block that the run did not meet.
    #[error("expectation failed: {}", one_line(.0))]
    Expect(String),
    /// A run that was repeated and did not come out the same: what differs first, and what was not as it had been.
    #[error("not the same bits: {}", one_line(.0))]
    Different(String),
    /// Data or weights that are missing, truncated or of the wrong shape.
    #[error("{}: {}", one_line(&path.display().to_string()), one_line(what))]
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
    #[error("cannot {action} {}: {source}", one_line(&path.display().to_string()))]
    Io {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The device refused: no GPU, not enough memory.
    #[error("device: {}", one_line(.0))]
    Device(String),
    /// A device does not compute what the CPU does.
    #[error("selftest: {failed} of {checks} checks failed")]
    Selftest {
        /// Checks beyond their limit.
        failed: usize,
        /// All checks.
        checks: usize,
    },
    /// Specs of a sweep that did not end well; all that could run have run.
    #[error("{failed} of {of} specs failed; the first of them says why in {}", one_line(&log.display().to_string()))]
    Sweep {
        /// How many failed.
        failed: usize,
        /// How many there are.
        of: usize,
        /// What the first of them printed.
        log: PathBuf,
        /// Its exit code.
        code: u8,
    },
    /// Stopped by a signal after writing a checkpoint; `then` goes on from there.
    #[error("stopped by {signal} after a checkpoint; continue with {}", one_line(then))]
    Interrupted {
        /// `SIGINT`, or one that ends with 75: `SIGTERM`, `SIGHUP`, `SIGUSR1`.
        signal: &'static str,
        /// The option or command that goes on.
        then: String,
    },
}

impl Error {
    /// The exit code that the command line promises for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Selftest { .. } => 1,
            Error::Usage(_) | Error::Spec(_) => 2,
            Error::Named { error, .. } => error.exit_code(),
            Error::Expect(_) | Error::Different(_) => 3,
            Error::Data { .. } => 4,
            // Reading what is not there is missing data, whichever call noticed it.
            Error::Io { action: "read" | "open" | "list", source, .. } if source.kind() == ErrorKind::NotFound => 4,
            Error::Numeric { .. } | Error::Diverged { .. } => 5,
            Error::Io { .. } | Error::Device(_) => 6,
            Error::Sweep { code, .. } => *code,
            Error::Interrupted { signal: "SIGINT", .. } => 130,
            Error::Interrupted { .. } => 75,
        }
    }

    /// A run was stopped by a signal after a checkpoint.
    pub fn stopped(signal: &'static str, run: &Path) -> Error {
        Error::Interrupted { signal, then: format!("--resume={}", run.display()) }
    }

    /// Something is wrong with the data at `path`. What it quotes of a file may hold anything: the message is [`one_line`].
    pub fn data(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Error::Data { path: path.as_ref().to_owned(), what: one_line(&what.into()) }
    }

    /// `action` on `path` failed with `source`. For use as `.map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// `what` was asked for, which only a build with `feature` has.
    pub fn without(feature: &str, what: &str) -> Self {
        Error::Usage(format!("no {what} in this build: build it with --features {feature}"))
    }
}

impl From<dfdx::tensor::CpuError> for Error {
    fn from(e: dfdx::tensor::CpuError) -> Self {
        Error::Device(e.to_string())
    }
}

/// A text that may come from outside (a name in a file, a caption, an argument), as a terminal or a page may show it: what
/// would command the terminal, or turn the direction of what follows, becomes �. Lines and tabs stay.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if commands(c) && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// The length of the sequence that `text` begins with, if it is one that only sets colours and weights.
fn style_at(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("\u{1b}[")?;
    let end = inside.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    inside[end..].starts_with('m').then_some(end + 3)
}

/// `text` in pieces: what only sets colours and weights, which is true, and the rest.
fn pieces(mut text: &str) -> Vec<(bool, &str)> {
    let mut found = Vec::new();
    while let Some((start, length)) =
        text.match_indices('\u{1b}').find_map(|(start, _)| Some((start, style_at(&text[start..])?)))
    {
        found.extend([(false, &text[..start]), (true, &text[start..start + length])]);
        text = &text[start + length..];
    }
    found.push((false, text));
    found
}

/// `text` without its colours.
pub fn unstyled(text: &str) -> String {
    pieces(text).into_iter().filter(|(style, _)| !style).map(|(_, rest)| rest).collect()
}

/// [`printable`], its colours left to it.
pub fn printable_styled(text: &str) -> String {
    let piece = |(style, text): (bool, &str)| if style { text.to_owned() } else { printable(text) };
    pieces(text).into_iter().map(piece).collect()
}

/// [`printable`], on one line.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if commands(c) { '\u{fffd}' } else { c }).collect()
}

/// Control characters, Unicode's separators of lines and paragraphs, and its marks of direction.
pub fn commands(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

thread_local! {
    /// Whether a panic of this thread is caught, and so nothing to be printed.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// `run`, which calls a library that may panic on input that it did not expect; what the panic says is the error, and nothing is
/// printed. For readers of files alone: whatever `run` had borrowed to write to is lost.
///
/// # Errors
/// The panic's text in one line.
pub fn without_panic<R>(run: impl FnOnce() -> R) -> std::result::Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CAUGHT.get() {
                usual(info);
            }
        }));
    });
    let before = CAUGHT.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    CAUGHT.set(before);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("for no reason given").lines().next().unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: &str = "a\u{1b}[2Jb\u{202e}c\u{2066}d\u{7f}\u{9b}\r\u{2028}é";
    const SHOWN: &str = "a�[2Jb�c�d����é";

    #[test]
    fn a_panic_is_what_it_says() {
        assert_eq!(without_panic(|| 3), Ok(3));
        assert_eq!(without_panic(|| -> i32 { panic!("{} of 3\nand more", 4) }), Err("4 of 3".into()));
        assert_eq!(without_panic(|| without_panic(|| [0][usize::from(CAUGHT.get())])).unwrap().unwrap_err().len(), 52);
    }

    #[test]
    fn nothing_commands_a_terminal() {
        assert_eq!((printable(OUTSIDE).as_str(), one_line(OUTSIDE).as_str()), (SHOWN, SHOWN));
        assert_eq!((printable("a\n\tb"), one_line("a\n\tb")), ("a\n\tb".to_owned(), "a��b".to_owned()));
    }

    #[test]
    fn no_error_says_more_than_text() {
        let text = || OUTSIDE.to_owned();
        let source = || std::io::Error::other("why");
        for error in [
            Error::Usage(text()),
            Error::Spec(text()),
            Error::Named { text: text(), error: Box::new(Error::Usage(text())) },
            Error::Expect(text()),
            Error::Device(text()),
            Error::data(text(), text()),
            Error::Data { path: text().into(), what: text() },
            Error::io("read", text())(source()),
            Error::Interrupted { signal: "SIGINT", then: text() },
        ] {
            let said = error.to_string();
            assert!(said.contains(SHOWN) && !said.contains(commands), "{said:?}");
        }
    }
}
