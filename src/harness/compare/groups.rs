//! Runs in groups that differ in the seed alone, and the keys in which the groups differ.

use crate::harness::catalog::{Entry, bare, plain};
use crate::harness::provenance;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

/// Runs of one spec but for the seed.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// What it is called in tables.
    pub letter: String,
    /// Its runs, by seed.
    pub runs: Vec<PathBuf>,
    /// Their seeds.
    pub seeds: Vec<u64>,
}

/// A key with its value in each group.
#[derive(Debug, Clone, Serialize)]
pub struct Key {
    /// The dotted path, or `name`, `preset`, and for data in files `data.fingerprint` or `spec_folder`.
    pub key: String,
    /// By group; null where the spec has no such key.
    pub values: Vec<Value>,
}

impl Key {
    /// Its value in a group as a person writes it.
    pub fn word(&self, group: usize) -> String {
        bare(&self.values[group])
    }
}

/// A group with what was read of its runs.
pub(super) struct Read {
    pub group: Group,
    pub entries: Vec<Entry>,
    /// What the spec says otherwise than the defaults, seed apart.
    said: BTreeMap<String, Value>,
}

/// The groups, in the order of their first runs.
pub(super) fn groups(entries: Vec<Entry>, notes: &mut Vec<String>) -> Result<Vec<Read>> {
    let said = |entry: &Entry| -> Result<BTreeMap<String, Value>> {
        let mut said = entry.said()?.into_owned();
        said.remove("seed");
        said.insert("name".into(), json!(entry.name()));
        said.insert("preset".into(), json!(entry.preset()));
        // The same words mean other files in another folder, or on another day.
        if said.contains_key("data.train") {
            let (key, value) = entry.data();
            said.insert(key.into(), value.clone());
        }
        Ok(said)
    };
    let read: Vec<(Entry, Result<BTreeMap<String, Value>>)> =
        entries.into_par_iter().map(|entry| (said(&entry), entry)).map(|(said, entry)| (entry, said)).collect();
    let (mut groups, mut known): (Vec<Read>, HashMap<String, usize>) = (Vec::new(), HashMap::new());
    let (mut without, mut older) = (Vec::new(), 0);
    for (entry, said) in read {
        if !entry.has_results() {
            without.push(format!("{} ({})", shown(&entry), entry.status));
            continue;
        }
        let said = match said {
            Ok(said) => said,
            Err(error) => {
                notes.push(format!("left out: {error}"));
                continue;
            }
        };
        let key = serde_json::to_string(&said).map_err(|error| Error::Spec(error.to_string()))?;
        let at = *known.entry(key).or_insert_with(|| {
            groups.push(Read {
                group: Group { letter: letter(groups.len()), runs: Vec::new(), seeds: Vec::new() },
                entries: Vec::new(),
                said,
            });
            groups.len() - 1
        });
        let entries = &mut groups[at].entries;
        match entries.iter_mut().find(|there| there.seed() == entry.seed()) {
            None => entries.push(entry),
            Some(there) => {
                older += 1;
                if entry.started() > there.started() {
                    *there = entry;
                }
            }
        }
    }
    for Read { group, entries, .. } in &mut groups {
        entries.sort_by_key(Entry::seed);
        group.runs = entries.iter().map(|entry| entry.path.clone()).collect();
        group.seeds = entries.iter().map(Entry::seed).collect();
    }
    if older > 0 {
        notes.push(format!("{older} older runs of the same spec and seed are left out: their numbers are no repeats"));
    }
    if !without.is_empty() {
        const MOST: usize = 3;
        let more = if without.len() > MOST { format!(" and {} more", without.len() - MOST) } else { String::new() };
        notes.push(format!("without results, left out: {}{more}", without[..without.len().min(MOST)].join(", ")));
    }
    Ok(groups)
}

/// A, B, … Z, AA, AB…
fn letter(mut at: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'A' + (at % 26) as u8);
        match at / 26 {
            0 => break,
            more => at = more - 1,
        }
    }
    letters.iter().rev().map(|&letter| char::from(letter)).collect()
}

/// A run's folder with the one around it.
fn shown(entry: &Entry) -> String {
    let parts: Vec<_> = entry.path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// The keys in which the groups differ.
pub(super) fn keys(groups: &[Read]) -> Vec<Key> {
    let mut keys: BTreeSet<String> = BTreeSet::new();
    let Some(first) = groups.first() else { return Vec::new() };
    for Read { said, .. } in groups {
        keys.extend(said.iter().filter(|(key, value)| first.said.get(*key) != Some(value)).map(|(key, _)| key.clone()));
        keys.extend(first.said.keys().filter(|key| !said.contains_key(*key)).cloned());
    }
    if keys.contains("preset") {
        // Then defaults may differ of which neither says a word.
        let preset = |read: &Read| plain(read.said["preset"].as_str().unwrap_or_default());
        let theirs = preset(first);
        for read in groups {
            let ours = preset(read);
            keys.extend(theirs.keys().chain(ours.keys()).filter(|key| ours.get(*key) != theirs.get(*key)).cloned());
        }
    }
    let value = |read: &Read, key: &String| match read.said.get(key) {
        Some(value) => value.clone(),
        None => plain(read.said["preset"].as_str().unwrap_or_default()).get(key).cloned().unwrap_or_default(),
    };
    let keys = keys.into_iter().map(|key| Key { values: groups.iter().map(|read| value(read, &key)).collect(), key });
    keys.filter(|key| key.values.iter().any(|value| *value != key.values[0])).collect()
}

/// Says where programs or devices differ: then they may be what a difference comes from.
pub(super) fn circumstances(groups: &[Read], notes: &mut Vec<String>) {
    let words: [fn(&Value) -> String; 2] = [provenance::in_words, bare];
    for (at, what) in ["by different programs", "on different devices"].into_iter().enumerate() {
        let all: BTreeSet<&str> =
            groups.iter().flat_map(|read| &read.entries).map(|entry| entry.circumstances()[at]).collect();
        let in_words = |text: &str| words[at](&serde_json::from_str(text).unwrap_or_default());
        let found: BTreeSet<String> = all.into_iter().map(in_words).collect();
        if found.len() > 1 {
            notes.push(format!("begun {what}: {}", found.into_iter().collect::<Vec<_>>().join("; ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 51, 52, 701, 702].map(letter), ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]);
    }
}
