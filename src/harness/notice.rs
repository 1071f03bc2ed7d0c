//! Lines on stderr: news of a run, warnings, and what ended it. A bar that is being drawn steps aside for them.

use crate::Error;
use crate::error::{printable, printable_styled};
use indicatif::ProgressBar;
use std::fmt::Display;
use std::io::{Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The bar that is on the screen.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether only warnings and errors are said.
static QUIET: AtomicBool = AtomicBool::new(false);
/// Whether what kind of line it is shows by its colour.
static STYLED: AtomicBool = AtomicBool::new(false);

/// Says nothing from now on but warnings and errors, or everything again.
pub fn quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether only warnings and errors are said.
pub(super) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Colours the first word of warnings and errors from now on, or no more.
pub fn style(styled: bool) {
    STYLED.store(styled, Ordering::Relaxed);
}

/// Writes a line on stderr; while it is quiet there, only one that begins with `warning: `. Nobody may be listening: that ends
/// nothing.
pub fn line(text: impl Display) {
    let text = printable(&text.to_string());
    match text.strip_prefix("warning: ") {
        Some(rest) => write(&format!("{}: {rest}", word("warning", "33"))),
        None if is_quiet() => {}
        None => write(&text),
    }
}

/// Writes what ends the program, with its colours where there are any.
pub fn error(error: &Error) {
    let text = match error {
        Error::Spec(text) | Error::Named { text, .. } if STYLED.load(Ordering::Relaxed) => printable_styled(text),
        other => printable(&other.to_string()),
    };
    write(&format!("{}: {text}", word("error", "31")));
}

/// A bold word in a colour, where colours are wanted.
fn word(word: &str, colour: &str) -> String {
    if STYLED.load(Ordering::Relaxed) { format!("\u{1b}[1;{colour}m{word}\u{1b}[0m") } else { word.to_owned() }
}

fn write(text: &str) {
    let write = || drop(writeln!(stderr(), "{text}"));
    match &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// The bar that lines must not be written over from now on.
pub(super) fn beside(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}
