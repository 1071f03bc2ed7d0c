//! One walk over the tree of a spec: it holds every value against the schema and collects all problems.

use super::extends::EXTENDS;
use super::parse::{Data, Key, Node};
use super::problem::{Place, Problem, did_you_mean};
use super::schema::{self, KeyRow, ValueKind};
use super::sweep::SWEEP;
use super::{across, expect};
use crate::mask::is_kernel;
use std::ops::RangeBounds;

/// The folder beside the runs of all names where codes of training pictures are kept; on some systems in any case of its letters.
pub const TOKENS: &str = "tokens";

/// Every problem of the tree: keys, types, ranges, then what only several keys together can get wrong.
pub fn check(root: &Node, presets: &[&str]) -> Vec<Problem> {
    let mut walk = Walk { presets, problems: Vec::new() };
    walk.value(root, schema::spec(), "");
    across::check(root, &mut walk.problems);
    walk.problems
}

struct Walk<'a> {
    presets: &'a [&'a str],
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn value(&mut self, node: &Node, kind: &ValueKind, path: &str) {
        match (kind, &node.data) {
            (ValueKind::Map(rows), Data::Map(entries)) => self.rows(node, rows, entries, path),
            (ValueKind::Named(kind), Data::Map(entries)) => {
                for (at, (key, value)) in entries.iter().enumerate() {
                    self.name(key, &entries[..at], path);
                    self.value(value, kind, &join(path, &key.name));
                }
            }
            (ValueKind::List(least, kind), Data::List(items)) if items.len() >= *least => {
                for (i, item) in items.iter().enumerate() {
                    self.value(item, kind, &format!("{path}[{i}]"));
                }
            }
            (ValueKind::Flag, Data::Flag(_)) => {}
            (ValueKind::Either(_, mapping), Data::Map(_)) => self.value(node, mapping, path),
            (ValueKind::Either(number, _), _) if is_number(number, node) => {}
            (ValueKind::Whole(least, most), Data::Whole(whole)) if within(*whole, *least, *most) => {}
            (ValueKind::Odd, Data::Whole(whole)) if usize::try_from(*whole).is_ok_and(is_kernel) => {}
            (ValueKind::Real(_), _) if is_number(kind, node) => {}
            (_, Data::Text(text)) => self.text(node, kind, text, path),
            _ => self.expected(node, kind, path),
        }
    }

    fn rows(&mut self, node: &Node, rows: &[KeyRow], entries: &[(Key, Node)], path: &str) {
        for (key, value) in entries {
            match rows.iter().find(|row| row.name == key.name) {
                Some(row) => self.value(value, &row.kind, &join(path, &row.name)),
                None => {
                    let beside: &[&str] = if path.is_empty() { &[EXTENDS, SWEEP] } else { &[] };
                    let names: Vec<&str> =
                        rows.iter().map(|row| row.name.as_str()).chain(beside.iter().copied()).collect();
                    let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
                    let hint = did_you_mean(&key.name, &names)
                        .unwrap_or_else(|| format!("the keys{place} are {}", names.join(", ")));
                    self.problem(&key.place, format!("unknown key `{}`{place}", key.name), hint);
                }
            }
        }
        for row in rows.iter().filter(|row| row.required && node.get(&row.name).is_none()) {
            let mut place = node.place.clone();
            place.end = place.start;
            let hint = match row.kind {
                ValueKind::Preset => format!("presets: {}", self.presets.join(", ")),
                _ => String::new(),
            };
            self.problem(&place, format!("missing key `{}`: {}", join(path, &row.name), row.kind), hint);
        }
    }

    /// A key that somebody chose: it becomes a part of files' names, on some systems in any case of its letters.
    fn name(&mut self, key: &Key, before: &[(Key, Node)], path: &str) {
        if !is_name(&key.name) {
            let message = format!("a name in `{path}` must be {}, found {:?}", ValueKind::Name, key.name);
            self.problem(&key.place, message, "it names files");
        } else if before.iter().any(|(other, _)| other.name.eq_ignore_ascii_case(&key.name)) {
            self.problem(&key.place, format!("two names in `{path}` differ only in case: `{}`", key.name), "");
        }
    }

    fn text(&mut self, node: &Node, kind: &ValueKind, text: &str, path: &str) {
        match kind {
            ValueKind::Name if TOKENS.eq_ignore_ascii_case(text) => {
                let message =
                    format!("`{path}` must not be `{TOKENS}`: codes of pictures are kept in results/{TOKENS}");
                self.problem(&node.place, message, "any other name");
            }
            ValueKind::Name if is_name(text) => {}
            ValueKind::Glob | ValueKind::Lender if !text.is_empty() => {}
            ValueKind::Choice(words) if words.iter().any(|word| word.name == text) => {}
            ValueKind::Preset if self.presets.contains(&text) => {}
            ValueKind::Preset => {
                let hint =
                    did_you_mean(text, self.presets).unwrap_or_else(|| format!("presets: {}", self.presets.join(", ")));
                self.problem(&node.place, format!("unknown preset `{text}`"), hint);
            }
            ValueKind::Choice(words) => {
                let names: Vec<&str> = words.iter().map(|word| word.name.as_str()).collect();
                let hint = did_you_mean(text, &names).unwrap_or_default();
                self.problem(&node.place, format!("`{path}` must be {kind}, found {}", describe(node)), hint);
            }
            ValueKind::Expectation => {
                if let Err(why) = expect::parse(text) {
                    self.problem(
                        &node.place,
                        format!("`{path}` is not an expectation: {why}"),
                        format!("write {kind}"),
                    );
                }
            }
            _ => self.expected(node, kind, path),
        }
    }

    fn expected(&mut self, node: &Node, kind: &ValueKind, path: &str) {
        let text_wanted = matches!(
            kind,
            ValueKind::Name | ValueKind::Glob | ValueKind::Lender | ValueKind::Preset | ValueKind::Choice(_)
        );
        let hint = match node.data {
            Data::Null => "give it a value, or remove the key",
            Data::Whole(_) | Data::Real(_) | Data::Flag(_) if text_wanted => "quote it to make it text",
            Data::Text(_) if matches!(kind, ValueKind::List(..)) => "a list is written [a, b]",
            _ => "",
        };
        let subject = if path.is_empty() { "the spec".to_owned() } else { format!("`{path}`") };
        self.problem(&node.place, format!("{subject} must be {kind}, found {}", describe(node)), hint);
    }

    fn problem(&mut self, place: &Place, message: String, hint: impl Into<String>) {
        self.problems.push(Problem::new(place, message, hint));
    }
}

