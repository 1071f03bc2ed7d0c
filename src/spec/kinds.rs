//! What values may be, as parts of the schema: each says what JSON Schema can say of it, and a `format` for the rest.

use crate::mask::{MOST_KERNEL, Pattern};
use schemars::{Schema, SchemaGenerator, json_schema};

/// Attention patterns of the transformer's layers.
pub const ATTENTION: [&str; 7] = ["full", "row", "col", "conv", "axial_row", "axial_col", "conv_like"];

/// The largest whole number of a spec that every reader of its JSON keeps exactly.
pub const LARGEST: u64 = 1 << 53;

/// The formats of text that JSON Schema has no word for.
pub const NAME: &str = "name";
/// A row of the preset table.
pub const PRESET: &str = "preset";
/// A file, a folder or a pattern.
pub const GLOB: &str = "files";
/// A run, or a file of `experiment import`.
pub const LENDER: &str = "run or file";
/// A line of the `expect:` block.
pub const EXPECTATION: &str = "expectation";

/// Functions that give a number's schema.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $($key:literal: $value:expr),*;)+) => {
        $($(#[$doc])* pub fn $name(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "number", $($key: $value),*})
        })+
    };
}

numbers! {
    positive: "exclusiveMinimum": 0;
    not_negative: "minimum": 0;
    from_one: "minimum": 1;
    share: "minimum": 0, "maximum": 1;
    below_one: "minimum": 0, "exclusiveMaximum": 1;
    above_zero_below_one: "exclusiveMinimum": 0, "exclusiveMaximum": 1;
    above_zero_to_one: "exclusiveMinimum": 0, "maximum": 1;
}

/// Functions that give a whole number's schema.
macro_rules! wholes {
    ($($(#[$doc:meta])* $name:ident: $least:expr, $most:expr;)+) => {
        $($(#[$doc])* pub fn $name(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "integer", "minimum": $least, "maximum": $most})
        })+
    };
}

wholes! {
    any: 0, LARGEST;
    count: 1, LARGEST;
    seed: 0, u64::MAX;
    /// Examples of a step, which are in memory at once: more than anybody trains with.
    batch: 1, 1u64 << 20;
    /// A pair is contrasted with another.
    pairs: 2, 1u64 << 20;
    /// Scenes, each of which takes some bytes.
    scenes: 1, 100_000_000;
    views: 0, 10_000;
    captions: 0, 1_000_000;
    candidates: 1, 1u64 << 16;
    shown: 0, 10_000;
}

pub fn odd(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": MOST_KERNEL, "format": "odd"})
}

/// Text of a kind that [`Kind`](super::schema::Kind) knows.
fn text(format: &str) -> Schema {
    json_schema!({"type": "string", "format": format})
}

pub fn run_name(_: &mut SchemaGenerator) -> Schema {
    text(NAME)
}

pub fn preset(_: &mut SchemaGenerator) -> Schema {
    text(PRESET)
}

pub fn lender(_: &mut SchemaGenerator) -> Schema {
    text(LENDER)
}

pub fn expectations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": text(EXPECTATION)})
}

pub fn globs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": text(GLOB)})
}

pub fn named_globs(_: &mut SchemaGenerator) -> Schema {
    let files = json_schema!({"type": "array", "items": text(GLOB), "minItems": 1});
    json_schema!({"type": "object", "additionalProperties": files})
}

pub fn attention(_: &mut SchemaGenerator) -> Schema {
    debug_assert!(ATTENTION.iter().all(|name| name.parse::<Pattern>().is_ok()));
    json_schema!({"type": "array", "items": {"type": "string", "enum": ATTENTION}})
}
