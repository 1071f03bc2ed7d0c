//! The runs below a folder as a list: what each says otherwise than the defaults, how it went and what came of it. Everything is read
//! from `run.json`, of which nothing is taken apart that is not asked for, so ten thousand runs take less than a second.

mod keys;
mod sort;
mod tags;

pub use keys::{Condition, known};
pub use sort::sort;
pub use tags::tag;

use super::identity::{Leaves, SPEC_VERSION};
use super::run_dir::{read_spec, sealed_by, status};
use crate::evaluate::results::Results;
use crate::models::presets;
use crate::spec::{defaults, expect};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// One run.
#[derive(Debug)]
pub struct Entry {
    /// Its folder.
    pub path: PathBuf,
    /// How it went; one that was killed is not running.
    pub status: String,
    /// What somebody called it.
    pub tags: Vec<String>,
    facts: Facts,
}

/// What is read of `run.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Facts {
    name: String,
    preset: String,
    status: Value,
    started: Option<String>,
    spec_hash: String,
    /// The version of the defaults that it was read with.
    spec_version: u32,
    spec_folder: Value,
    data: Value,
    built: Option<Box<RawValue>>,
    device: Option<Box<RawValue>>,
    seeds: Seeds,
    timings: Timings,
    /// What the spec says otherwise than the defaults.
    says: BTreeMap<String, Value>,
    results: Option<Box<RawValue>>,
    /// What files hold that never change.
    #[serde(rename = "blake3")]
    seals: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Seeds {
    spec: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timings {
    total: Option<f64>,
}

/// All runs below `folder`: itself, what is in it, and what is in the folders in it; the newest first. Those whose `run.json` cannot be
/// read come as sentences.
pub fn list(folder: impl AsRef<Path>) -> (Vec<Entry>, Vec<String>) {
    let folder = folder.as_ref();
    let is_run = |path: &Path| path.join("run.json").is_file();
    let inside = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let mut found = Vec::new();
    if is_run(folder) {
        found.push(folder.to_owned());
    } else {
        for child in inside(folder) {
            match is_run(&child) {
                true => found.push(child),
                false => found.extend(inside(&child).into_iter().filter(|run| is_run(run))),
            }
        }
    }
    let read: Vec<Result<Entry>> = found.into_par_iter().map(Entry::read).collect();
    let (mut entries, mut unread) = (Vec::new(), Vec::new());
    for entry in read {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => unread.push(error.to_string()),
        }
    }
    entries.sort_by(|a, b| (&b.facts.started, &b.path).cmp(&(&a.facts.started, &a.path)));
    (entries, unread)
}