/// Whether `node` is a finite number in the range of `kind`.
fn is_number(kind: &ValueKind, node: &Node) -> bool {
    match (kind, &node.data) {
        (ValueKind::Real(range), Data::Real(real)) => real.is_finite() && range.contains(real),
        (ValueKind::Real(range), Data::Whole(whole)) => range.contains(&(*whole as f64)),
        _ => false,
    }
}

fn within(whole: i128, least: u64, most: u64) -> bool {
    u64::try_from(whole).is_ok_and(|whole| (least..=most).contains(&whole))
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A name becomes a folder or a part of a file's name: it must neither climb out nor hide.
pub fn is_name(text: &str) -> bool {
    !text.starts_with('.')
        && (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn describe(node: &Node) -> String {
    match &node.data {
        Data::Null => "nothing".into(),
        Data::Flag(flag) => flag.to_string(),
        Data::Whole(whole) => whole.to_string(),
        Data::Real(real) => real.to_string(),
        Data::Text(text) if text.chars().count() > 40 => "a longer text".into(),
        Data::Text(text) => format!("the text {text:?}"),
        Data::List(items) if items.is_empty() => "an empty list".into(),
        Data::List(_) => "a list".into(),
        Data::Map(_) => "a mapping".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::defaults;

    #[test]
    fn the_defaults_pass_the_schema() {
        let spec = crate::spec::Spec { name: "a".into(), ..defaults::plain("tiny") };
        let text = serde_yaml::to_string(&spec).unwrap();
        let root = super::super::parse::parse(&text, 0, 0, &mut Vec::new()).unwrap();
        assert_eq!(check(&root, &["tiny"]), []);
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(
            did_you_mean("tempreature", &["steps", "temperature"]).as_deref(),
            Some("did you mean `temperature`?")
        );
        assert_eq!(did_you_mean("xyz", &["steps", "temperature"]), None);
    }
}
