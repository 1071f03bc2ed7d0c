//! What runs came to, figure by figure. Ten thousand runs have mostly the same figures: what they are called is asked of one run of each
//! kind, and of the others only their numbers are read.

use super::evaluated;
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::ResultRow;
use crate::harness::catalog::Entry;
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Formatter};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The figures of groups of runs.
pub(super) struct Measured {
    /// Those that any run has, in the order of the first that has them.
    pub known: Vec<ResultRow>,
    runs: Vec<Vec<Run>>,
    /// By kind of run and place in `known`: the place among the run's numbers.
    places: Vec<Vec<Option<usize>>>,
}

/// The figures of a run in its own order.
struct Run {
    kind: usize,
    numbers: Vec<Estimate>,
    /// What `experiment eval` found, by place in `known`.
    evaluated: Vec<(usize, Estimate)>,
}

impl Measured {
    /// Of groups of runs; what cannot be read goes into `notes`.
    pub fn of(groups: &[&[Entry]], notes: &mut Vec<String>) -> Measured {
        let read = |entry: &Entry| (Numbers::of(entry.raw_results(), false), evaluated::rows(&entry.path));
        let read: Vec<Vec<_>> = groups.par_iter().map(|entries| entries.iter().map(read).collect()).collect();
        let (mut known, mut runs): (Vec<ResultRow>, Vec<Vec<Run>>) = (Vec::new(), Vec::new());
        let (mut by_path, mut kinds): (HashMap<String, usize>, HashMap<u64, usize>) = Default::default();
        let mut paths: Vec<Vec<String>> = Vec::new();
        let mut place = |row: ResultRow| {
            *by_path.entry(row.path.clone()).or_insert_with(|| {
                known.push(row);
                known.len() - 1
            })
        };
        for (entries, read) in groups.iter().zip(read) {
            let mut group = Vec::new();
            for (entry, (Numbers { hash, found, .. }, more)) in entries.iter().zip(read) {
                let kind = *kinds.entry(hash.finish()).or_insert_with(|| {
                    let rows = entry.results().map(|results| results.rows()).unwrap_or_default();
                    for row in rows {
                        place(row);
                    }
                    paths.push(Numbers::of(entry.raw_results(), true).paths);
                    paths.len() - 1
                });
                let more = more.unwrap_or_else(|error| {
                    notes.push(format!("evaluation left out: {error}"));
                    Vec::new()
                });
                let evaluated =
                    more.into_iter().map(|row| (row.estimate, place(row))).map(|(of, at)| (at, of)).collect();
                group.push(Run { kind, numbers: found, evaluated });
            }
            runs.push(group);
        }
        let places = paths.iter().map(|paths| {
            let own: HashMap<&str, usize> = paths.iter().enumerate().map(|(at, path)| (path.as_str(), at)).collect();
            known.iter().map(|row| own.get(row.path.as_str()).copied()).collect()
        });
        Measured { places: places.collect(), known, runs }
    }

    /// The figure at a place in `known` of a run.
    pub fn at(&self, group: usize, run: usize, place: usize) -> Option<Estimate> {
        let Run { kind, numbers, evaluated } = &self.runs[group][run];
        match self.places[*kind].get(place).copied().flatten() {
            Some(at) => Some(numbers[at]),
            None => evaluated.iter().find(|(at, _)| *at == place).map(|(_, estimate)| *estimate),
        }
    }
}

/// The numbers of nested objects in their order; an object with a value is one, with its interval.
#[derive(Default)]
struct Numbers {
    path: String,
    found: Vec<Estimate>,
    /// Of all paths.
    hash: DefaultHasher,
    /// The paths, where they are asked for.
    paths: Vec<String>,
    named: bool,
}

impl Numbers {
    /// Those of a text, which is JSON: it is a part of a file that was read.
    fn of(text: Option<&str>, named: bool) -> Numbers {
        let mut numbers = Numbers { named, ..Numbers::default() };
        if let Some(text) = text {
            let mut json = serde_json::Deserializer::from_str(text);
            // What is no JSON after all has no figures; `run.json` would not have been read.
            let _ = Walk(&mut numbers).deserialize(&mut json);
        }
        numbers
    }

    fn push(&mut self, estimate: Estimate) {
        self.path.hash(&mut self.hash);
        self.found.push(estimate);
        if self.named {
            self.paths.push(self.path.clone());
        }
    }
}

/// A key as it stands in the text, which is copied only where it is escaped.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Walks a value; gives its number, which whoever holds it knows the name of.
struct Walk<'a>(&'a mut Numbers);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<f64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("results")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<f64>, E> {
        Ok(Some(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<f64>, E> {
        Ok(Some(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<f64>, E> {
        Ok(Some(value as f64))
    }

    /// What is no number is written as null.
    fn visit_unit<E: Error>(self) -> Result<Option<f64>, E> {
        Ok(Some(f64::NAN))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Option<f64>, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Option<f64>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<f64>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Option<f64>, A::Error> {
        let Walk(numbers) = self;
        let before = numbers.path.len();
        let (mut value, mut low, mut high, mut n) = (None, None, None, None);
        while let Some(Key(key)) = entries.next_key()? {
            if before > 0 {
                numbers.path.push('.');
            }
            numbers.path.push_str(&key);
            if let Some(number) = entries.next_value_seed(Walk(&mut *numbers))? {
                match &*key {
                    "value" => value = Some(number),
                    "low" => low = Some(number),
                    "high" => high = Some(number),
                    "n" => n = Some(number).filter(|n| n.is_finite()).map(|n| n as usize),
                    _ => numbers.push(number.into()),
                }
            }
            numbers.path.truncate(before);
        }
        if let Some(value) = value {
            numbers.push(Estimate { value, interval: low.zip(high).map(|(low, high)| [low, high]), n });
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::results::{Accuracy, Bounds, Choice, Results, SetResults};
    use serde_json::json;

    #[test]
    fn numbers_are_those_of_the_rows() {
        let mut results = Results::default();
        let share = Estimate::of(1, 3);
        let strict: std::collections::BTreeMap<_, _> =
            [(Choice::BestOf(8), share), (Choice::Chance, Estimate::NOTHING)].into();
        results.attribute_accuracy.insert("seen", Accuracy { lenient: strict.clone(), strict, ..Accuracy::default() });
        results.zero_shot.insert("held_out", share);
        let bounds = Bounds { pairs: Some(32.0.into()), ..Bounds::all(f64::NAN.into()) };
        results.sets.insert("validation", SetResults { bounds, ..SetResults::default() });
        results.others.insert("rerank_curve".into(), json!({"n": [1, 2], "similarity": [0.5, 1]}));
        let found = Numbers::of(Some(&json!(results).to_string()), true);
        let known: HashMap<&str, Estimate> = found.paths.iter().map(String::as_str).zip(found.found).collect();
        for row in results.rows() {
            assert_eq!(known.get(row.path.as_str()), Some(&row.estimate), "{}", row.path);
        }
        assert_eq!(known.len(), results.rows().len());
    }

    #[test]
    fn kinds_are_told_apart_by_their_paths() {
        let hash = |text: &str| Numbers::of(Some(text), false).hash.finish();
        assert_eq!(hash(r#"{"a": {"x": 1}}"#), hash(r#"{"a": {"x": {"value": 3, "n": 2}}}"#));
        assert_ne!(hash(r#"{"a": {"x": 1}}"#), hash(r#"{"a": {"y": 1}}"#));
        assert!(Numbers::of(Some("{\"a\": "), false).found.is_empty());
    }
}
