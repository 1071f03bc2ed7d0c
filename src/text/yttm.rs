//! YouTokenToMe's BPE, of ruDALL-E's published `bpe.model`: a text file with an id for each character, merges of two ids
//! into a third, and the ids of the special tokens.
//!
//! Every word begins with ▁. Of all merges that apply to a word the earliest in the file comes first, and of its places the
//! leftmost. Characters that the file does not know become one unknown token, as many as stand together.

use super::merge::{Merges, merge};
use crate::{Error, Result, files};
use std::collections::HashMap;
use std::path::Path;

/// What a word begins with.
const SPACE: char = '\u{2581}';
/// What fills the slots after a text, whatever the file calls its pad: the model knows the slot by it.
const PAD: u32 = 0;
/// A guard: the published file has 16,384 tokens.
const MOST: usize = 1 << 20;

/// The tokenizer.
#[derive(Debug, Clone)]
pub struct Yttm {
    characters: HashMap<char, u32>,
    /// Of two ids: which merge of the file it is, and the id that it makes.
    merges: Merges,
    unknown: u32,
    start: u32,
    end: u32,
}

impl Yttm {
    /// Reads `bpe.model`.
    ///
    /// # Errors
    /// [`Error::Data`] where it is none or cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = files::read(path, files::MOST_TEXT)?;
        let text = String::from_utf8(bytes).map_err(|_| Error::data(path, "expected a text of numbers"))?;
        Yttm::parse(&text).map_err(|what| Error::data(path, what))
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut numbers = text.split_ascii_whitespace();
        let mut next = |what: &str| -> std::result::Result<u32, String> {
            let word = numbers.next().ok_or_else(|| format!("expected {what}, the file ends"))?;
            word.parse().map_err(|_| format!("expected {what}, got {word:?}"))
        };
        let (characters, merges) = (next("the number of characters")? as usize, next("the number of merges")? as usize);
        if characters > MOST || merges > MOST {
            return Err(format!("expected at most {MOST} characters and merges, got {characters} and {merges}"));
        }
        let mut known = HashMap::new();
        for _ in 0..characters {
            let code = next("a character")?;
            let character = char::from_u32(code).ok_or_else(|| format!("expected a character, got {code}"))?;
            known.insert(character, next("a character's id")?);
        }
        if !known.contains_key(&SPACE) {
            return Err(format!("expected an id for {SPACE}, which begins each word"));
        }
        let mut table = HashMap::new();
        for rank in 0..merges as u32 {
            let pair = (next("a merge")?, next("a merge")?);
            table.entry(pair).or_insert((rank, next("a merge")?));
        }
        let [unknown, _, start, end] =
            [next("a special id")?, next("a special id")?, next("a special id")?, next("a special id")?];
        Ok(Yttm { characters: known, merges: table, unknown, start, end })
    }

    /// One more than the largest id that a text can have.
    pub fn vocabulary(&self) -> usize {
        let made = self.merges.values().map(|&(_, id)| id);
        let all = self.characters.values().copied().chain(made).chain([self.unknown, self.start, self.end]);
        all.max().map_or(0, |largest| largest as usize + 1)
    }

    /// The ids of `text`, without start and end.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let is_space = |c: char| c == SPACE || c.is_ascii_whitespace() || c == '\u{b}';
        text.split(is_space).filter(|word| !word.is_empty()).flat_map(|word| self.word(word)).collect()
    }

    /// Exactly `slots` ids, as ruDALL-E lays them: start, those of the lower-cased text, end, pads; cut where they are more.
    ///
    /// # Errors
    /// [`Error::Usage`] if the caption is empty or only white space.
    pub fn prompt(&self, caption: &str, slots: usize) -> Result<Vec<u32>> {
        if caption.trim().is_empty() {
            return Err(Error::Usage(format!("caption {caption:?} is empty: expected at least one word")));
        }
        let mut ids = vec![self.start];
        ids.extend(self.encode(&caption.to_lowercase()));
        ids.push(self.end);
        ids.resize(slots, PAD);
        Ok(ids)
    }

    fn word(&self, word: &str) -> Vec<u32> {
        let mut ids = vec![self.characters[&SPACE]];
        let mut known = true;
        for character in word.chars() {
            match self.characters.get(&character) {
                Some(&id) => ids.push(id),
                None if known => ids.push(self.unknown),
                None => {}
            }
            known = self.characters.contains_key(&character);
        }
        merge(ids, &self.merges, || false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ▁ a b c; "▁a", "bc", "▁abc", and "ab", which comes too late for "abc".
    const TEXT: &str = "4 4\n9601 4\n97 5\n98 6\n99 7\n4 5 8\n6 7 9\n8 9 10\n5 6 11\n1 0 2 3\n";

    #[test]
    fn earlier_merges_come_first() {
        let bpe = Yttm::parse(TEXT).unwrap();
        assert_eq!(bpe.vocabulary(), 12);
        assert_eq!(bpe.encode("abc"), [10]);
        assert_eq!(bpe.encode("  ab\tcab "), [8, 6, 4, 7, 11]);
        assert_eq!(bpe.encode("a▁b"), [8, 4, 6]);
        assert_eq!(bpe.encode("aзжb"), [8, 1, 6]);
        assert!(bpe.encode(" \n").is_empty());
    }

    #[test]
    fn prompts_are_laid_into_slots() {
        let bpe = Yttm::parse(TEXT).unwrap();
        assert_eq!(bpe.prompt(" ABC", 5).unwrap(), [2, 10, 3, 0, 0]);
        assert_eq!(bpe.prompt("b b b", 4).unwrap(), [2, 4, 6, 4]);
        assert!(matches!(bpe.prompt(" ", 4), Err(Error::Usage(_))));
    }

    #[test]
    fn files_that_are_no_models_are_refused() {
        let errors = [
            ("", "expected the number of characters, the file ends"),
            ("x 1", "expected the number of characters, got \"x\""),
            ("4000000000 1", "at most"),
            ("1 0\n55296 4\n1 0 2 3", "expected a character, got 55296"),
            ("1 0\n97 4\n1 0 2 3", "expected an id for ▁"),
            ("1 1\n9601 4\n4 4", "expected a merge, the file ends"),
            ("1 0\n9601 4\n1 0 2", "expected a special id"),
        ];
        for (text, expected) in errors {
            let error = Yttm::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
