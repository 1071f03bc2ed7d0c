//! Arithmetic on slices: no shapes as types, no tape, no devices. Each kernel is compiled once per element type and
//! knows nothing of models. Layouts are row-major; pictures are NHWC. Backward kernels **accumulate** into their
//! gradients, but for those that say that they work in place.
//!
//! Determinism: the split of the work is a function of the sizes alone, never of the thread count, and partial sums are
//! added in a fixed order, so results are bit-identical for any number of threads.

mod options;
mod real;
mod values;

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod heap;

pub use options::{Kernels, MatmulPrecision};
pub use real::Real;
pub use values::Values;
