//! Measures of what was learned.

#[doc(hidden)]
pub mod blur;
pub mod clip_score;
#[doc(hidden)]
pub mod difference;
#[doc(hidden)]
pub mod each;
mod engine;
#[doc(hidden)]
pub mod estimate;
pub mod frechet;
pub mod inception_score;
#[doc(hidden)]
pub mod network;
#[cfg(feature = "onnx")]
mod onnx;
#[doc(hidden)]
pub mod oracle;
#[doc(hidden)]
pub mod reading;
#[doc(hidden)]
pub mod results;
#[doc(hidden)]
pub mod retrieval;
pub mod similarity;
