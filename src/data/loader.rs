//! Batches: samples in their order, augmented, with the broken ones replaced, counted and, when they are too many, refused.
//!
//! A batch is a pure function of (source, view, seed, step, batch size): it depends neither on threads nor on the batches
//! before it. Only the refusal looks at the history.

use super::{BadSample, Flaw, Order, Picture, Sample, Source, View};
use crate::random::Rng;
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// One picture with one caption, ready for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The sample's name in its source.
    pub key: String,
    /// `target` pixels wide and high.
    pub picture: Picture,
    /// One of the sample's captions, as written.
    pub caption: String,
}

/// The broken samples met so far.
#[derive(Debug, Clone, Default)]
pub struct BadCounts {
    /// How many distinct samples are broken, by reason.
    pub by_reason: BTreeMap<&'static str, usize>,
    /// The first one of each reason, in words.
    pub examples: BTreeMap<&'static str, String>,
    indices: BTreeSet<usize>,
}

impl BadCounts {
    /// How many distinct samples were broken.
    pub fn total(&self) -> usize {
        self.indices.len()
    }

    fn add(&mut self, index: usize, bad: &BadSample) {
        if self.indices.insert(index) {
            *self.by_reason.entry(bad.reason).or_default() += 1;
            self.examples.entry(bad.reason).or_insert_with(|| format!("{}: {}", bad.key, bad.detail));
        }
    }

    /// "3 decode, 1 no-caption".
    pub fn summary(&self) -> String {
        let counts: Vec<String> = self.by_reason.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        counts.join(", ")
    }
}

/// Reads a source in a seeded order.
pub struct Loader<'a> {
    source: &'a dyn Source,
    name: PathBuf,
    view: View,
    target: usize,
    seed: u64,
    stream: String,
    max_bad: f64,
    order: Order,
    /// Distinct samples read.
    seen: usize,
    bad: BadCounts,
}

/// Below this many samples the share of broken ones says nothing, unless there are no more.
const FEW: usize = 20;
/// How many replacements are tried for one broken sample.
const REPLACEMENTS: u64 = 64;

impl<'a> Loader<'a> {
    /// A loader of `source`, whose `name` errors mention. `stream` tells apart the loaders of one seed ("dvae",
    /// "transformer"…), and `max_bad` is the largest share of broken samples, in [0, 1].
    ///
    /// # Errors
    /// [`Error::Data`] if the source is empty.
    pub fn new(
        source: &'a dyn Source,
        name: impl Into<PathBuf>,
        view: View,
        target: usize,
        (seed, stream): (u64, &str),
        max_bad: f64,
    ) -> Result<Self> {
        let name = name.into();
        if source.is_empty() {
            return Err(Error::data(name, "expected at least one sample, got none"));
        }
        let order = Order::new(seed, &format!("{stream}/order"), source.len());
        let (stream, bad) = (stream.to_owned(), BadCounts::default());
        Ok(Loader { source, name, view, target, seed, stream, max_bad, order, seen: 0, bad })
    }

    /// The broken samples met so far.
    pub fn bad(&self) -> &BadCounts {
        &self.bad
    }

    /// The `batch` examples of `step`. A broken sample is replaced by the next good one of a sequence of its own, each
    /// example carries one of its sample's captions at random.
    ///
    /// # Errors
    /// [`Error::Data`] once the share of broken samples is above the limit, or if no replacement is found.
    pub fn batch(&mut self, step: u64, batch: usize) -> Result<Vec<Example>> {
        let first = step * batch as u64;
        let read: Vec<_> =
            (first..first + batch as u64).into_par_iter().map(|position| self.example(position)).collect();
        let mut examples = Vec::with_capacity(batch);
        for (example, broken) in read {
            broken.iter().for_each(|(index, bad)| self.bad.add(*index, bad));
            examples.extend(example);
        }
        // The first epoch meets every sample once; after it all are known.
        self.seen = (self.seen + batch).min(self.source.len());
        self.check()?;
        if examples.len() < batch {
            return Err(self.refuse("no good sample to replace a broken one"));
        }
        Ok(examples)
    }

    /// Samples `0..limit` of the source in its own order, broken ones left out, each with its first caption: for
    /// evaluation.
    ///
    /// # Errors
    /// [`Error::Data`] if the share of broken samples is above the limit.
    pub fn first(&mut self, limit: usize) -> Result<Vec<Example>> {
        let limit = limit.min(self.source.len());
        let read = |index| self.read(index, &mut Rng::new(self.seed, &self.stream, 0, index as u64), false);
        let read: Vec<_> = (0..limit).into_par_iter().map(read).collect();
        let mut examples = Vec::with_capacity(limit);
        for (index, example) in read.into_iter().enumerate() {
            match example {
                Ok(example) => examples.push(example),
                Err(bad) => self.bad.add(index, &bad),
            }
        }
        self.seen = self.seen.max(limit);
        self.check()?;
        Ok(examples)
    }

    /// The example at `position` and the broken samples met on the way to it.
    fn example(&self, position: u64) -> (Option<Example>, Vec<(usize, BadSample)>) {
        let mut broken = Vec::new();
        for attempt in 0..=REPLACEMENTS {
            let mut rng = Rng::new(self.seed, &self.stream, position, attempt);
            let index = if attempt == 0 { self.order.at(position) } else { rng.below(self.source.len()) };
            match self.read(index, &mut rng, true) {
                Ok(example) => return (Some(example), broken),
                Err(bad) => broken.push((index, bad)),
            }
        }
        (None, broken)
    }

