//! Where each value of a spec stands: in the file, in one that it extends, in an argument, in another run, or nowhere.

use crate::error::{Error, Result, one_line};
use crate::spec::parse::{Data, Node};
use crate::spec::problem::{self, Place, Problem, Source};
use crate::spec::{Spec, is_file};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longer lines do not move the others' ends.
const WIDEST: usize = 60;

/// For the dotted path of each value that is given, and of each item of a list: where.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    places: BTreeMap<String, Place>,
    sources: Arc<[Source]>,
}

impl Origins {
    /// Of a whole tree.
    pub(super) fn of(root: &Node, sources: &Arc<[Source]>) -> Self {
        let mut found = Origins { places: BTreeMap::new(), sources: sources.clone() };
        found.collect("", root);
        found
    }

    fn collect(&mut self, path: &str, node: &Node) {
        if let Data::Map(entries) = &node.data {
            for (key, value) in entries {
                let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
                self.collect(&path, value);
            }
            return;
        }
        if let Data::List(items) = &node.data {
            items.iter().enumerate().for_each(|(at, item)| self.collect(&format!("{path}[{at}]"), item));
        }
        self.places.insert(path.to_owned(), node.place.clone());
    }

    /// The value's own place, or that of the shorter form that stands for it.
    fn find(&self, path: &str) -> Option<&Place> {
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        ends.filter_map(|end| self.places.get(&path[..end])).next()
    }

    /// Where a value of `spec` comes from, in words.
    fn words(&self, spec: &Spec, path: &str) -> String {
        if let Some(run) = lender(spec, path) {
            return format!("run {run}");
        }
        match self.find(path).and_then(|place| Some((place, self.sources.get(place.source)?))) {
            Some((_, Source { name, text })) if name == "--set" => format!("--set {text}"),
            Some((place, Source { name, text })) => {
                let line = 1 + text.bytes().take(place.start).filter(|&byte| byte == b'\n').count();
                format!("{name}:{line}")
            }
            None => "default".into(),
        }
    }

    /// Every value of `spec` on a line of its own, and behind it where it comes from.
    pub(super) fn beside(&self, spec: &Spec) -> Result<String> {
        let leaves = spec.leaves()?;
        let rows = leaves.iter().map(|(path, value)| (format!("{path}: {value}"), self.words(spec, path)));
        let rows: Vec<(String, String)> = rows.collect();
        let width =
            rows.iter().map(|(value, _)| value.chars().count()).filter(|&width| width < WIDEST).max().unwrap_or(0);
        Ok(rows.iter().map(|(value, origin)| format!("{value:width$}  # {origin}\n")).collect())
    }

    /// The same for programs: of each key its value, and where it comes from.
    pub(super) fn told(&self, spec: &Spec) -> Result<Value> {
        let told = |(path, value): (String, Value)| {
            let origin = self.words(spec, &path);
            (path, json!({"value": value, "where": origin}))
        };
        Ok(Value::Object(spec.leaves()?.into_iter().map(told).collect::<Map<_, _>>()))
    }

    /// `error`, which what stands at `path` is at fault for, with the line that it stands on, and a hint.
    pub(super) fn blamed(&self, path: &str, error: Error, hint: &str) -> Error {
        let Some(place) = self.places.get(path) else { return error };
        let text = problem::text(vec![Problem::new(place, one_line(&error.to_string()), hint)], &self.sources);
        Error::Named { text, error: Box::new(error) }
    }
}

/// The run that a value of `spec` is taken from together with a stage: what a spec itself says of such a stage does not hold.
fn lender<'s>(spec: &'s Spec, path: &str) -> Option<&'s str> {
    let run = |from: &'s Option<String>| from.as_deref().filter(|from| !is_file(Some(from)));
    let (stage, key) = path.split_once('.')?;
    match stage {
        _ if key == "from" => None,
        "first_stage" => run(&spec.first_stage.from),
        "transformer" => run(&spec.transformer.from),
        "clip" => run(&spec.clip.from),
        // With the tokenizer, of which there is one.
        "text" if key == "vocabulary" => run(&spec.clip.from).or_else(|| run(&spec.transformer.from)),
        _ => None,
    }
}
