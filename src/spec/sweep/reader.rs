//! The parts of a sweep: lists of points, read with everything that is wrong with them.

use super::point::{MOST, Path, Point, SWEEP, equal};
use super::range::{Range, range};
use crate::random::Rng;
use crate::spec::extends::EXTENDS;
use crate::spec::parse::{Data, Key, Node};
use crate::spec::problem::{Place, Problem, did_you_mean};
use crate::spec::set;

/// Reads a sweep, and collects what is wrong with it.
pub(super) struct Reader<'p> {
    problems: &'p mut Vec<Problem>,
    /// Every key that any part names, with the part's number.
    pub(super) swept: Vec<(Path, usize)>,
}

impl<'p> Reader<'p> {
    pub(super) fn new(problems: &'p mut Vec<Problem>) -> Self {
        Reader { problems, swept: Vec::new() }
    }

    fn wrong(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(place, message, hint));
    }

    /// The points of each part in order, and what `without` says.
    pub(super) fn parts<'n>(&mut self, sweep: &'n Node) -> (Vec<Vec<Point>>, Option<&'n Node>) {
        const PARTS: [&str; 5] = ["grid", "zip", "list", "random", "without"];
        let hint = "for example sweep: {grid: {seed: [0, 1, 2]}}";
        let Data::Map(entries) = &sweep.data else {
            self.wrong(&sweep.place, "`sweep` must be a mapping", hint);
            return (Vec::new(), None);
        };
        let (mut parts, mut without) = (Vec::new(), None);
        for (number, (key, node)) in entries.iter().enumerate() {
            match key.name.as_str() {
                "grid" => parts.extend(self.grid(node, number)),
                "zip" => parts.push(self.zip(node, number)),
                "list" => parts.push(self.list(node, number)),
                "random" => parts.push(self.random(node, number)),
                "without" => without = Some(node),
                other => {
                    let hint = did_you_mean(other, &PARTS)
                        .unwrap_or_else(|| format!("the keys in `sweep` are {}", PARTS.join(", ")));
                    self.wrong(&key.place, format!("unknown key `{other}` in `sweep`"), hint);
                }
            }
        }
        if parts.is_empty() && self.problems.is_empty() {
            self.wrong(&sweep.place, "`sweep` names nothing to sweep", hint);
        }
        (parts, without)
    }

    /// A key that may be swept, which no other part names, nor a key above or below it.
    fn path(&mut self, key: &Key, part: usize) -> Option<Path> {
        let first = key.name.split('.').next().unwrap_or_default();
        if ["name", SWEEP, EXTENDS].contains(&first) {
            let message = format!("`{first}` cannot be swept");
            self.wrong(&key.place, message, "it is one for all that a sweep runs");
            return None;
        }
        let Ok(keys) = set::keys(&key.name, key.place.source, key.place.start) else {
            self.wrong(
                &key.place,
                format!("`{}` is not a dotted path of keys", key.name),
                "for example transformer.steps",
            );
            return None;
        };
        let path = Path { name: key.clone(), keys };
        let below = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
        let other = self.swept.iter().find(|(other, of)| {
            let (a, b) = (path.name.name.as_str(), other.name.name.as_str());
            // The entries of one list may name the same keys; two keys of one place are told of as repeated.
            (below(a, b) || below(b, a)) && !(a == b && *of == part)
        });
        if let Some((other, _)) = other {
            let message = format!("`{}` and `{}` are both swept", other.name.name, path.name.name);
            self.wrong(&key.place, message, "one value cannot hold the other, nor be given twice");
            return None;
        }
        self.swept.push((path.clone(), part));
        Some(path)
    }

    /// The keys of a mapping, each with its list of values.
    fn lists<'n>(&mut self, node: &'n Node, what: &str, part: usize) -> Vec<(Path, &'n [Node])> {
        let Data::Map(entries) = &node.data else {
            self.wrong(
                &node.place,
                format!("`sweep.{what}` must be a mapping of keys to lists"),
                "for example {seed: [0, 1, 2]}",
            );
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, values) in entries {
            let Some(path) = self.path(key, part) else { continue };
            match &values.data {
                Data::List(values) if !values.is_empty() => found.push((path, &values[..])),
                Data::List(_) => self.wrong(&values.place, format!("`{}` has no values", key.name), ""),
                _ => self.wrong(
                    &values.place,
                    format!("`{}` must have a list of values", key.name),
                    "a list is written [a, b]",
                ),
            }
        }
        if entries.is_empty() {
            self.wrong(&node.place, format!("`sweep.{what}` names no key"), "");
        }
        found
    }

    /// A part of its own for each key: they multiply.
    fn grid(&mut self, node: &Node, part: usize) -> Vec<Vec<Point>> {
        let lists = self.lists(node, "grid", part);
        for (path, values) in &lists {
            for (at, value) in values.iter().enumerate() {
                if values[..at].iter().any(|other| equal(other, value)) {
                    self.wrong(&value.place, format!("`{}` takes this value twice", path.name.name), "");
                }
            }
        }
        let points =
            |(path, values): (Path, &[Node])| values.iter().map(|value| vec![(path.clone(), value.clone())]).collect();
        lists.into_iter().map(points).collect()
    }

    fn zip(&mut self, node: &Node, part: usize) -> Vec<Point> {
        let lists = self.lists(node, "zip", part);
        let Some(count) = lists.first().map(|(_, values)| values.len()) else { return Vec::new() };
        for (path, values) in &lists[1..] {
            if values.len() != count {
                let message =
                    format!("`{}` has {} values, `{}` has {count}", path.name.name, values.len(), lists[0].0.name.name);
                self.wrong(&path.name.place, message, "`zip` takes as many values of each key");
            }
        }
        (0..count)
            .map(|at| lists.iter().filter_map(|(path, values)| Some((path.clone(), values.get(at)?.clone()))).collect())
            .collect()
    }

    fn list(&mut self, node: &Node, part: usize) -> Vec<Point> {
        let hint = "for example [{seed: 1}, {seed: 2, clip.steps: 50}]";
        match &node.data {
            Data::List(items) if !items.is_empty() => items.iter().map(|item| self.point(item, part)).collect(),
            _ => {
                self.wrong(&node.place, "`sweep.list` must be a list of mappings", hint);
                Vec::new()
            }
        }
    }

    fn point(&mut self, node: &Node, part: usize) -> Point {
        match &node.data {
            Data::Map(entries) if !entries.is_empty() => {
                entries.iter().filter_map(|(key, value)| Some((self.path(key, part)?, value.clone()))).collect()
            }
            _ => {
                self.wrong(
                    &node.place,
                    "a point of `sweep.list` must be a mapping of keys to values",
                    "for example {seed: 1}",
                );
                Point::new()
            }
        }
    }

    fn random(&mut self, node: &Node, part: usize) -> Vec<Point> {
        let hint = "for example {count: 20, of: {transformer.optimizer.lr.from: {log: [1e-4, 1e-2]}}}";
        let Data::Map(entries) = &node.data else {
            self.wrong(&node.place, "`sweep.random` must be a mapping", hint);
            return Vec::new();
        };
        let (mut count, mut seed, mut ranges) = (None, 0, None);
        for (key, value) in entries {
            match (key.name.as_str(), &value.data) {
                ("count", Data::Whole(whole @ 1..=100_000)) => count = Some(*whole as u64),
                ("count", _) => self.wrong(
                    &value.place,
                    format!("`sweep.random.count` must be a whole number from 1 to {MOST}"),
                    "",
                ),
                ("seed", Data::Whole(whole)) if u64::try_from(*whole).is_ok() => seed = *whole as u64,
                ("seed", _) => self.wrong(&value.place, "`sweep.random.seed` must be a whole number from 0", ""),
                ("of", Data::Map(of)) if !of.is_empty() => {
                    let mut found = Vec::new();
                    for (key, value) in of {
                        let path = self.path(key, part);
                        match (path, range(key, value)) {
                            (Some(path), Ok(range)) => found.push((path, range)),
                            (_, Err(problem)) => self.problems.push(problem),
                            _ => {}
                        }
                    }
                    ranges = Some(found);
                }
                ("of", _) => self.wrong(&value.place, "`sweep.random.of` must be a mapping of keys to ranges", hint),
                (other, _) => {
                    let names = ["count", "seed", "of"];
                    let hint =
                        did_you_mean(other, &names).unwrap_or_else(|| format!("the keys are {}", names.join(", ")));
                    self.wrong(&key.place, format!("unknown key `{other}` in `sweep.random`"), hint);
                }
            }
        }
        for name in ["count", "of"] {
            if node.get(name).is_none() {
                self.wrong(&node.place, format!("missing key `sweep.random.{name}`"), hint);
            }
        }
        let (Some(count), Some(ranges)) = (count, ranges) else { return Vec::new() };
        // A stream for each key and point: a key that is added moves no other's values.
        let draw = |(path, range): &(Path, Range<'_>), point| {
            (
                path.clone(),
                range.draw(&path.name.place, &mut Rng::new(seed, &format!("sweep.{}", path.name.name), point, 0)),
            )
        };
        (0..count).map(|point| ranges.iter().map(|one| draw(one, point)).collect()).collect()
    }

    /// What each entry leaves out.
    pub(super) fn without(&mut self, node: &Node, swept: &[(Path, usize)]) -> Vec<Vec<(String, Node)>> {
        let hint = "for example [{seed: 2, clip.steps: 50}]";
        let Data::List(items) = &node.data else {
            self.wrong(&node.place, "`sweep.without` must be a list of mappings", hint);
            return Vec::new();
        };
        let names: Vec<&str> = swept.iter().map(|(path, _)| path.name.name.as_str()).collect();
        let mut found = Vec::new();
        for item in items {
            match &item.data {
                Data::Map(entries) if !entries.is_empty() => {
                    for (key, _) in entries.iter().filter(|(key, _)| !names.contains(&key.name.as_str())) {
                        let hint = did_you_mean(&key.name, &names).unwrap_or_default();
                        self.wrong(&key.place, format!("`{}` is not swept", key.name), hint);
                    }
                    found.push(entries.iter().map(|(key, value)| (key.name.clone(), value.clone())).collect());
                }
                _ => self.wrong(&item.place, "a point of `sweep.without` must be a mapping of keys to values", hint),
            }
        }
        found
    }
}