    fn read(&self, index: usize, rng: &mut Rng, any_caption: bool) -> std::result::Result<Example, BadSample> {
        let Sample { key, picture, captions } = self.source.get(index)?;
        let chosen = if any_caption && captions.len() > 1 { rng.below(captions.len()) } else { 0 };
        let Some(caption) = captions.into_iter().nth(chosen) else {
            return Err(Flaw::new("no-caption", "expected at least one caption, got none").of(&key));
        };
        let picture = self.view.apply(&picture, self.target, rng).map_err(|flaw| flaw.of(&key))?;
        Ok(Example { key, picture, caption })
    }

    /// Refuses a source with too many broken samples. Before all are seen, two standard deviations are granted to chance.
    fn check(&self) -> Result<()> {
        let whole = self.seen == self.source.len();
        if self.seen < FEW && !whole {
            return Ok(());
        }
        let (seen, share) = (self.seen as f64, self.max_bad);
        let chance = if whole { 0.0 } else { 2.0 * (seen * share * (1.0 - share)).max(0.0).sqrt() };
        if self.bad.total() as f64 > seen * share + chance {
            return Err(self.refuse(&format!("max_bad is {share}")));
        }
        Ok(())
    }

    fn refuse(&self, why: &str) -> Error {
        let first = self.bad.examples.values().next().map_or("", String::as_str);
        let (total, seen, summary) = (self.bad.total(), self.seen, self.bad.summary());
        Error::data(&self.name, format!("{total} of {seen} samples are broken ({summary}), {why}; first: {first}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sample i is a picture of grey level i; those in `broken` cannot be read.
    struct Greys {
        len: usize,
        broken: Vec<usize>,
    }

    impl Source for Greys {
        fn len(&self) -> usize {
            self.len
        }

        fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
            if self.broken.contains(&index) {
                return Err(Flaw::new("decode", "no picture").of(&index.to_string()));
            }
            let picture = Picture { width: 4, height: 4, rgb: vec![index as u8; 48] };
            Ok(Sample { key: index.to_string(), picture, captions: vec!["one".into(), "two".into()] })
        }
    }

    fn loader(source: &Greys, max_bad: f64) -> Loader<'_> {
        Loader::new(source, "greys", View::Transformer, 4, (5, "test"), max_bad).unwrap()
    }

    #[test]
    fn a_batch_depends_on_its_step_alone() {
        let source = Greys { len: 50, broken: vec![3, 17, 40] };
        let mut first = loader(&source, 0.5);
        let batches: Vec<_> = (0..6).map(|step| first.batch(step, 16).unwrap()).collect();
        let mut second = loader(&source, 0.5);
        for step in [5, 0, 3] {
            assert_eq!(second.batch(step, 16).unwrap(), batches[step as usize]);
        }
        assert!(batches.iter().all(|batch| batch.len() == 16));
        assert!(batches.iter().flatten().all(|example| !["3", "17", "40"].contains(&example.key.as_str())));
        let twos = batches.iter().flatten().filter(|example| example.caption == "two").count();
        assert!((30..66).contains(&twos), "{twos} of 96");
    }

    #[test]
    fn a_batch_of_good_samples_follows_the_order() {
        let source = Greys { len: 12, broken: vec![] };
        let mut keys: Vec<String> = loader(&source, 0.0).batch(1, 12).unwrap().into_iter().map(|e| e.key).collect();
        let order = Order::new(5, "test/order", 12);
        assert!(keys.iter().zip(12..).all(|(key, position)| *key == order.at(position).to_string()));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 12);
    }

    #[test]
    fn broken_samples_are_counted_once() {
        let source = Greys { len: 30, broken: vec![1, 2] };
        let mut loader = loader(&source, 0.1);
        for step in 0..20 {
            loader.batch(step, 10).unwrap();
        }
        assert_eq!((loader.bad().total(), loader.bad().summary().as_str()), (2, "2 decode"));
    }

    #[test]
    fn too_many_broken_samples_are_refused() {
        let refused = |len: usize, broken: usize, steps: u64| {
            let source = Greys { len, broken: (0..broken).collect() };
            let mut loader = loader(&source, 0.1);
            let error = (0..steps).find_map(|step| loader.batch(step, 10).err());
            error.map(|error| (error.exit_code(), error.to_string()))
        };
        assert_eq!(refused(40, 4, 8), None);
        let (code, text) = refused(40, 5, 4).unwrap();
        assert_eq!(code, 4);
        assert!(text.starts_with("greys: 5 of 40 samples are broken (5 decode), max_bad is 0.1; first: "), "{text}");
        assert!(refused(1000, 500, 2).is_some());
        assert!(refused(10, 10, 1).is_some());
        // After ten of a thousand nothing can be said yet.
        assert_eq!(refused(1000, 400, 1), None);
        assert!(Loader::new(&Greys { len: 0, broken: vec![] }, "none", View::Transformer, 4, (0, ""), 0.1).is_err());
    }

    #[test]
    fn evaluation_reads_in_order_and_leaves_out() {
        let source = Greys { len: 30, broken: vec![1] };
        let examples = loader(&source, 0.1).first(4).unwrap();
        assert_eq!(examples.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["0", "2", "3"]);
        assert!(examples.iter().all(|example| example.caption == "one"));
    }
}
