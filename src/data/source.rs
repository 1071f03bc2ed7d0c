//! The trait of everything that yields samples.

use super::{BadSample, Sample, Tally, Trace};

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

    /// What tells sample `index` from another, for a [`Fingerprint`](super::Fingerprint): its key and its files with their
    /// sizes, and where `whole` is asked for their bytes. Of a source that has no files: what [`Source::get`] says of it.
    fn trace(&self, index: usize, whole: bool, trace: &mut Trace) {
        if !whole {
            return;
        }
        match self.get(index) {
            Ok(Sample { key, picture, captions }) => {
                trace.fact("key", key.as_bytes());
                trace.fact("width", &picture.width.to_le_bytes());
                trace.fact("rgb", &picture.rgb);
                captions.iter().for_each(|caption| trace.fact("caption", caption.as_bytes()));
            }
            Err(bad) => trace.fact(bad.reason, bad.key.as_bytes()),
        }
    }

    /// What was found beside the samples and belongs to none: folders that cannot be listed, pictures that another one
    /// stands for.
    fn left_out(&self) -> Tally {
        Tally::default()
    }
}
