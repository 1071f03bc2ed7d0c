//! Where a run came from: versions, machine, arguments.

use serde_json::Value;

use super::figures::{leaves, plain};
use super::html::{escape, facts, notice};
use super::run::Run;

/// The most rows that the table shows.
const ROWS: usize = 200;
/// Facts that have a place of their own.
const PLACED: [&str; 13] = [
    "results",
    "timings",
    "name",
    "status",
    "preset",
    "seeds",
    "warnings",
    "kept",
    "samples",
    "bad_samples",
    "captions",
    "codes",
    "data",
];

/// Everything that `run.json` says and no other section does.
pub(super) fn section(run: &Run) -> String {
    let others = run.facts.iter().filter(|fact| !PLACED.contains(&fact.0.as_str()));
    let rows: Vec<(String, String)> = others
        .flat_map(|(key, value)| leaves(&[key], value))
        .take(ROWS)
        .map(|leaf| {
            let value = match leaf.value {
                // Spaces, not commas: it is a command line.
                Value::Array(items) if leaf.is("argv") => items.iter().map(plain).collect::<Vec<_>>().join(" "),
                other => plain(other),
            };
            (leaf.title(), format!("<code>{}</code>", escape(&value)))
        })
        .collect();
    if rows.is_empty() { notice("run.json says nothing about it.") } else { facts(&rows) }
}
