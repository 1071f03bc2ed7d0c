//! dalle: OpenAI's first DALL·E (arXiv 2102.12092).
pub mod data;
pub mod error;
pub mod harness;
pub mod kernels;
pub mod random;
pub mod train;
pub use error::{Error, Result};
