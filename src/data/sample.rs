//! One picture with its captions, or why there is none.

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
