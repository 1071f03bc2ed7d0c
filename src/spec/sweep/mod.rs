//! `sweep:` beside a spec: which keys take which values, read with the place of every key and value, and dealt out to variants of
//! the spec. What it names is held against the schema as if it stood in the spec, so a wrong value is reported where it is written.

mod deal;
mod point;
mod range;
mod reader;

pub use deal::points;
pub use point::{MOST, Point, SWEEP, put, said, take};

/// What it does.
pub const ABOUT: &str = "Many specs made of this one, for `experiment sweep`: `grid` and `zip` give each key a list of values, `list` gives \
    mappings, `random` draws `count` points of ranges; several of them multiply, and `without` leaves points out.";
