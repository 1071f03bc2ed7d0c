//! Measures of what was learned.

pub mod blur;
pub mod clip_score;
mod engine;
pub mod estimate;
pub mod frechet;
pub mod inception_score;
pub mod network;
#[cfg(feature = "onnx")]
mod onnx;
pub mod oracle;
pub mod reading;
pub mod results;
pub mod retrieval;
pub mod similarity;
