//! The schema of a spec, derived from its types: what every key may hold, and what it says. The walk that checks a spec reads it,
//! editors read it as JSON Schema, and people read it as a page or a key at a time.

mod derived;
mod explain;
mod kind;
#[cfg(test)]
mod tests;

pub use derived::{json, spec};
pub use explain::{explain, explained, keys, page};
pub use kind::{KeyRow, Range, ValueKind, Word};
