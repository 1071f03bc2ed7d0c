//! The run directory: one writer, append-only metrics, everything else replaced atomically, readable while it grows.
//!
//! ```text
//! results/<name>/<utc>-<hash>/
//!   spec.yaml  spec.resolved.yaml  run.json  metrics.jsonl  checkpoints/<stage>/  images/  plots/  report.html  lock
//! ```

mod begin;
mod folders;
mod lock;
mod metrics;
mod reading;
mod seal;
mod utc;
mod writer;

pub use crate::files::write_atomic;
pub use folders::{file_part, is_leftover};
pub use lock::{Lock, hold};
pub use reading::{
    file_unchanged, find, find_same, is_written, metrics_lines, read_run, read_spec, runs, status, tokenizer_unchanged,
};
pub use seal::{sealed, sealed_by};
pub use utc::seconds_since_1970;
pub use writer::RunDir;

const RUN: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const RESOLVED: &str = "spec.resolved.yaml";
/// The tokenizer's file in a run.
pub const TOKENIZER: &str = "tokenizer.json";
/// The folders of a run.
const FOLDERS: [&str; 3] = ["checkpoints", "images", "plots"];
