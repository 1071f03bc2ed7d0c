//! Small layers over the operations, and what can be done with the parameters of any model.
//!
//! A layer is a struct of tensors that says its parameters' names (those of the published checkpoints) and a `forward`.

mod any_parameter;
mod block;
mod incremental;
mod layers;
mod module;
mod parameters;
#[doc(hidden)]
pub mod weights;

pub use crate::kernels::cpu::packed::{Packed, Precision};
pub use any_parameter::AnyParameter;
pub use block::{Block, BlockInit, BlockNames};
pub use incremental::{Incremental, IncrementalBlock, Norm};
pub use layers::{Conv, LayerNorm, Linear};
pub use module::{Declared, Field, Init, Make, Module, Path, Role, Visit};
pub use parameters::{Parameter, build, build_with, describe, export, filled, import, size, with_gradients};
// What `module!` names.
#[doc(hidden)]
pub use dfdx::prelude::{Device, Dtype, Storage};
#[cfg(feature = "cuda")]
pub use parameters::{addresses, gradient_addresses};
