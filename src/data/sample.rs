//! One picture with its captions, and the trait of everything that yields them.

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
    /// "decode", "too-small", "too-large", "aspect", "no-caption", "no-picture".
    pub reason: &'static str,
    /// What exactly was wrong.
    pub detail: String,
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
}
