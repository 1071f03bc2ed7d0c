//! dalle: OpenAI's first DALL·E (arXiv 2102.12092).
pub mod data;
pub mod error;
pub mod kernels;
pub mod random;
pub use error::{Error, Result};
