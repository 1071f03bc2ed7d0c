//! Batches: samples in their order, augmented, with those that cannot be used replaced and counted, and the broken ones, when
//! they are too many, refused.
//!
//! A batch is a pure function of (source, view, seed, step, batch size): it depends neither on threads nor on the batches
//! before it. Only the refusal looks at the history.

mod reader;
#[cfg(test)]
mod tests;

use super::{BadSample, Counts, Picture, Source, View};
use crate::{Error, Result};
use rayon::prelude::*;
pub use reader::{Read, Reader};
use std::path::PathBuf;

/// One picture with one caption, ready for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The sample's place in its source: what it is known by.
    pub index: usize,
    /// The sample's name, for people: shards and folders repeat their names.
    pub key: String,
    /// `target` pixels wide and high.
    pub picture: Picture,
    /// One of the sample's captions, as written.
    pub caption: String,
    /// Which of the looks that the sample has for this loader ([`Reader::looks`]); `None` where it has another one every time.
    pub look: Option<usize>,
}

/// A sample that is known, or is read.
pub enum Seen<T> {
    /// What is known of it, and one of its captions, as written.
    Known(T, String),
    /// All of it.
    Read(Example),
}

/// The values of pictures as the models read them: [0, 1], rows of pixels, channels last.
pub fn pixels(examples: &[Example]) -> Vec<f32> {
    examples.iter().flat_map(|example| example.picture.values()).collect()
}

/// Reads a source in a seeded order, and counts what it meets.
pub struct Loader<'a> {
    reader: Reader<'a>,
    name: PathBuf,
    max_bad: f64,
    counts: Counts,
}

/// Samples that are read at once at least, where it is not known how many of them can be used.
const FEW: usize = 20;

/// A sample that was met: its place and what came of it.
type Met<T> = (usize, std::result::Result<T, BadSample>);

impl<'a> Loader<'a> {
    /// A loader of `source`, whose `name` errors mention. `stream` tells apart the loaders of one seed ("dvae",
    /// "transformer"…), and `max_bad` is the largest share of broken samples among those that are met, in [0, 1].
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
        let reader = Reader::new(source, view, target, (seed, stream));
        Ok(Loader { reader, name, max_bad, counts: Counts::default() })
    }

    /// With `views` fixed views of each picture where it is seen in random ones; 0: another one every time.
    pub fn with_views(self, views: usize) -> Self {
        Loader { reader: self.reader.with_views(views), ..self }
    }

    /// What it reads with.
    pub fn reader(&self) -> &Reader<'a> {
        &self.reader
    }

    /// What became of the samples met so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The `batch` examples of `step`. A sample that cannot be used is replaced by the next good one of a sequence of its
    /// own, each example carries one of its sample's captions at random.
    ///
    /// # Errors
    /// [`Error::Data`] once the share of broken samples is above the limit, or if no replacement is found.
    pub fn batch(&mut self, step: u64, batch: usize) -> Result<Vec<Example>> {
        let read = self.reader.batch(step, batch);
        self.take(read)
    }

    /// Counts what was read for a step, by this loader's reader or a copy of it, and gives what can be used.
    ///
    /// # Errors
    /// Those of [`Loader::batch`].
    pub fn take<T>(&mut self, read: Read<T>) -> Result<Vec<T>> {
        let batch = read.0.len();
        let examples = self.count(read.0.into_iter().flatten());
        self.check()?;
        if examples.len() < batch { Err(self.refuse("no good sample to put in its place")) } else { Ok(examples) }
    }

    /// `limit` usable samples of the source, or all where there are fewer, each with its first caption: for evaluation. They
    /// are spread over the source, whose order may group its pictures; fewer of them are the first of more.
    ///
    /// # Errors
    /// [`Error::Data`] if the share of broken samples is above the limit, or no sample can be used.
    pub fn spread(&mut self, limit: usize) -> Result<Vec<Example>> {
        let order = self.reader.spread();
        let (mut examples, mut rest) = (Vec::new(), order.as_slice());
        while examples.len() < limit && !rest.is_empty() {
            let (some, others) = rest.split_at(rest.len().min(FEW.max(limit - examples.len())));
            let read = |&index: &usize| (index, self.reader.first_of(index));
            let read: Vec<Met<Example>> = some.par_iter().map(read).collect();
            examples.extend(self.count(read.into_iter()));
            self.check()?;
            rest = others;
        }
        examples.truncate(limit);
        if examples.is_empty() && limit > 0 { Err(self.refuse("expected at least one good one")) } else { Ok(examples) }
    }

    /// Counts what was met and gives what can be used.
    fn count<T>(&mut self, met: impl Iterator<Item = Met<T>>) -> Vec<T> {
        let counts = &mut self.counts;
        met.filter_map(|(index, read)| {
            counts.add(index, read.as_ref().err());
            read.ok()
        })
        .collect()
    }

    /// Refuses a source with too many broken samples.
    fn check(&self) -> Result<()> {
        match self.counts.too_broken(self.max_bad, self.reader.len()) {
            true => Err(self.refuse(&format!("data.max_bad is {}", self.max_bad))),
            false => Ok(()),
        }
    }

    fn refuse(&self, why: &str) -> Error {
        let Counts { broken, filtered, .. } = &self.counts;
        let first = if broken.total() > 0 { broken.first() } else { filtered.first() };
        Error::data(&self.name, format!("{}; {why}; first: {first}", self.counts.summary()))
    }
}
