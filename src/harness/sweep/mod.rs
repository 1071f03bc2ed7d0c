//! Many runs of one file: a sweep is expanded and checked as a whole ([`expand()`]), frozen beside its runs so that later edits change
//! nothing ([`Frozen`]), and run an index at a time ([`index()`]), each of them the same call whether it starts, goes on or is done. So
//! a task of a cluster's array, a task that is queued again, and a second call are one thing, and nothing keeps a queue: what is left
//! to do is seen in the run directories.

mod emit;
mod expand;
mod frozen;
mod index;
mod jobs;

pub use emit::{Target, emit};
pub use expand::{Variant, expand, fitted, parse};
pub use frozen::Frozen;
pub use index::{Hold, Index, Runs, index};
pub use jobs::{Jobs, run};
