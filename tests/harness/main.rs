//! Everything between a spec and a report: specs and their messages, plans, run directories, reports, masks; what README and docs
//! say; and the one way in which modules name each other.

mod alone;
#[cfg(feature = "cli")]
mod docs;
mod export;
mod extends;
mod layering;
mod masks;
#[cfg(feature = "onnx")]
mod network;
#[cfg(feature = "onnx")]
#[path = "../onnx/mod.rs"]
mod onnx;
mod package;
mod plan;
mod report;
mod run_dir;
mod specs;
mod sweep;

#[path = "../tfevents/mod.rs"]
mod tfevents;

use dalle::kernels::heap::Heap;

/// Counted by [`plan`], where it runs alone.
#[global_allocator]
static HEAP: Heap = Heap;
