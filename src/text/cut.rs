//! How many captions are longer than a model reads.

use std::fmt::{self, Display, Formatter};

/// Captions, and those of them that are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    room: usize,
    captions: usize,
    cut: usize,
    longest: usize,
}

impl Cut {
    /// None yet, of a model that reads `room` tokens of a caption.
    pub fn new(room: usize) -> Self {
        Cut { room, captions: 0, cut: 0, longest: 0 }
    }

    /// Those of so many tokens.
    pub fn of(room: usize, lengths: impl Iterator<Item = usize>) -> Self {
        let mut cut = Cut::new(room);
        lengths.for_each(|tokens| cut.add(tokens));
        cut
    }

    /// One more caption, of so many tokens.
    pub fn add(&mut self, tokens: usize) {
        self.captions += 1;
        self.cut += usize::from(tokens > self.room);
        self.longest = self.longest.max(tokens);
    }

    /// Whether any was cut.
    pub fn any(&self) -> bool {
        self.cut > 0
    }

    /// Captions.
    pub fn captions(&self) -> usize {
        self.captions
    }

    /// The share of them that is cut.
    pub fn share(&self) -> f64 {
        self.cut as f64 / self.captions.max(1) as f64
    }

    /// Tokens of the longest.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Tokens that the model reads.
    pub fn room(&self) -> usize {
        self.room
    }

    /// For `run.json` and others.
    pub fn to_json(self) -> serde_json::Value {
        let Cut { room, captions, cut, longest } = self;
        serde_json::json!({"captions": captions, "cut": cut, "tokens_read": room, "longest": longest})
    }
}

impl Display for Cut {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Cut { room, captions, cut, longest } = self;
        write!(f, "{cut} of {captions} captions are cut to the {room} tokens that the model reads (longest: {longest})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_that_just_fits_is_not_cut() {
        let cut = Cut::of(3, [1, 3, 4, 9].into_iter());
        assert_eq!(cut.to_string(), "2 of 4 captions are cut to the 3 tokens that the model reads (longest: 9)");
        assert!(cut.any() && cut.share() == 0.5 && !Cut::of(3, [3, 0].into_iter()).any());
    }
}
