//! Measures of what was learned.

pub mod measure;
pub mod oracle;
pub mod reading;
