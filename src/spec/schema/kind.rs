//! What a value may be, as the walk over a spec asks for it, read from a part of the JSON Schema.

use crate::mask::MOST_KERNEL;
use crate::spec::kinds::{EXPECTATION, GLOB, LARGEST, LENDER, NAME, PRESET};
use serde_json::Value;
use std::fmt;
use std::ops::Bound;

/// A number's range.
pub type Range = (Bound<f64>, Bound<f64>);

/// What a value may be.
#[derive(Debug)]
pub enum ValueKind {
    /// These keys and no others.
    Map(Vec<KeyRow>),
    /// Keys that are names, values of one kind.
    Named(Box<ValueKind>),
    /// At least so many values of one kind.
    List(usize, Box<ValueKind>),
    /// A number, or what it goes through.
    Either(Box<ValueKind>, Box<ValueKind>),
    /// A run's name: it becomes a folder.
    Name,
    /// A row of the preset table.
    Preset,
    /// A file, a folder or a glob.
    Glob,
    /// A run, or a file of `experiment import`.
    Lender,
    /// A line of the `expect:` block.
    Expectation,
    /// One of these words.
    Choice(Vec<Word>),
    /// `true` or `false`.
    Flag,
    /// A whole number from the first to the second.
    Whole(u64, u64),
    /// An odd whole number.
    Odd,
    /// A finite number in a range.
    Real(Range),
}

/// One key.
#[derive(Debug)]
pub struct KeyRow {
    /// As it is written.
    pub name: String,
    /// What it says.
    pub about: String,
    /// What it may hold.
    pub kind: ValueKind,
    /// Whether it has no default.
    pub required: bool,
}

/// A word that a value may be.
#[derive(Debug)]
pub struct Word {
    /// As it is written.
    pub name: String,
    /// What it means; empty where that needs no words.
    pub about: String,
}

impl ValueKind {
    /// What a part of the schema says. The parts are this module's own: one that it does not know is a fault of the program that
    /// a test finds.
    pub(super) fn of(schema: &Value) -> ValueKind {
        if let Some(words) = choices(schema) {
            return ValueKind::Choice(words);
        }
        if let Some([first, second]) = schema["anyOf"].as_array().map(Vec::as_slice) {
            return ValueKind::Either(Box::new(ValueKind::of(first)), Box::new(ValueKind::of(second)));
        }
        let whole = |key: &str, default| schema[key].as_u64().unwrap_or(default);
        let bound = |inclusive: &str, exclusive: &str| match (schema[inclusive].as_f64(), schema[exclusive].as_f64()) {
            (Some(bound), _) => Bound::Included(bound),
            (_, Some(bound)) => Bound::Excluded(bound),
            _ => Bound::Unbounded,
        };
        match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str().unwrap_or_default()) {
            ("object", _) if schema["additionalProperties"].is_object() => {
                ValueKind::Named(Box::new(ValueKind::of(&schema["additionalProperties"])))
            }
            ("object", _) => ValueKind::Map(rows(schema)),
            ("array", _) => ValueKind::List(whole("minItems", 0) as usize, Box::new(ValueKind::of(&schema["items"]))),
            ("boolean", _) => ValueKind::Flag,
            ("integer", "odd") => ValueKind::Odd,
            ("integer", _) => ValueKind::Whole(whole("minimum", 0), whole("maximum", u64::MAX)),
            ("number", _) => {
                ValueKind::Real((bound("minimum", "exclusiveMinimum"), bound("maximum", "exclusiveMaximum")))
            }
            (_, NAME) => ValueKind::Name,
            (_, PRESET) => ValueKind::Preset,
            (_, GLOB) => ValueKind::Glob,
            (_, LENDER) => ValueKind::Lender,
            (_, EXPECTATION) => ValueKind::Expectation,
            _ => unreachable!("a part of the schema: {schema}"),
        }
    }

    /// The keys of a mapping.
    pub fn rows(&self) -> &[KeyRow] {
        match self {
            ValueKind::Map(rows) => rows,
            ValueKind::Either(_, other) => other.rows(),
            _ => &[],
        }
    }
}

fn rows(schema: &Value) -> Vec<KeyRow> {
    let required = |name: &String| schema["required"].as_array().into_iter().flatten().any(|key| key == name);
    let row = |(name, schema): (&String, &Value)| KeyRow {
        name: name.clone(),
        about: about(schema),
        kind: ValueKind::of(schema),
        required: required(name),
    };
    schema["properties"].as_object().into_iter().flatten().map(row).collect()
}

/// The words of an enumeration; none of anything else.
fn choices(schema: &Value) -> Option<Vec<Word>> {
    let word = |name: &Value, about: String| Some(Word { name: name.as_str()?.to_owned(), about });
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|name| word(name, String::new())).collect();
    }
    schema["oneOf"].as_array()?.iter().map(|of| word(&of["const"], about(of))).collect()
}

/// The comment of a key, in one line.
fn about(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueKind::Map(_) | ValueKind::Named(_) => write!(f, "a mapping"),
            ValueKind::List(0, _) => write!(f, "a list"),
            ValueKind::List(least, _) => write!(f, "a list of at least {least}"),
            ValueKind::Name => write!(f, "at most 64 letters, digits, `-`, `_` or `.`, no `.` first"),
            ValueKind::Preset => write!(f, "the name of a preset"),
            ValueKind::Glob => write!(f, "a file, a folder or a pattern"),
            ValueKind::Lender => write!(f, "a run, or a .safetensors file of `experiment import`"),
            ValueKind::Expectation => write!(f, "`dotted.path.in.results (<|<=|>|>=) number`"),
            ValueKind::Choice(words) => {
                let names: Vec<&str> = words.iter().map(|word| word.name.as_str()).collect();
                write!(f, "one of {}", names.join(", "))
            }
            ValueKind::Either(first, second) => write!(f, "{first}, or {second}"),
            ValueKind::Flag => write!(f, "true or false"),
            ValueKind::Whole(0, u64::MAX) => write!(f, "a whole number of 64 bits"),
            ValueKind::Whole(0, LARGEST) => write!(f, "a whole number"),
            ValueKind::Whole(least, LARGEST) => write!(f, "a whole number of at least {least}"),
            ValueKind::Whole(least, most) => write!(f, "a whole number from {least} to {most}"),
            ValueKind::Odd => write!(f, "an odd whole number of at most {MOST_KERNEL}"),
            ValueKind::Real((low, high)) => {
                write!(f, "a number")?;
                match low {
                    Bound::Included(low) => write!(f, " of at least {low}")?,
                    Bound::Excluded(low) => write!(f, " above {low}")?,
                    Bound::Unbounded => {}
                }
                match high {
                    Bound::Included(high) => write!(f, " and at most {high}"),
                    Bound::Excluded(high) => write!(f, " and below {high}"),
                    Bound::Unbounded => Ok(()),
                }
            }
        }
    }
}
