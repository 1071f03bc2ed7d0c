//! The readers of published weights: every layout that there is, to the bit, and files that are broken in every way.

mod broken;
#[cfg(feature = "cli")]
mod command;
mod crafted;
mod layouts;
mod pickles;
mod wrappers;

use crate::fixture;
use dalle::import::Weights;
use std::path::PathBuf;

const PKL: &str = "openai_dvae/pkl";

fn path(file: &str) -> PathBuf {
    fixture::root().join(file)
}

fn open(file: &str) -> Weights {
    Weights::open(path(file)).unwrap()
}
