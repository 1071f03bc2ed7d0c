//! dalle: OpenAI's first DALL·E (arXiv 2102.12092).
pub mod data;
pub mod error;
pub mod evaluate;
pub mod generate;
pub mod harness;
pub mod kernels;
pub mod mask;
pub mod models;
pub mod nn;
pub mod objective;
pub mod ops;
pub mod random;
pub mod report;
pub mod shape;
pub mod text;
pub mod train;
pub use error::{Error, Result};
