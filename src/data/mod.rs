//! Pairs of pictures and captions: where they come from, how they are augmented, in what order they are seen.

pub mod sample;

pub use sample::{BadSample, Picture, Sample, Source};
