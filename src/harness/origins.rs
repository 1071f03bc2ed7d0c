//! Where each value of a spec stands: in the file, in one that it extends, in an argument, or nowhere.

use crate::Result;
use crate::spec::Spec;
use crate::spec::parse::{Data, Node};
use crate::spec::problem::Source;
use std::collections::BTreeMap;

/// Longer lines do not move the others' ends.
const WIDEST: usize = 60;

/// For the dotted path of each value that is given: where.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(BTreeMap<String, String>);

impl Origins {
    /// Of a whole tree.
    pub(super) fn of(root: &Node, sources: &[Source]) -> Self {
        let mut found = Origins::default();
        found.collect("", root, sources);
        found
    }

    fn collect(&mut self, path: &str, node: &Node, sources: &[Source]) {
        if let Data::Map(entries) = &node.data {
            for (key, value) in entries {
                let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
                self.collect(&path, value, sources);
            }
        } else if let Some(Source { name, text }) = sources.get(node.place.source) {
            let line = 1 + text.bytes().take(node.place.start).filter(|&byte| byte == b'\n').count();
            self.0.insert(
                path.to_owned(),
                if name == "--set" { format!("--set {text}") } else { format!("{name}:{line}") },
            );
        }
    }

    /// The value's own place, or that of the shorter form that stands for it.
    fn find(&self, path: &str) -> &str {
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        ends.filter_map(|end| self.0.get(&path[..end])).next().map_or("default", String::as_str)
    }

    /// Every value of `spec` on a line of its own, and behind it where it comes from.
    pub(super) fn beside(&self, spec: &Spec) -> Result<String> {
        let leaves = spec.leaves()?;
        let rows = leaves.iter().map(|(path, value)| (format!("{path}: {value}"), self.find(path)));
        let rows: Vec<(String, &str)> = rows.collect();
        let width =
            rows.iter().map(|(value, _)| value.chars().count()).filter(|&width| width < WIDEST).max().unwrap_or(0);
        Ok(rows.iter().map(|(value, origin)| format!("{value:width$}  # {origin}\n")).collect())
    }
}
