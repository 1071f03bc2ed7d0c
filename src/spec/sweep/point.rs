//! What a variant of a spec says otherwise.

use crate::spec::parse::{Data, Key, Node};
use crate::spec::problem::Problem;
use crate::spec::set;

/// The key.
pub const SWEEP: &str = "sweep";
/// The most variants.
pub const MOST: usize = 100_000;

/// What a variant says otherwise: a key and its value each.
pub type Point = Vec<(Path, Node)>;

/// A dotted key.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// As it is written.
    pub name: Key,
    pub(super) keys: Vec<Key>,
}

/// Takes `sweep` out of a spec: its key and what it says.
pub fn take(root: &mut Node) -> Option<(Key, Node)> {
    let Data::Map(entries) = &mut root.data else { return None };
    let at = entries.iter().position(|(key, _)| key.name == SWEEP)?;
    Some(entries.remove(at))
}

/// Puts a point into a spec.
///
/// # Errors
/// Where a key leads into a value that holds none.
pub fn put(root: &mut Node, point: &Point) -> Result<(), Problem> {
    point.iter().try_for_each(|(path, value)| set::put(root, &path.keys, value.clone()))
}

/// A point in words: `transformer.steps=100 seed=1`.
pub fn said(point: &Point) -> String {
    point.iter().map(|(path, value)| format!("{}={}", path.name.name, in_words(value))).collect::<Vec<_>>().join(" ")
}

fn in_words(node: &Node) -> String {
    match &node.data {
        Data::Null => "null".into(),
        Data::Flag(flag) => flag.to_string(),
        Data::Whole(whole) => whole.to_string(),
        Data::Real(real) => real.to_string(),
        Data::Text(text) => text.clone(),
        Data::List(items) => format!("[{}]", items.iter().map(in_words).collect::<Vec<_>>().join(", ")),
        Data::Map(entries) => {
            let entry = |(key, value): &(Key, Node)| format!("{}: {}", key.name, in_words(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Whether two values are the same, however their numbers are written.
pub(super) fn equal(a: &Node, b: &Node) -> bool {
    let number = |node: &Node| match node.data {
        Data::Whole(whole) => Some(whole as f64),
        Data::Real(real) => Some(real),
        _ => None,
    };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => in_words(a) == in_words(b),
    }
}
