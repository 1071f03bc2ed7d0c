//! The text slots of a transformer: caption tokens, then a pad of its own for each unused slot (section 2.2).
//!
//! Legend: ids `0..bpe` are BPE tokens, id `bpe + j` is the pad of slot `j`, for `slots` slots.
//!
//! The paper learns a separate pad for every text position instead of masking unused slots. It leaves open whether the
//! pads lie inside the 16,384 ids and whether they count in the loss; here they follow the BPE's ids and are tokens like
//! any other, as in the open re-implementations.

use super::Bpe;
use crate::{Error, Result};
use std::path::Path;

/// The ids of the text slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextVocab {
    /// The number of BPE tokens; 16,384 in the paper.
    pub bpe: usize,
    /// The number of text slots; 256 in the paper.
    pub slots: usize,
}

impl TextVocab {
    /// Whether `bpe`, which lies at `path`, has no token that the models have no row for.
    ///
    /// # Errors
    /// [`Error::Data`] with both numbers.
    pub fn admits(self, bpe: &Bpe, path: impl AsRef<Path>) -> Result<()> {
        let (size, most) = (bpe.vocab_size(), self.bpe);
        if size <= most {
            return Ok(());
        }
        Err(Error::data(path, format!("expected a tokenizer of at most {most} tokens, got {size}: is it this run's?")))
    }

    /// The number of text ids: BPE tokens and pads.
    pub const fn size(self) -> usize {
        self.bpe + self.slots
    }

    /// The pad of `slot`.
    pub const fn pad(self, slot: usize) -> u32 {
        (self.bpe + slot) as u32
    }

    /// How many tokens of a caption are read.
    pub const fn room(self) -> usize {
        self.slots.saturating_sub(1)
    }

    /// Exactly `slots` ids: the caption's first `slots − 1` tokens, then the pads of the remaining slots. `ids` are BPE
    /// tokens, below `bpe`; no token at all gives the empty caption of classifier-free guidance.
    ///
    /// The last slot is a pad even if the caption is longer. The transformer reads the sequence shifted by one, with a
    /// start-of-text in front, and where the image begins it reads start-of-image in place of the last text slot: a
    /// token there would be predicted but never read, so it could not steer the image.
    pub fn fill(self, ids: &[u32]) -> Vec<u32> {
        let kept = ids.len().min(self.room());
        ids[..kept].iter().copied().chain((kept..self.slots).map(|slot| self.pad(slot))).collect()
    }

    /// The slots of a caption that a user typed.
    ///
    /// # Errors
    /// [`Error::Usage`] if the caption is empty or only white space.
    pub fn prompt(self, bpe: &Bpe, caption: &str) -> Result<Vec<u32>> {
        if caption.trim().is_empty() {
            return Err(Error::Usage(format!("caption {caption:?} is empty: expected at least one word")));
        }
        Ok(self.fill(&bpe.encode(caption)))
    }
}

/// The ids of CLIP's text slots: BPE tokens, then start and end of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipVocab {
    /// The number of BPE tokens.
    pub bpe: usize,
    /// Slots, start and end included.
    pub context: usize,
}

impl ClipVocab {
    /// How many tokens of a caption are read.
    pub const fn room(self) -> usize {
        self.context.saturating_sub(2)
    }

    /// Exactly `context` ids: start, as many tokens as fit, end, then zeros. The end has the largest id: the tower reads its
    /// feature there.
    pub fn fill(self, ids: &[u32]) -> Vec<u32> {
        let kept = ids.len().min(self.room());
        let mut slots = vec![self.bpe as u32];
        slots.extend(&ids[..kept]);
        slots.push(self.bpe as u32 + 1);
        slots.resize(self.context, 0);
        slots
    }

    /// The slots of captions, one after the other.
    pub fn slots<'c>(self, bpe: &Bpe, captions: impl IntoIterator<Item = &'c str>) -> Vec<u32> {
        captions.into_iter().flat_map(|caption| self.fill(&bpe.encode(caption))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCAB: TextVocab = TextVocab { bpe: 100, slots: 4 };

    #[test]
    fn clips_slots_begin_with_start_and_keep_the_end() {
        let vocab = ClipVocab { bpe: 10, context: 5 };
        assert_eq!(vocab.fill(&[3]), [10, 3, 11, 0, 0]);
        assert_eq!(vocab.fill(&[1, 2, 3, 4, 5]), [10, 1, 2, 3, 11]);
    }

    #[test]
    fn every_slot_has_its_own_pad_and_the_last_is_always_one() {
        assert_eq!(VOCAB.size(), 104);
        assert_eq!(VOCAB.fill(&[]), [100, 101, 102, 103]);
        assert_eq!(VOCAB.fill(&[7, 8]), [7, 8, 102, 103]);
        assert_eq!(VOCAB.fill(&[7, 8, 9]), [7, 8, 9, 103]);
        assert_eq!(VOCAB.fill(&[7, 8, 9, 10, 11]), [7, 8, 9, 103]);
        assert!(TextVocab { bpe: 5, slots: 0 }.fill(&[1]).is_empty());
    }

    #[test]
    fn an_empty_prompt_is_refused() {
        let bpe = Bpe::train(["a red circle".to_owned()].into_iter(), 64).unwrap();
        let vocab = TextVocab { bpe: 64, slots: 32 };
        for caption in ["", "  \n\t"] {
            assert!(matches!(vocab.prompt(&bpe, caption), Err(Error::Usage(_))));
        }
        let slots = vocab.prompt(&bpe, "A red circle").unwrap();
        assert_eq!(slots.len(), 32);
        assert_eq!(bpe.decode(&slots), "a red circle");
    }
}
