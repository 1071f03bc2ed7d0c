//! Arithmetic on slices: no shapes as types, no tape, no devices. Each kernel is compiled once per element type,
//! in this crate, and knows nothing of models. Layouts are row-major; pictures are NHWC. Backward kernels **accumulate** into their
//! gradients, but for those that say that they work in place.
//!
//! Determinism: the split of the work is a function of the sizes alone, never of the thread count, and partial sums are
//! added in a fixed order, so results are bit-identical for any number of threads.

mod compiled;
mod options;
mod real;
mod values;

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod heap;

pub(crate) use compiled::compiled;
pub use options::{Kernels, MatmulPrecision, Products};
pub use real::Real;
pub(crate) use real::{Both, Signature};
pub use values::Values;
