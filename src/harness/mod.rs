//! From a spec to a run directory.

pub mod spec;
