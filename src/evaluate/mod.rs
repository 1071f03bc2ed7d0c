//! Measures of what was learned.

pub(crate) mod blur;
pub mod clip_score;
#[doc(hidden)]
pub mod estimate;
pub mod frechet;
pub mod inception_score;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod network;
#[cfg(feature = "cli")]
mod onnx_frame;
#[doc(hidden)]
pub mod oracle;
#[doc(hidden)]
pub mod reading;
pub(crate) mod results;
pub(crate) mod retrieval;
pub mod similarity;