impl Entry {
    /// The run at `path`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Data`] where its `run.json` cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Entry> {
        let path = path.as_ref().to_owned();
        let file = path.join("run.json");
        let text = fs::read(&file).map_err(Error::io("read", &file))?;
        let facts: Facts = serde_json::from_slice(&text).map_err(|error| Error::data(&file, error.to_string()))?;
        Ok(Entry { status: status(&path, &facts.status), tags: tags::tags(&path)?, path, facts })
    }

    /// Whether it has come to its end: nothing more will be trained or measured of it.
    pub fn has_ended(&self) -> bool {
        ["done", "expectation failed"].contains(&self.status.as_str())
    }

    /// When it was started.
    pub fn started(&self) -> &str {
        self.facts.started.as_deref().unwrap_or_default()
    }

    /// Seconds of all its sessions.
    pub fn seconds(&self) -> Option<f64> {
        self.facts.timings.total
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// Its preset.
    pub fn preset(&self) -> &str {
        &self.facts.preset
    }

    /// The seed of its spec.
    pub fn seed(&self) -> u64 {
        self.facts.seeds.spec
    }

    /// The hash of its spec.
    pub fn hash(&self) -> &str {
        &self.facts.spec_hash
    }

    /// What its spec says otherwise than the defaults of this program.
    ///
    /// # Errors
    /// Those of [`read_spec`], for a run that kept no such list, or one beside other defaults.
    pub fn said(&self) -> Result<Cow<'_, Leaves>> {
        if self.facts.spec_version == SPEC_VERSION {
            return Ok(Cow::Borrowed(&self.facts.says));
        }
        read_spec(&self.path, presets::NAMES)?.spec.says().map(Cow::Owned)
    }

    /// What tells its data, where their paths alone do not: their fingerprint, or what the paths are relative to.
    pub fn data(&self) -> (&'static str, &Value) {
        match &self.facts.data["fingerprint"]["train"] {
            Value::Null => ("spec_folder", &self.facts.spec_folder),
            known => ("data.fingerprint", known),
        }
    }

    /// The program that began it, and on what, as JSON: of many runs the most say the same.
    pub fn circumstances(&self) -> [&str; 2] {
        [&self.facts.built, &self.facts.device].map(|fact| fact.as_ref().map_or("null", |fact| fact.get()))
    }

    /// A file of the run that never changes once it is written; `None` where there is none.
    ///
    /// # Errors
    /// Those of [`run_dir::sealed_by`](super::run_dir::sealed_by).
    pub fn sealed(&self, name: &str) -> Result<Option<Vec<u8>>> {
        sealed_by(&self.path, &self.facts.seals, name)
    }

    /// Whether anything came of it.
    pub fn has_results(&self) -> bool {
        self.facts.results.as_ref().is_some_and(|results| !matches!(results.get(), "{}" | "null"))
    }

    /// The text of its results.
    pub fn raw_results(&self) -> Option<&str> {
        self.facts.results.as_ref().map(|results| results.get())
    }

    /// What came of it; `None` where nothing did yet.
    pub fn results(&self) -> Option<Results> {
        let all: Map<String, Value> = serde_json::from_str(self.facts.results.as_ref()?.get()).ok()?;
        Some(Results::read(&all)).filter(|_| !all.is_empty())
    }

    /// What its spec says under `key`, at its default or not.
    pub fn spec_value(&self, key: &str) -> Option<Value> {
        if let Some(value) = self.facts.says.get(key) {
            return Some(value.clone());
        }
        if self.facts.spec_version == SPEC_VERSION && presets::NAMES.contains(&self.facts.preset.as_str()) {
            return plain(&self.facts.preset).get(key).cloned();
        }
        // Of a run that kept no list of what it says, or whose defaults were others.
        let spec = read_spec(&self.path, presets::NAMES).ok()?.spec;
        spec.leaves().ok()?.remove(key)
    }

    /// What its spec says otherwise than the defaults, in words; the keys of `first` come first.
    pub fn says(&self, first: &BTreeSet<&str>) -> String {
        let words = |(key, value): (&String, &Value)| format!("{key}={}", bare(value));
        let (ahead, others): (Vec<_>, Vec<_>) =
            self.facts.says.iter().partition(|(key, _)| first.contains(key.as_str()));
        ahead.into_iter().chain(others).map(words).collect::<Vec<_>>().join(" ")
    }

    /// What stands under `key`: `name`, `preset`, `status`, `seed`, `hash`, `started`, `seconds`, `tags`; a key of the spec, at its default
    /// or not; or a path into the results.
    pub fn value(&self, key: &str) -> Option<Value> {
        let facts = &self.facts;
        match key {
            "name" => return Some(json!(facts.name)),
            "preset" => return Some(json!(facts.preset)),
            "status" => return Some(json!(self.status)),
            "seed" => return Some(json!(facts.seeds.spec)),
            "hash" => return Some(json!(facts.spec_hash)),
            "started" => return Some(json!(facts.started)),
            "seconds" => return Some(json!(facts.timings.total)),
            "tags" | "tag" => return Some(json!(self.tags)),
            _ => {}
        }
        if let Some(value) = facts.says.get(key) {
            return Some(value.clone());
        }
        // No key of a spec is one of the results.
        let known = || plain(&facts.preset).contains_key(key);
        if facts.spec_version == SPEC_VERSION && known() {
            self.spec_value(key)
        } else {
            self.result(key).or_else(|| self.spec_value(key))
        }
    }

    /// The value at a path into the results.
    fn result(&self, key: &str) -> Option<Value> {
        // Nothing beside the path is taken apart.
        let mut text = self.raw_results()?;
        for key in expect::keys(key)? {
            text = match text.starts_with('[') {
                true => serde_json::from_str::<Vec<&RawValue>>(text).ok()?.get(key.parse::<usize>().ok()?)?.get(),
                false => serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(text).ok()?.get(key)?.get(),
            };
        }
        let found: Value = serde_json::from_str(text).ok()?;
        // A figure is its value; its interval stands beside it.
        Some(found.get("value").cloned().unwrap_or(found))
    }

    /// Whether `key=value` holds; of tags, whether one of them is it.
    fn holds(&self, key: &str, value: &str) -> bool {
        if ["tag", "tags"].contains(&key) {
            return self.tags.iter().any(|tag| tag == value);
        }
        let Some(found) = self.value(key) else { return false };
        match (found.as_f64(), value.parse::<f64>()) {
            (Some(found), Ok(value)) => found == value,
            _ => bare(&found) == value,
        }
    }

    /// What a program is told of it.
    pub fn to_json(&self, shown: &[String]) -> Value {
        let Facts { name, preset, started, spec_hash, seeds, timings, says, .. } = &self.facts;
        let shown: BTreeMap<&String, Option<Value>> = shown.iter().map(|key| (key, self.value(key))).collect();
        json!({
            "run": self.path, "name": name, "preset": preset, "seed": seeds.spec, "status": self.status, "started": started,
            "seconds": timings.total, "hash": spec_hash, "tags": self.tags, "says": says, "shown": shown,
        })
    }
}

/// What a spec of `preset` is that says nothing else; made once.
pub(super) fn plain(preset: &str) -> Arc<Leaves> {
    static KNOWN: Mutex<BTreeMap<String, Arc<Leaves>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let made = || Arc::new(defaults::plain(preset).leaves().unwrap_or_default());
    known.entry(preset.to_owned()).or_insert_with(made).clone()
}

/// The keys of which not all of `entries` say the same.
pub fn differing(entries: &[Entry]) -> BTreeSet<&str> {
    let Some(first) = entries.first() else { return BTreeSet::new() };
    let (mut keys, says) = (BTreeSet::new(), &first.facts.says);
    for Entry { facts, .. } in entries {
        keys.extend(
            facts.says.iter().filter(|(key, value)| says.get(*key) != Some(value)).map(|(key, _)| key.as_str()),
        );
        keys.extend(says.keys().filter(|key| !facts.says.contains_key(*key)).map(String::as_str));
    }
    keys
}

/// A value as a person writes it.
pub fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
