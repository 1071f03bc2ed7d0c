//! Small layers over the operations, and what can be done with the parameters of any model.
//!
//! A layer is a struct of tensors that says its parameters' names (those of the published checkpoints) and a `forward`.

mod block;
mod describe;
mod layers;
mod parameters;

pub use block::{Block, BlockNames};
pub use describe::describe;
pub use layers::{Conv, LayerNorm, Linear};
pub use parameters::{Init, Parameter, build, count, export, import, initialise, tape_with, with_gradients};
