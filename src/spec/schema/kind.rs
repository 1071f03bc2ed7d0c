//! What a value may be, as the walk over a spec asks for it, read from a part of the JSON Schema.

use crate::mask::MOST_KERNEL;
use crate::spec::kinds::{EXPECTATION, GLOB, LARGEST, NAME, PRESET};
use serde_json::Value;
use std::fmt;
use std::ops::Bound;

/// A number's range.
pub type Range = (Bound<f64>, Bound<f64>);

/// What a value may be.
#[derive(Debug)]
pub enum Kind {
    /// These keys and no others.
    Map(Vec<Row>),
    /// Keys that are names, values of one kind.
    Named(Box<Kind>),
    /// At least so many values of one kind.
    List(usize, Box<Kind>),
    /// A number, or what it goes through.
    Either(Box<Kind>, Box<Kind>),
    /// A run's name: it becomes a folder.
    Name,
    /// A row of the preset table.
    Preset,
    /// A file, a folder or a glob.
    Glob,
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
pub struct Row {
    /// As it is written.
    pub name: String,
    /// What it says.
    pub about: String,
    /// What it may hold.
    pub kind: Kind,
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

impl Kind {
    /// What a part of the schema says. The parts are this module's own: one that it does not know is a fault of the program that
    /// a test finds.
    pub(super) fn of(schema: &Value) -> Kind {
        if let Some(words) = choices(schema) {
            return Kind::Choice(words);
        }
        if let Some([first, second]) = schema["anyOf"].as_array().map(Vec::as_slice) {
            return Kind::Either(Box::new(Kind::of(first)), Box::new(Kind::of(second)));
        }
        let whole = |key: &str, default| schema[key].as_u64().unwrap_or(default);
        let bound = |inclusive: &str, exclusive: &str| match (schema[inclusive].as_f64(), schema[exclusive].as_f64()) {
            (Some(bound), _) => Bound::Included(bound),
            (_, Some(bound)) => Bound::Excluded(bound),
            _ => Bound::Unbounded,
        };
        match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str().unwrap_or_default()) {
            ("object", _) if schema["additionalProperties"].is_object() => {
                Kind::Named(Box::new(Kind::of(&schema["additionalProperties"])))
            }
            ("object", _) => Kind::Map(rows(schema)),
            ("array", _) => Kind::List(whole("minItems", 0) as usize, Box::new(Kind::of(&schema["items"]))),
            ("boolean", _) => Kind::Flag,
            ("integer", "odd") => Kind::Odd,
            ("integer", _) => Kind::Whole(whole("minimum", 0), whole("maximum", u64::MAX)),
            ("number", _) => Kind::Real((bound("minimum", "exclusiveMinimum"), bound("maximum", "exclusiveMaximum"))),
            (_, NAME) => Kind::Name,
            (_, PRESET) => Kind::Preset,
            (_, GLOB) => Kind::Glob,
            (_, EXPECTATION) => Kind::Expectation,
            _ => unreachable!("a part of the schema: {schema}"),
        }
    }

    /// The keys of a mapping.
    pub fn rows(&self) -> &[Row] {
        match self {
            Kind::Map(rows) => rows,
            Kind::Either(_, other) => other.rows(),
            _ => &[],
        }
    }
}

fn rows(schema: &Value) -> Vec<Row> {
    let required = |name: &String| schema["required"].as_array().into_iter().flatten().any(|key| key == name);
    let row = |(name, schema): (&String, &Value)| Row {
        name: name.clone(),
        about: about(schema),
        kind: Kind::of(schema),
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

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Map(_) | Kind::Named(_) => write!(f, "a mapping"),
            Kind::List(0, _) => write!(f, "a list"),
            Kind::List(least, _) => write!(f, "a list of at least {least}"),
            Kind::Name => write!(f, "at most 64 letters, digits, `-`, `_` or `.`, no `.` first"),
            Kind::Preset => write!(f, "the name of a preset"),
            Kind::Glob => write!(f, "a file, a folder or a pattern"),
            Kind::Expectation => write!(f, "`dotted.path.in.results (<|<=|>|>=) number`"),
            Kind::Choice(words) => {
                let names: Vec<&str> = words.iter().map(|word| word.name.as_str()).collect();
                write!(f, "one of {}", names.join(", "))
            }
            Kind::Either(first, second) => write!(f, "{first}, or {second}"),
            Kind::Flag => write!(f, "true or false"),
            Kind::Whole(0, u64::MAX) => write!(f, "a whole number of 64 bits"),
            Kind::Whole(0, LARGEST) => write!(f, "a whole number"),
            Kind::Whole(least, LARGEST) => write!(f, "a whole number of at least {least}"),
            Kind::Whole(least, most) => write!(f, "a whole number from {least} to {most}"),
            Kind::Odd => write!(f, "an odd whole number of at most {MOST_KERNEL}"),
            Kind::Real((low, high)) => {
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
