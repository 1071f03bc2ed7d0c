//! Lines on stderr that are no errors: warnings and news of a run. A bar that is being drawn steps aside for them.

use crate::error::printable;
use indicatif::ProgressBar;
use std::fmt::Display;
use std::io::{Write, stderr};
use std::sync::{Mutex, PoisonError};

/// The bar that is on the screen.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes a line on stderr. Nobody may be listening there: that ends nothing.
pub fn line(text: impl Display) {
    let text = printable(&text.to_string());
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
