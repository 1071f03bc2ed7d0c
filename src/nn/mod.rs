//! Small layers over the operations, and what can be done with the parameters of any model.
//!
//! A layer is a struct of tensors that says its parameters' names (those of the published checkpoints) and a `forward`.

mod block;
mod incremental;
mod layers;
mod parameters;
#[doc(hidden)]
pub mod weights;

pub use crate::kernels::cpu::packed::{Packed, Precision};
pub use block::{Block, BlockNames};
pub use incremental::{Incremental, IncrementalBlock, Norm};
pub use layers::{Conv, LayerNorm, Linear};
pub use parameters::{Init, Parameter, build, describe, export, import, with_gradients};
#[cfg(feature = "cuda")]
pub use parameters::{addresses, gradient_addresses};
