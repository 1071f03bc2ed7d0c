//! Measures of what was learned.

pub mod blur;
pub mod clip_score;
pub mod frechet;
pub mod inception_score;
pub mod measure;
#[cfg(feature = "cli")]
pub mod network;
#[cfg(feature = "cli")]
mod onnx_frame;
pub mod oracle;
pub mod reading;
pub mod retrieval;
pub mod similarity;
