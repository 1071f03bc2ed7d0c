//! The trait of everything that yields samples.

use super::{BadSample, Sample, Tally};

/// A finite, indexed collection of pairs; reading one never changes another, so any order and any thread will do.
pub trait Source: Send + Sync {
    /// How many samples there are, broken ones included.
    fn len(&self) -> usize;

    /// True where there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`, decoded; a broken one says why and is skipped and counted by the caller.
    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample>;

    /// The captions of sample `index`, without decoding its picture: what a tokenizer learns from.
    ///
    /// # Errors
    /// A sample that has no captions, or no picture to go with them.
    fn captions(&self, index: usize) -> std::result::Result<Vec<String>, BadSample> {
        self.get(index).map(|sample| sample.captions)
    }

    /// What was found beside the samples and belongs to none: folders that cannot be listed, pictures that another one
    /// stands for.
    fn left_out(&self) -> Tally {
        Tally::default()
    }
}
