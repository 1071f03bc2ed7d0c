//! From a spec to a run directory: a spec is read with its arguments and with what its results will hold ([`load`], [`expected`]);
//! what a run leaves behind is written so that a crash at any moment loses nothing ([`run_dir`]); what a run owes its user while
//! it lasts is progress (`progress`) and an orderly end ([`signals`]), and it can be gone on with ([`resume`], [`identity`]).
//! What a run will cost is known before it starts ([`plan`]), what it made is measured (`evaluators`) and opened to be used
//! ([`open`]).

mod ahead;
#[cfg(feature = "cli")]
pub mod bench;
pub(crate) mod captions;
pub mod catalog;
pub mod codes;
pub mod compare;
pub mod device;
pub mod encode;
pub mod eval;
pub(crate) mod evaluators;
pub mod expected;
pub(crate) mod fingerprint;
pub mod identity;
mod lenders;
mod lent;
pub mod load;
mod loaded;
pub(crate) mod measure;
pub(crate) mod memory;
pub mod models;
pub mod notice;
pub mod open;
mod origins;
pub mod pipeline;
pub mod plan;
mod preview;
pub(crate) mod progress;
mod provenance;
pub mod prune;
pub mod rerun;
pub mod resume;
pub mod run_dir;
#[cfg(feature = "cli")]
pub mod selftest;
pub mod shared;
pub mod signals;
pub mod sources;
pub mod start;
pub mod survey;
#[cfg(unix)]
pub mod sweep;
pub mod table;
pub mod tokens;
mod training;
pub(crate) mod validation;
mod watch;
