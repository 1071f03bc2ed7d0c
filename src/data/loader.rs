//! Batches: samples in their order, augmented, with those that cannot be used replaced and counted, and the broken ones, when
//! they are too many, refused.
//!
//! A batch is a pure function of (source, view, seed, step, batch size): it depends neither on threads nor on the batches
//! before it. Only the refusal looks at the history.

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
    order: Order,
    counts: Counts,
}

/// Samples that are read at once at least, where it is not known how many of them can be used.
const FEW: usize = 20;
/// How many replacements are tried for one sample that cannot be used.
const REPLACEMENTS: u64 = 64;

/// A sample that was read: its place and what came of it.
type Met = (usize, std::result::Result<Example, BadSample>);

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
        Ok(Loader { source, name, view, target, seed, stream, max_bad, order, counts })
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
        let first = step * batch as u64;
        let read: Vec<Vec<Met>> =
            (first..first + batch as u64).into_par_iter().map(|position| self.example(position)).collect();
        let examples = self.count(read.into_iter().flatten());
        self.check()?;
        if examples.len() < batch { Err(self.refuse("no good sample to put in its place")) } else { Ok(examples) }
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
            let read: Vec<Met> = some.par_iter().map(read).collect();
            examples.extend(self.count(read.into_iter()));
            self.check()?;
            rest = others;
        }
        examples.truncate(limit);
        if examples.is_empty() && limit > 0 { Err(self.refuse("expected at least one good one")) } else { Ok(examples) }
    }

    /// Counts what was met and gives what can be used.
    fn count(&mut self, met: impl Iterator<Item = Met>) -> Vec<Example> {
        let counts = &mut self.counts;
        met.filter_map(|(index, read)| {
            counts.add(index, read.as_ref().err());
            read.ok()
        })
        .collect()
    }

    /// What is met at `position`: the example comes last.
    fn example(&self, position: u64) -> Vec<Met> {
        let mut met = Vec::new();
        for attempt in 0..=REPLACEMENTS {
            let mut rng = Rng::new(self.seed, &self.stream, position, attempt);
            let index = if attempt == 0 { self.order.at(position) } else { rng.below(self.source.len()) };
            met.push((index, self.read(index, &mut rng, true)));
            if met[met.len() - 1].1.is_ok() {
                break;
            }
        }
        met
    }

    fn read(&self, index: usize, rng: &mut Rng, any_caption: bool) -> std::result::Result<Example, BadSample> {
        let Sample { key, picture, captions } = self.source.get(index)?;
        let chosen = if any_caption && captions.len() > 1 { rng.below(captions.len()) } else { 0 };
        let Some(caption) = captions.into_iter().nth(chosen) else {
            return Err(PictureError::new("no-caption", "expected at least one caption, got none").of(&key));
        };
        let picture = self.view.apply(&picture, &caption, self.target, rng).map_err(|error| error.of(&key))?;
        Ok(Example { index, key, picture, caption })
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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::data::{Crop, Flip};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    const VIEW: View = View { crop: Crop::Transformer, flip: Flip::Never };

    /// Sample i is a picture of grey level i; those in `broken` cannot be read, those in `small` are.
    #[derive(Default)]
    struct Greys {
        len: usize,
        broken: Vec<usize>,
        small: Vec<usize>,
    }

    impl Source for Greys {
        fn len(&self) -> usize {
            self.len
        }

        fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
            if self.broken.contains(&index) {
                return Err(PictureError::new("decode", "no picture").of(&index.to_string()));
            }
            let side = if self.small.contains(&index) { 3 } else { 4 };
            let picture = Picture { width: side, height: side, rgb: vec![index as u8; 3 * side * side] };
            Ok(Sample { key: index.to_string(), picture, captions: vec!["one".into(), "two".into()] })
        }
    }

    fn loader(source: &Greys, max_bad: f64) -> Loader<'_> {
        Loader::new(source, "greys", VIEW, 4, (5, "test"), max_bad).unwrap()
    }

    #[test]
    fn a_batch_depends_on_its_step_alone() {
        let source = Greys { len: 50, broken: vec![3, 17, 40], ..Greys::default() };
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
        let source = Greys { len: 12, ..Greys::default() };
        let mut keys: Vec<String> = loader(&source, 0.0).batch(1, 12).unwrap().into_iter().map(|e| e.key).collect();
        let order = Order::new(5, "test/order", 12);
        assert!(keys.iter().zip(12..).all(|(key, position)| *key == order.at(position).to_string()));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 12);
    }

    #[test]
    fn broken_samples_are_counted_once() {
        let source = Greys { len: 30, broken: vec![1, 2], small: vec![5] };
        let mut loader = loader(&source, 0.1);
        for step in 0..20 {
            loader.batch(step, 10).unwrap();
        }
        assert_eq!(loader.counts().broken.summary(), "2 decode");
        assert_eq!(loader.counts().filtered.summary(), "1 too-small");
        assert_eq!((loader.counts().seen(), loader.counts().used), (30, 27));
    }

    #[test]
    fn too_many_broken_samples_are_refused() {
        let refused = |len: usize, broken: usize, steps: u64| {
            let source = Greys { len, broken: (0..broken).collect(), ..Greys::default() };
            let mut loader = loader(&source, 0.1);
            let error = (0..steps).find_map(|step| loader.batch(step, 10).err());
            error.map(|error| (error.exit_code(), error.to_string()))
        };
        assert_eq!(refused(40, 4, 8), None);
        let (code, text) = refused(40, 5, 4).unwrap();
        assert_eq!(code, 4);
        assert!(
            text.starts_with("greys: 5 of 40 samples are broken (5 decode); data.max_bad is 0.1; first: "),
            "{text}"
        );
        assert!(refused(1000, 500, 2).is_some());
        assert!(refused(10, 10, 1).is_some());
        // After ten of a thousand nothing can be said yet.
        assert_eq!(refused(1000, 400, 1), None);
        assert!(Loader::new(&Greys::default(), "none", VIEW, 4, (0, ""), 0.1).is_err());
    }

    #[test]
    fn what_is_filtered_is_not_broken() {
        let source = Greys { len: 30, broken: vec![0], small: (1..20).collect() };
        let mut some = loader(&source, 0.1);
        (0..6).for_each(|step| assert_eq!(some.batch(step, 10).unwrap().len(), 10));
        assert_eq!(
            some.counts().summary(),
            "1 of 30 samples are broken (1 decode), 19 are filtered out (19 too-small)"
        );
        let all = Greys { len: 30, broken: vec![], small: (0..30).collect() };
        let error = loader(&all, 0.1).batch(0, 4).unwrap_err();
        assert!(error.exit_code() == 4 && error.to_string().contains("filtered out"), "{error}");
    }

    #[test]
    fn evaluation_is_spread_and_leaves_out() {
        let source = Greys { len: 300, broken: vec![1], ..Greys::default() };
        let indices = |limit| -> Vec<usize> {
            let mut loader = loader(&source, 0.1);
            let examples = loader.spread(limit).unwrap();
            assert!(examples.iter().all(|example| example.caption == "one"));
            examples.iter().map(|example| example.index).collect()
        };
        let (few, more, all) = (indices(30), indices(60), indices(400));
        assert_eq!(few, indices(30));
        assert_eq!(few, more[..few.len()]);
        assert!(few.iter().any(|&index| index < 100) && few.iter().any(|&index| index >= 200), "{few:?}");
        assert_eq!((all.len(), all.contains(&1)), (299, false));
        // Those that cannot be used make room for others.
        let mostly = Greys { len: 300, small: (0..290).collect(), ..Greys::default() };
        assert_eq!(loader(&mostly, 0.1).spread(10).unwrap().len(), 10);
        let mute = Greys { len: 4, broken: (0..4).collect(), ..Greys::default() };
        let error = loader(&mute, 1.0).spread(2).unwrap_err();
        assert!(error.exit_code() == 4 && error.to_string().contains("4 of 4 samples are broken"), "{error}");
    }

    proptest! {
        /// seen = used + filtered + broken holds by construction; that each number is right does not.
        #[test]
        fn every_sample_that_is_met_is_counted(len in 1usize..60, steps in 1u64..8, broken in 0usize..60, small in 0usize..60) {
            let broken: Vec<usize> = (0..broken.min(len)).collect();
            let small: Vec<usize> = (broken.len()..(broken.len() + small).min(len)).collect();
            let good = len - broken.len() - small.len();
            let source = Greys { len, broken, small };
            let mut loader = loader(&source, 1.0);
            let refused = (0..steps).any(|step| loader.batch(step, 8).is_err());
            let counts = loader.counts();
            prop_assert!(counts.used <= good && counts.seen() <= len);
            prop_assert!(counts.broken.total() <= source.broken.len());
            prop_assert!(counts.filtered.total() <= source.small.len());
            // Of few good ones none may be found in time.
            prop_assert!(refused || good > 0);
            prop_assert!(!refused || good * 4 < len);
            // One epoch meets every sample.
            if steps as usize * 8 >= len && !refused {
                let found = (counts.used, counts.filtered.total(), counts.broken.total());
                prop_assert_eq!(found, (good, source.small.len(), source.broken.len()));
            }
        }
    }
}
