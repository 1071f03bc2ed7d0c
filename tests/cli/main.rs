//! The command line end to end: the built binary, in temporary folders, on the tiny preset.

#![cfg(feature = "cli")]

mod bad_input;
mod bench;
mod catalog;
mod codes;
mod compare;
mod datasets;
mod edges;
mod eval;
mod examples;
mod export;
mod golden;
mod json;
mod lent;
mod own_data;
mod prune;
mod published;
mod recipe;
mod rerun;
mod resume;
mod runs;
mod slurm;
mod speech;
mod start;
mod support;
mod sweep;
mod switches;
mod table;
#[path = "../tfevents/mod.rs"]
mod tfevents;
mod verbs;
