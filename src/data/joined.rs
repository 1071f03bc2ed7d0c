//! Sources one after the other, and a part of one.

use super::{BadSample, Sample, Source, Tally, Trace};
use crate::random::Rng;
use crate::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// Sources one after the other. A sample's place here is what it is known by: keys may repeat.
pub struct Joined {
    sources: Vec<Box<dyn Source>>,
    /// The place of each source's first sample, then the number of all.
    starts: Vec<usize>,
    left_out: Tally,
}

impl Joined {
    /// Those sources, in order. `left_out` is what is known to be left out besides what they say.
    pub fn new(sources: Vec<Box<dyn Source>>, mut left_out: Tally) -> Self {
        let mut starts = vec![0];
        for source in &sources {
            starts.push(starts[starts.len() - 1] + source.len());
            left_out.merge(&source.left_out());
        }
        Joined { sources, starts, left_out }
    }

    /// The source of a sample, and its place there.
    fn find(&self, index: usize) -> (&dyn Source, usize) {
        let at = self.starts.partition_point(|&start| start <= index) - 1;
        (self.sources[at].as_ref(), index - self.starts[at])
    }
}

impl Source for Joined {
    fn len(&self) -> usize {
        self.starts[self.sources.len()]
    }

    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
        let (source, index) = self.find(index);
        source.get(index)
    }

    fn captions(&self, index: usize) -> std::result::Result<Vec<String>, BadSample> {
        let (source, index) = self.find(index);
        source.captions(index)
    }

    fn trace(&self, index: usize, whole: bool, trace: &mut Trace) {
        let (source, index) = self.find(index);
        source.trace(index, whole, trace);
    }

    fn left_out(&self) -> Tally {
        self.left_out.clone()
    }
}

/// Some samples of a source.
pub struct Part {
    whole: Arc<dyn Source>,
    indices: Vec<usize>,
}

impl Source for Part {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
        self.whole.get(self.indices[index])
    }

    fn captions(&self, index: usize) -> std::result::Result<Vec<String>, BadSample> {
        self.whole.captions(self.indices[index])
    }

    fn trace(&self, index: usize, whole: bool, trace: &mut Trace) {
        self.whole.trace(self.indices[index], whole, trace);
    }

    fn left_out(&self) -> Tally {
        self.whole.left_out()
    }
}

/// Takes a seeded `share` of the samples out of `whole`, at least one and never all: (what stays, what was taken), both in
/// the order of `whole`. Where none of them is `usable` more are taken, until one is.
///
/// # Errors
/// [`Error::Data`] naming `name` if there are fewer than two samples.
pub fn hold_out(
    whole: Box<dyn Source>,
    name: &Path,
    (share, seed): (f64, u64),
    usable: &dyn Fn(&dyn Source, usize) -> bool,
) -> Result<(Part, Part)> {
    let len = whole.len();
    if len < 2 {
        let what = format!("expected at least two samples, one to train on and one to hold out, got {len}");
        return Err(Error::data(name, what));
    }
    let mut taken = Rng::new(seed, "data/held-out", 0, 0).permutation(len);
    let first = taken.iter().take(1024).position(|&index| usable(whole.as_ref(), index)).unwrap_or(0);
    let count = ((len as f64 * share).round() as usize).max(first + 1).clamp(1, len - 1);
    let mut stays = taken.split_off(count);
    taken.sort_unstable();
    stays.sort_unstable();
    let whole: Arc<dyn Source> = whole.into();
    Ok((Part { whole: whole.clone(), indices: stays }, Part { whole, indices: taken }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Picture, PictureError};
    use proptest::{collection::vec, prop_assert, prop_assert_eq, proptest};

    /// Samples that all have the same key, each with a number of its own.
    struct Numbers(usize, usize);

    impl Source for Numbers {
        fn len(&self) -> usize {
            self.1
        }

        fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
            let caption = (self.0 + index).to_string();
            Ok(Sample {
                key: "same".into(),
                picture: Picture { width: 1, height: 1, rgb: vec![0; 3] },
                captions: vec![caption],
            })
        }

        fn left_out(&self) -> Tally {
            let mut tally = Tally::default();
            tally.add(&PictureError::new("loop", "again").of("folder"));
            tally
        }
    }

    fn joined(lens: &[usize]) -> Joined {
        let mut start = 0;
        let each = |&len: &usize| {
            start += len;
            Box::new(Numbers(start - len, len)) as Box<dyn Source>
        };
        Joined::new(lens.iter().map(each).collect(), Tally::default())
    }

    fn number(source: &dyn Source, index: usize) -> usize {
        assert_eq!(source.captions(index).unwrap(), source.get(index).unwrap().captions);
        source.get(index).unwrap().captions[0].parse().unwrap()
    }

    proptest! {
        #[test]
        fn a_place_in_the_joined_source_is_one_sample(lens in vec(0usize..5, 0..6)) {
            let joined = joined(&lens);
            prop_assert_eq!(joined.len(), lens.iter().sum::<usize>());
            prop_assert!((0..joined.len()).all(|index| number(&joined, index) == index));
            prop_assert_eq!(joined.left_out().total(), lens.len());
        }

        #[test]
        fn every_sample_is_either_held_out_or_stays(len in 2usize..60, share in 0.0f64..1.0, seed: u64) {
            let whole = || Box::new(joined(&[len / 2, len - len / 2]));
            let split = || hold_out(whole(), Path::new("x"), (share, seed), &|_, _| true).unwrap();
            let numbers = |part: &Part| (0..part.len()).map(|index| number(part, index)).collect::<Vec<_>>();
            let (stays, taken) = split();
            let (stays, taken) = (numbers(&stays), numbers(&taken));
            prop_assert!(!stays.is_empty() && !taken.is_empty());
            prop_assert!((taken.len() as f64 - len as f64 * share).abs() <= 1.0);
            let mut all = [stays, taken.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..len).collect::<Vec<_>>());
            prop_assert_eq!(numbers(&split().1), taken);
        }
    }

    #[test]
    fn one_sample_cannot_be_split() {
        let error = hold_out(Box::new(Numbers(0, 1)), Path::new("pictures"), (0.5, 0), &|_, _| true).err().unwrap();
        assert_eq!((error.exit_code(), error.to_string().contains("pictures")), (4, true));
    }

    #[test]
    fn another_seed_holds_out_others() {
        let taken = |seed| {
            let (_, part) = hold_out(Box::new(Numbers(0, 100)), Path::new("x"), (0.2, seed), &|_, _| true).unwrap();
            part.indices
        };
        assert_ne!(taken(0), taken(1));
        // Only sample 7 can be used: it is held out, and with it all that come before it.
        let (_, part) = hold_out(Box::new(Numbers(0, 100)), Path::new("x"), (0.0, 3), &|_, index| index == 7).unwrap();
        assert!(part.indices.contains(&7));
    }
}
