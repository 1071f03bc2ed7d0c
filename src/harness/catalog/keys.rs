//! What a list of runs may be asked for: facts of a run, keys of a spec, and paths into the results that any of the runs has, or will
//! have. A key that none of them knows is a slip of the pen, which would otherwise look like a list without such runs.

use super::Entry;
use crate::harness::expected::unknown;
use crate::harness::run_dir::read_spec;
use crate::models::presets;
use crate::spec::{Spec, did_you_mean, schema};
use crate::{Error, Result};
use serde_json::Value;
use std::borrow::Borrow;
use std::collections::BTreeSet;

/// What [`Entry::value`] knows of a run itself; `tag` is one of its tags.
const FACTS: [&str; 9] = ["name", "preset", "status", "seed", "hash", "started", "seconds", "tags", "tag"];

/// What a run must be like to be listed: `KEY=VALUE`, or `KEY!=VALUE` for those of which that does not hold.
#[derive(Debug, Clone)]
pub struct Condition {
    /// What is asked for.
    pub key: String,
    value: String,
    holds: bool,
}

impl Condition {
    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Usage`] for anything else.
    pub fn parse(text: &str) -> Result<Condition> {
        let wrong = || Error::Usage(format!("{text:?}: expected KEY=VALUE or KEY!=VALUE"));
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let (key, holds) = key.strip_suffix('!').map_or((key, true), |key| (key, false));
        if key.is_empty() || key.contains(['<', '>', '!']) {
            return Err(wrong());
        }
        Ok(Condition { key: key.to_owned(), value: value.to_owned(), holds })
    }

    /// Whether it is so.
    pub fn of(&self, entry: &Entry) -> bool {
        entry.holds(&self.key, &self.value) == self.holds
    }
}

/// Finds a key that nothing is known by. Of no runs at all nothing can be said.
///
/// # Errors
/// [`Error::Usage`] for a key that is no fact, no key of a spec, and none of the results of any of `entries`; with the nearest that is.
pub fn known<'k, E: Borrow<Entry>>(entries: &[E], keys: impl IntoIterator<Item = &'k str>) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let of_specs = schema::keys();
    for key in keys {
        let is_known = FACTS.contains(&key)
            || of_specs.iter().any(|known| known == key)
            || entries.iter().any(|entry| entry.borrow().value(key).is_some())
            || entries.iter().any(|entry| will_hold(entry.borrow(), key));
        if !is_known {
            let results: BTreeSet<String> = entries.iter().flat_map(|entry| paths(entry.borrow())).collect();
            let all = FACTS.into_iter().chain(of_specs.iter().chain(&results).map(String::as_str));
            let hint = did_you_mean(key, &all.collect::<Vec<_>>()).unwrap_or_else(|| {
                let facts = FACTS.join(", ");
                format!("there are {facts}, the keys of `experiment explain`, and paths into the results")
            });
            return Err(Error::Usage(format!("unknown key {key:?}; {hint}")));
        }
    }
    Ok(())
}

/// Whether the results of a run that has none yet will have something there.
fn will_hold(entry: &Entry, key: &str) -> bool {
    let is_path =
        |spec: &Spec| [key.to_owned(), format!("{key}.value")].iter().any(|path| unknown(spec, path).is_none());
    !entry.has_results() && read_spec(&entry.path, presets::NAMES).is_ok_and(|loaded| is_path(&loaded.spec))
}

/// The paths of a run's figures.
fn paths(entry: &Entry) -> Vec<String> {
    fn collect(path: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(inner) if !inner.contains_key("value") => {
                let within = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                inner.iter().for_each(|(key, value)| collect(&within(key), value, found));
            }
            _ => found.push(path.to_owned()),
        }
    }
    let mut found = Vec::new();
    if let Some(results) = entry.raw_results().and_then(|text| serde_json::from_str(text).ok()) {
        collect("", &results, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_or_do_not_hold() {
        let read = |text: &str| Condition::parse(text).map(|of| (of.key, of.value, of.holds)).ok();
        let of = |key: &str, value: &str, holds| Some((key.to_owned(), value.to_owned(), holds));
        assert_eq!(read("seed=1"), of("seed", "1", true));
        assert_eq!(read("seed!=1"), of("seed", "1", false));
        assert_eq!(read("tag="), of("tag", "", true));
        assert_eq!(read("name=a=b"), of("name", "a=b", true));
        for wrong in ["", "seed", "=1", "!=1", "seed<=1", "seed>=1", "seed!!=1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
