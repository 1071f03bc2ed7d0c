//! From a spec to a run directory: what a person writes is read, checked and resolved ([`spec`], [`parse`], [`schema`], [`set`],
//! [`problem`]); what a run leaves behind is written so that a crash at any moment loses nothing ([`run_dir`]); what a run owes
//! its user while it lasts is progress ([`progress`]) and an orderly end ([`signals`], [`expect`]). What a run will cost is known
//! before it starts ([`plan`]). Pictures are coded with a run's first stage or with imported weights ([`codec`]).

mod accuracy;
#[cfg(feature = "cli")]
pub mod bench;
mod bounds;
#[cfg(feature = "cli")]
pub mod codec;
pub mod device;
#[cfg(feature = "cli")]
pub mod eval;
pub mod expect;
mod expected;
#[cfg(feature = "cli")]
pub mod generator;
pub mod load;
pub mod measure;
pub mod memory;
pub mod models;
pub mod notice;
pub mod parse;
pub mod pipeline;
pub mod plan;
pub mod problem;
pub mod progress;
#[cfg(feature = "cli")]
pub mod reranker;
#[cfg(feature = "cli")]
pub mod rudalle;
pub mod run_dir;
pub mod schema;
#[cfg(feature = "cli")]
pub mod selftest;
pub mod set;
pub mod signals;
pub mod sources;
pub mod spec;
pub mod table;
