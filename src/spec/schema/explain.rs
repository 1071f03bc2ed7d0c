//! The schema in words: a key at a time, or every key as a page, each with its default.

use super::{KeyRow, ValueKind, json, spec};
use crate::error::{Error, Result};
use crate::spec::defaults;
use crate::spec::extends::{self, EXTENDS};
use crate::spec::problem::did_you_mean;
use crate::spec::sweep::{self, SWEEP};
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::LazyLock;

/// What the key at a dotted path says, what it may hold, and its default.
///
/// # Errors
/// [`Error::Usage`] for a key that there is not; the nearest one is suggested.
pub fn explain(path: &str) -> Result<String> {
    let beside = [(EXTENDS, "a path", extends::ABOUT), (SWEEP, "a mapping", sweep::ABOUT)];
    if let Some((key, kind, about)) = beside.iter().find(|(key, ..)| *key == path) {
        return Ok(format!("{key}: {kind}\n  {about}\n  no default: a spec stands alone without it\n"));
    }
    let (mut kind, mut found) = (spec(), None);
    for (depth, key) in path.split('.').enumerate() {
        let Some(row) = kind.rows().iter().find(|row| row.name == key) else {
            let above = path.split('.').take(depth).collect::<Vec<_>>().join(".");
            let place = if above.is_empty() { String::new() } else { format!(" in {above}") };
            let names: Vec<&str> = kind.rows().iter().map(|row| row.name.as_str()).collect();
            let hint = did_you_mean(key, &names).unwrap_or_else(|| match names.is_empty() {
                true => "it holds no keys".into(),
                false => format!("the keys{place} are {}", names.join(", ")),
            });
            return Err(Error::Usage(format!("unknown key {key:?}{place}; {hint}")));
        };
        (kind, found) = (&row.kind, Some(row));
    }
    let Some(row) = found else { return Ok(page()) };
    let mut text = format!("{path}: {}\n  {}\n  {}\n", row.kind, row.about, default_of(path, row));
    if let ValueKind::Choice(words) = &row.kind {
        for word in words.iter().filter(|word| !word.about.is_empty()) {
            let _ = writeln!(text, "  `{}`: {}", word.name, word.about);
        }
    }
    for row in row.kind.rows() {
        let _ = writeln!(text, "  `{path}.{}`: {}", row.name, row.about);
    }
    Ok(text)
}

/// The same for programs: the key, its default, and its JSON Schema.
///
/// # Errors
/// Those of [`explain`].
pub fn explained(path: &str) -> Result<Value> {
    explain(path)?;
    let at = |value: &Value, keys: &str| value.pointer(keys).cloned().unwrap_or_default();
    let default = at(plain(), &format!("/{}", path.replace('.', "/")));
    let schema = at(json(), &format!("/properties/{}", path.replace('.', "/properties/")));
    Ok(json!({"key": path, "default": default, "schema": schema}))
}

/// The defaults of a spec that says nothing but the preset of the quickstart.
fn plain() -> &'static Value {
    static PLAIN: LazyLock<Value> = LazyLock::new(|| json!(defaults::plain("mini")));
    &PLAIN
}

/// The default of a key, for a spec that says nothing but its name and the preset of the quickstart.
fn default_of(path: &str, row: &KeyRow) -> String {
    if row.required {
        return "no default: every spec says it".into();
    }
    match path.split('.').try_fold(plain(), |value, key| value.get(key)) {
        Some(Value::String(text)) => format!("default: {text}"),
        Some(value) if !value.is_object() => format!("default: {value}"),
        _ => "its keys have defaults".into(),
    }
}

/// Every key, as a page in Markdown.
pub fn page() -> String {
    let mut text = String::from(
        "# The keys of a spec\n\nMade by `experiment explain`; `experiment explain KEY` says it of one key, and `experiment schema` prints \
         it as JSON Schema. Every key but `name` and `preset` has a default: here that of preset `mini` with nothing else said. \
         `experiment SPEC --dry-run` prints all of a spec's.\n\nA schedule is a number, or `{from, to, steps, curve, warmup}`.\n",
    );
    let (extends, sweep) = (extends::ABOUT, sweep::ABOUT);
    let _ =
        write!(text, "\nBeside the keys of a spec there may be:\n\n- `{EXTENDS}`: {extends}\n- `{SWEEP}`: {sweep}\n");
    let (sections, keys): (Vec<&KeyRow>, Vec<&KeyRow>) =
        spec().rows().iter().partition(|row| !row.kind.rows().is_empty());
    table(&mut text, keys.into_iter().map(|row| (row.name.clone(), row)).collect());
    for section in sections {
        let _ = write!(text, "\n## `{}`\n\n{}\n", section.name, section.about);
        let mut rows = Vec::new();
        collect(section, &section.name, &mut rows);
        table(&mut text, rows);
    }
    text
}

fn table(text: &mut String, rows: Vec<(String, &KeyRow)>) {
    let _ = write!(text, "\n| key | what it says | what it may be | default |\n|---|---|---|---|\n");
    for (path, row) in rows {
        line(text, &path, row);
    }
}

/// Every key that holds a value, as a dotted path; of a schedule itself and what it may hold.
pub fn keys() -> Vec<String> {
    fn collect(path: &str, rows: &[KeyRow], found: &mut Vec<String>) {
        for row in rows {
            let path = if path.is_empty() { row.name.clone() } else { format!("{path}.{}", row.name) };
            collect(&path, row.kind.rows(), found);
            if !matches!(row.kind, ValueKind::Map(_)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect("", spec().rows(), &mut found);
    found
}

/// The keys below a row; a schedule is one key.
fn collect<'r>(row: &'r KeyRow, path: &str, rows: &mut Vec<(String, &'r KeyRow)>) {
    for below in row.kind.rows() {
        let path = format!("{path}.{}", below.name);
        match below.kind {
            ValueKind::Map(_) => collect(below, &path, rows),
            _ => rows.push((path, below)),
        }
    }
}

fn line(text: &mut String, path: &str, row: &KeyRow) {
    let default = match (default_of(path, row), &row.kind) {
        (_, ValueKind::Either(..)) => schedule(path),
        (default, _) => default.strip_prefix("default: ").unwrap_or("–").to_owned(),
    };
    let kind = match &row.kind {
        ValueKind::Either(number, _) => format!("a schedule, its values {number}"),
        kind => kind.to_string(),
    };
    let [about, kind] = [&row.about, &kind].map(|text| text.replace('|', "\\|"));
    let _ = writeln!(text, "| `{path}` | {about} | {kind} | {default} |");
}

/// The default of a schedule.
fn schedule(path: &str) -> String {
    let schedule = path.split('.').fold(plain(), |value, key| &value[key]);
    let steps = |key: &str, before: &str| match schedule[key].as_u64() {
        None | Some(0) => String::new(),
        Some(steps) => format!("{before}{steps}"),
    };
    let (in_steps, warmup) = (steps("steps", " in "), steps("warmup", ", after a warm-up of "));
    format!("{} to {}{in_steps}{warmup}", schedule["from"], schedule["to"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_explained_with_its_range_its_words_and_its_default() {
        let text = explain("first_stage.optimizer.method").unwrap();
        for part in ["one of adamw, muon", "default: muon", "`adamw`: The paper's."] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = explain("transformer.optimizer.lr").unwrap();
        for part in ["a number of at least 0, or a mapping", "`transformer.optimizer.lr.warmup`"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(explain("name").unwrap().contains("no default"));
        let error = explain("first_stage.optimiser").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("did you mean `optimizer`?"), "{error}");
    }
}
