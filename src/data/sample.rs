//! One picture with its captions, and the trait of everything that yields them.

use super::Tally;

/// An 8-bit RGB picture, row-major, three bytes a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `3 · width · height` bytes.
    pub rgb: Vec<u8>,
}

/// A picture with its captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The name in its source: a file's stem, a shard's key.
    pub key: String,
    /// The picture as stored.
    pub picture: Picture,
    /// At least one caption, as written.
    pub captions: Vec<String>,
}

/// Why a sample was skipped. `reason` is one of a few fixed words, for counting; `detail` is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSample {
    /// The sample's name.
    pub key: String,
    /// Filtered: "too-small", "too-large", "aspect". Broken: "decode", "format", "no-caption", "no-picture", "encoding",
    /// "not-json", "captions-too-large", "dotted-name", "not-a-file", "unreadable".
    pub reason: &'static str,
    /// What exactly was wrong.
    pub detail: String,
}

impl BadSample {
    /// Whether the sample is whole and left out only for its size or shape.
    pub fn is_filtered(&self) -> bool {
        matches!(self.reason, "too-small" | "too-large" | "aspect")
    }
}

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
