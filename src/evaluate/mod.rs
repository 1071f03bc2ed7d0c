//! Measures of what was learned.

pub mod oracle;
pub mod reading;
