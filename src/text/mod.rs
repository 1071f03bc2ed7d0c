//! From a caption to the text slots of a transformer: byte-level BPE, then a fixed number of slots.
//!
//! A caption is lower-cased and cut into BPE tokens ([`Bpe`]), with BPE dropout while training; [`TextVocab`] lays them
//! into the text slots and fills the rest with a pad of its own for each slot (arXiv 2102.12092, section 2.2).

mod bpe;
#[doc(hidden)]
pub mod clip_bpe;
mod cut;
mod html;
mod merge;
mod vocab;
mod yttm;

pub use bpe::Bpe;
pub use clip_bpe::ClipBpe;
pub use cut::Cut;
pub use vocab::{ClipVocab, TextVocab};
pub use yttm::Yttm;
