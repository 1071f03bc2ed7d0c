//! Batches: samples in their order, augmented, with those that cannot be used replaced and counted, and the broken ones, when
//! they are too many, refused.
//!
//! A batch is a pure function of (source, view, seed, step, batch size): it depends neither on threads nor on the batches
//! before it. Only the refusal looks at the history.

#[cfg(test)]
mod tests;

use super::{BadSample, Counts, Order, Picture, PictureError, Sample, Source, View};
use crate::random::Rng;
use crate::{Error, Result};
use rayon::prelude::*;
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
    /// Which of the looks that the sample has for this loader ([`Loader::looks`]); `None` where it has another one every time.
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

/// Reads a source in a seeded order.
pub struct Loader<'a> {
    source: &'a dyn Source,
    name: PathBuf,
    view: View,
    target: usize,
    seed: u64,
    stream: String,
    max_bad: f64,
    views: usize,
    order: Order,
    counts: Counts,
}

/// Samples that are read at once at least, where it is not known how many of them can be used.
const FEW: usize = 20;
/// How many replacements are tried for one sample that cannot be used.
const REPLACEMENTS: u64 = 64;

/// A sample that was met: its place and what came of it.
type Met<T> = (usize, std::result::Result<T, BadSample>);
/// What is known of the sample at a place and in a look.
type Known<'a, T> = &'a (dyn Fn(usize, usize) -> Option<T> + Sync);

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
        let order = Order::new(seed, &format!("{stream}/order"), source.len());
        let (stream, counts) = (stream.to_owned(), Counts::default());
        Ok(Loader { source, name, view, target, seed, stream, max_bad, views: 0, order, counts })
    }

    /// With `views` fixed views of each picture where it is seen in random ones; 0: another one every time.
    pub fn with_views(self, views: usize) -> Self {
        Loader { views, ..self }
    }

    /// How many looks each sample has, where these are fixed: of one view, or of some, each apart for captions that let it be mirrored
    /// and for those that do not.
    pub fn looks(&self) -> Option<usize> {
        match (self.view.is_fixed(), self.views) {
            (true, _) => Some(1),
            (false, 0) => None,
            (false, views) => Some(2 * views),
        }
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
        self.met(step, batch, |loader, index, rng| loader.read(index, rng, true))
    }

    /// The same batch, in which no picture is decoded of which `known` knows something by its place and its look.
    ///
    /// # Errors
    /// Those of [`Loader::batch`].
    pub fn batch_beside<T: Send>(&mut self, step: u64, batch: usize, known: Known<'_, T>) -> Result<Vec<Seen<T>>> {
        self.met(step, batch, |loader, index, rng| match loader.known(index, rng.clone(), known) {
            Some(seen) => Ok(seen),
            None => loader.read(index, rng, true).map(Seen::Read),
        })
    }

    /// The `batch` samples of `step` as `read` reads them.
    fn met<T: Send>(
        &mut self,
        step: u64,
        batch: usize,
        read: impl Fn(&Self, usize, &mut Rng) -> std::result::Result<T, BadSample> + Sync,
    ) -> Result<Vec<T>> {
        let first = step * batch as u64;
        let met: Vec<Vec<Met<T>>> =
            (first..first + batch as u64).into_par_iter().map(|position| self.example(position, &read)).collect();
        let examples = self.count(met.into_iter().flatten());
        self.check()?;
        if examples.len() < batch { Err(self.refuse("no good sample to put in its place")) } else { Ok(examples) }
    }

    /// The sample at `index` in each of its looks, as far as it has captions for them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn all_looks(&self, index: usize) -> std::result::Result<Vec<Example>, BadSample> {
        let Sample { key, picture, captions } = self.source.get(index)?;
        let mut found: Vec<Example> = Vec::new();
        for caption in captions {
            for view in 0..self.looks().map_or(0, |looks| looks.div_ceil(2)) {
                let (look, mut rng) = self.look(index, &caption, view);
                if found.iter().any(|example| example.look == Some(look)) {
                    continue;
                }
                let picture =
                    self.view.apply(&picture, &caption, self.target, &mut rng).map_err(|error| error.of(&key))?;
                found.push(Example { index, key: key.clone(), picture, caption: caption.clone(), look: Some(look) });
            }
        }
        Ok(found)
    }

    /// `limit` usable samples of the source, or all where there are fewer, each with its first caption: for evaluation. They
    /// are spread over the source, whose order may group its pictures; fewer of them are the first of more.
    ///
    /// # Errors
    /// [`Error::Data`] if the share of broken samples is above the limit, or no sample can be used.
    pub fn spread(&mut self, limit: usize) -> Result<Vec<Example>> {
        let order = Rng::new(self.seed, "data/spread", 0, 0).permutation(self.source.len());
        let (mut examples, mut rest) = (Vec::new(), order.as_slice());
        while examples.len() < limit && !rest.is_empty() {
            let (some, others) = rest.split_at(rest.len().min(FEW.max(limit - examples.len())));
            let read = |&index: &usize| {
                (index, self.read(index, &mut Rng::new(self.seed, &self.stream, 0, index as u64), false))
            };
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

    /// What is met at `position`: the example comes last.
    fn example<T>(
        &self,
        position: u64,
        read: impl Fn(&Self, usize, &mut Rng) -> std::result::Result<T, BadSample>,
    ) -> Vec<Met<T>> {
        let mut met = Vec::new();
        for attempt in 0..=REPLACEMENTS {
            let mut rng = Rng::new(self.seed, &self.stream, position, attempt);
            let index = if attempt == 0 { self.order.at(position) } else { rng.below(self.source.len()) };
            met.push((index, read(self, index, &mut rng)));
            if met[met.len() - 1].1.is_ok() {
                break;
            }
        }
        met
    }

    fn read(&self, index: usize, rng: &mut Rng, any_caption: bool) -> std::result::Result<Example, BadSample> {
        let Sample { key, picture, captions } = self.source.get(index)?;
        let Some(caption) = chosen(captions, rng, any_caption) else {
            return Err(PictureError::new("no-caption", "expected at least one caption, got none").of(&key));
        };
        let mut own = self.drawn(index, &caption, rng);
        let (look, rng) = own.as_mut().map_or((None, rng), |(look, own)| (Some(*look), own));
        let picture = self.view.apply(&picture, &caption, self.target, rng).map_err(|error| error.of(&key))?;
        Ok(Example { index, key, picture, caption, look })
    }

    /// What is known of the sample at `index`, with the caption that [`Loader::read`] would take.
    fn known<T>(&self, index: usize, mut rng: Rng, known: Known<'_, T>) -> Option<Seen<T>> {
        self.looks()?;
        let caption = chosen(self.source.captions(index).ok()?, &mut rng, true)?;
        let (look, _) = self.drawn(index, &caption, &mut rng)?;
        Some(Seen::Known(known(index, look)?, caption))
    }

    /// The look in which the sample at `index` is seen this time, and what its view is drawn from; `None` where that is `rng` itself.
    fn drawn(&self, index: usize, caption: &str, rng: &mut Rng) -> Option<(usize, Rng)> {
        let looks = self.looks()?;
        let view = if looks > 1 { rng.below(self.views) } else { 0 };
        Some(self.look(index, caption, view))
    }

    /// A look of the sample at `index`.
    fn look(&self, index: usize, caption: &str, view: usize) -> (usize, Rng) {
        let look = if self.view.is_fixed() { 0 } else { 2 * view + usize::from(self.view.is_sided(caption)) };
        // Of no stage: all of them see the same views.
        (look, Rng::new(self.seed, "data/view", index as u64, view as u64))
    }

    /// Refuses a source with too many broken samples.
    fn check(&self) -> Result<()> {
        match self.counts.too_broken(self.max_bad, self.source.len()) {
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

/// One of the captions, the first where none is to be drawn.
fn chosen(captions: Vec<String>, rng: &mut Rng, any: bool) -> Option<String> {
    let chosen = if any && captions.len() > 1 { rng.below(captions.len()) } else { 0 };
    captions.into_iter().nth(chosen)
}
