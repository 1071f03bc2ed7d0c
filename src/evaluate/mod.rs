//! Measures of what was learned.

pub mod clip_score;
pub mod frechet;
pub mod inception_score;
pub mod measure;
pub mod oracle;
pub mod reading;
pub mod similarity;
