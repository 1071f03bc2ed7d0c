//! Measures of what was learned.

pub mod blur;
pub mod clip_score;
pub mod estimate;
pub mod frechet;
pub mod inception_score;
#[cfg(feature = "cli")]
pub mod network;
#[cfg(feature = "cli")]
mod onnx_frame;
pub mod oracle;
pub mod reading;
pub mod results;
pub mod retrieval;
pub mod similarity;
