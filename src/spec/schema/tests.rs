//! The schema is what serde reads, and says of every key what it is.

use super::{ValueKind, spec};
use crate::spec::Spec;
use crate::spec::check::join;
use std::collections::BTreeSet;

/// Dotted paths of the schema's leaves.
fn schema_keys(kind: &ValueKind, path: &str, keys: &mut BTreeSet<String>) {
    match kind {
        ValueKind::Map(_) | ValueKind::Either(..) => {
            kind.rows().iter().for_each(|row| schema_keys(&row.kind, &join(path, &row.name), keys))
        }
        _ => drop(keys.insert(path.to_owned())),
    }
}

fn serde_keys(value: &serde_yaml::Value, path: &str, keys: &mut BTreeSet<String>) {
    match value.as_mapping().filter(|_| path != "data.validation") {
        Some(entries) => {
            entries.iter().for_each(|(key, value)| serde_keys(value, &join(path, key.as_str().unwrap()), keys))
        }
        None => drop(keys.insert(path.to_owned())),
    }
}

fn default_spec() -> Spec {
    serde_yaml::from_str("{name: a, preset: tiny}").unwrap()
}

#[test]
fn the_schema_and_serde_know_the_same_keys() {
    let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
    schema_keys(spec(), "", &mut ours);
    let mut whole = default_spec();
    // Keys without a default.
    for from in [&mut whole.first_stage.from, &mut whole.transformer.from, &mut whole.clip.from] {
        *from = Some("a run".into());
    }
    serde_keys(&serde_yaml::to_value(whole).unwrap(), "", &mut theirs);
    assert_eq!(ours, theirs);
    assert!(ours.len() > 80 && ours.contains("clip.optimizer.lr.warmup"));
}

#[test]
fn serde_reads_every_choice() {
    fn words(kind: &'static ValueKind, path: &str, found: &mut Vec<(String, &'static str)>) {
        match kind {
            ValueKind::Choice(words) => found.extend(words.iter().map(|word| (path.to_owned(), word.name.as_str()))),
            kind if !kind.rows().is_empty() => {
                kind.rows().iter().for_each(|row| words(&row.kind, &join(path, &row.name), found))
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    words(spec(), "", &mut found);
    assert!(found.len() >= 15, "{found:?}");
    for (path, word) in found {
        let mut value = serde_yaml::to_value(default_spec()).unwrap();
        let leaf = path.split('.').fold(&mut value, |value, key| &mut value[key]);
        *leaf = word.into();
        assert!(serde_yaml::from_value::<Spec>(value).is_ok(), "{path}: {word}");
    }
}

#[test]
fn every_key_says_what_it_is() {
    fn walk(kind: &ValueKind, path: &str) {
        for row in kind.rows() {
            let path = join(path, &row.name);
            assert!(row.about.ends_with('.'), "{path}: {:?}", row.about);
            walk(&row.kind, &path);
        }
    }
    walk(spec(), "");
}
