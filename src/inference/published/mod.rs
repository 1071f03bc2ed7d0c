//! Published models from files that `experiment import` wrote, behind the same traits as a run's own. They run on the CPU; only
//! ruDALL-E's transformer also samples on a GPU, by kernels of our own.

pub mod clip;
pub mod first_stage;
pub mod rudalle;

use crate::error::Error;
use crate::import::Kind;
use std::path::Path;

/// The file at `path` holds another kind of model than one of `expected`.
fn unexpected(path: &Path, expected: &[Kind], got: Option<Kind>) -> Error {
    let names: Vec<&str> = expected.iter().map(|kind| kind.name()).collect();
    let got = got.map_or("none", Kind::name);
    Error::data(path, format!("expected a file of experiment import {}, its kind is {got}", names.join(" or ")))
}
