//! OpenAI CLIP's byte-level BPE (`clip/simple_tokenizer.py` at openai/CLIP d05afc43), from its published merges.
//!
//! It differs from [`Bpe`](super::Bpe) in what a word is (one digit each, no space before it) and in that a word's last
//! symbol carries `</w>`. The ids: 256 bytes, the same as last symbols, one for each merge, start of text, end of text.
//!
//! The original repairs text with the library ftfy before anything else (mojibake, full-width letters, ligatures, curly
//! quotes, control characters); that is left out here, so such captions keep what they hold.

use super::ClipVocab;
use super::html::unescape;
use super::merge::{Merges, merge};
use crate::{Error, Result, files};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};
use tokenizers::{OffsetReferential, OffsetType};

/// The merges that CLIP reads of its file, which holds more.
const MERGES: usize = 49_152 - 256 - 2;
/// A guard: the published file has 3 MB when unpacked.
const LARGEST: u64 = 16 << 20;
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
const LAST: &str = "</w>";
/// What a word is; letters and digits are Unicode's.
const WORD: &str = r"(?i:<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// CLIP's tokenizer.
pub struct ClipBpe {
    words: Split,
    merges: Merges,
    /// The text of each id, in symbols.
    tokens: Vec<String>,
    /// The id of each byte.
    ids: [u32; 256],
    bytes: HashMap<char, u8>,
}

impl ClipBpe {
    /// Reads `bpe_simple_vocab_16e6.txt.gz` as OpenAI published it, packed or not.
    ///
    /// # Errors
    /// [`Error::Data`] if the file cannot be read, does not unpack, or does not hold a line of version
    /// and then merges of two known tokens each.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = files::read(path, files::MOST_TEXT)?;
        let mut text = String::new();
        let read = if file.starts_with(&[0x1f, 0x8b]) {
            flate2::read::GzDecoder::new(file.as_slice()).take(LARGEST).read_to_string(&mut text)
        } else {
            file.as_slice().take(LARGEST).read_to_string(&mut text)
        };
        read.map_err(|e| Error::data(path, format!("expected a text of merges: {e}")))?;
        ClipBpe::parse(&text).map_err(|what| Error::data(path, what))
    }

    /// From the text of the file; the error says what is wrong with it.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let symbols = symbols();
        let first = symbols.iter().filter(|&&c| c < '\u{100}').chain(symbols.iter().filter(|&&c| c >= '\u{100}'));
        let mut tokens: Vec<String> = first.map(|&symbol| symbol.to_string()).collect();
        tokens.extend_from_within(..);
        tokens[256..].iter_mut().for_each(|token| token.push_str(LAST));
        let mut merges = Vec::new();
        for (line, merge) in (2..).zip(text.lines().skip(1).take(MERGES)) {
            let (left, right) = merge
                .split_once(' ')
                .filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '))
                .ok_or_else(|| format!("line {line}: expected two tokens and a space between them, got {merge:?}"))?;
            tokens.push(format!("{left}{right}"));
            merges.push((left.to_owned(), right.to_owned()));
        }
        if merges.is_empty() {
            return Err("expected a line of version and then merges, got none".into());
        }
        tokens.extend([START, END].map(String::from));
        let ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
        if ids.len() != tokens.len() {
            return Err("expected each merge to make a token of its own, got one twice".into());
        }
        let unknown = |token: &&String| !ids.contains_key(*token);
        if let Some(token) = merges.iter().flat_map(|(left, right)| [left, right]).find(unknown) {
            return Err(format!("merges: token {token:?} is not made by any merge"));
        }
        let ranked = |(rank, (left, right)): (u32, &(String, String))| ((ids[left], ids[right]), (rank, 512 + rank));
        let ranked: Merges = (0..).zip(&merges).map(ranked).collect();
        let bytes = symbols.map(|symbol| ids[&symbol.to_string()]);
        let words = Split::new(SplitPattern::Regex(WORD.into()), SplitDelimiterBehavior::Removed, true);
        Ok(ClipBpe {
            words: words.map_err(|e| e.to_string())?,
            merges: ranked,
            ids: bytes,
            tokens,
            bytes: symbols.iter().copied().zip(0..=255).collect(),
        })
    }

    /// The number of ids, start and end of text included: 49,408 for the published merges.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// How ids are laid into `context` slots.
    pub fn slots(&self, context: usize) -> ClipVocab {
        ClipVocab { bpe: self.vocab_size() - 2, context }
    }

    /// The ids of `text`, cleaned, without start and end.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.split(&clean(text)).iter().flat_map(|word| self.word(word)).collect()
    }

    /// Exactly `context` ids (77 in every published model): start, those of `text`, end, zeros. To cut a text that is too
    /// long instead, lay [`encode`](Self::encode)'s ids into [`slots`](Self::slots).
    ///
    /// # Errors
    /// [`Error::Usage`] if the text does not fit.
    pub fn tokenize(&self, text: &str, context: usize) -> Result<Vec<u32>> {
        let ids = self.encode(text);
        if ids.len() + 2 > context {
            let got = ids.len();
            return Err(Error::Usage(format!(
                "caption {text:?}: expected at most {context} tokens, got {got} and two"
            )));
        }
        Ok(self.slots(context).fill(&ids))
    }

    /// The text of `ids`: a space after every word, which the text need not have had. Bytes that are not UTF-8 become �;
    /// ids outside the vocabulary leave nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        let tokens = ids.iter().filter_map(|&id| self.tokens.get(id as usize));
        let bytes: Vec<u8> =
            tokens.flat_map(|token| token.chars()).filter_map(|c| self.bytes.get(&c).copied()).collect();
        String::from_utf8_lossy(&bytes).replace(LAST, " ")
    }

    fn split(&self, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        // The pattern has nothing to backtrack over: matching does not fail.
        if self.words.pre_tokenize(&mut pieces).is_err() {
            return Vec::new();
        }
        let words = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
        words.into_iter().map(|(word, ..)| word.to_owned()).collect()
    }

    fn word(&self, word: &str) -> Vec<u32> {
        match word {
            START => vec![self.tokens.len() as u32 - 2],
            END => vec![self.tokens.len() as u32 - 1],
            _ => {
                let mut ids: Vec<u32> = word.bytes().map(|byte| self.ids[usize::from(byte)]).collect();
                if let Some(last) = ids.last_mut() {
                    *last += 256; // the same symbol as a word's last
                }
                merge(ids, &self.merges, || false)
            }
        }
    }
}

impl std::fmt::Debug for ClipBpe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipBpe").field("vocab_size", &self.vocab_size()).finish()
    }
}

/// CLIP's cleaning but for ftfy: character references twice, every run of white space as one space, lower case.
pub fn clean(text: &str) -> String {
    let text = unescape(&unescape(text));
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The character that stands for each byte: itself where it prints, else one from U+0100 on.
fn symbols() -> [char; 256] {
    let mut others = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        byte @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) => char::from(byte),
        _ => others.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "#version: 0.2\nc a\nca t</w>\n";

    #[test]
    fn a_handful_of_merges() {
        let bpe = ClipBpe::parse(TEXT).unwrap();
        assert_eq!(bpe.vocab_size(), 256 + 256 + 2 + 2);
        // "!" is the first printing byte, so its id is 0, and "a" is 64; 256 more as a word's last symbol.
        assert_eq!(bpe.encode("Cat  CA !a"), [513, 66, 256 + 64, 256, 256 + 64]);
        assert_eq!(bpe.encode("cats"), [512, 83, 256 + 82]);
        assert_eq!(bpe.decode(&bpe.encode("cats & CATS")), "cats & cats ");
        assert_eq!(bpe.tokenize("cat", 4).unwrap(), [514, 513, 515, 0]);
        assert!(matches!(bpe.tokenize("cat cat cat", 4), Err(Error::Usage(_))));
        assert_eq!(bpe.encode("a<|StartOfText|>"), [320, 514]);
    }

    #[test]
    fn files_that_are_no_merges_are_refused() {
        let errors = [
            ("", "got none"),
            ("#version\n", "got none"),
            ("#version\na b c\n", "line 2: expected two tokens"),
            ("#version\nab c\n", "token \"ab\" is not made"),
            ("#version\na b\na b\n", "got one twice"),
        ];
        for (text, expected) in errors {
            let error = ClipBpe::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn cleaning_unescapes_twice_and_collapses_space() {
        assert_eq!(clean("  A &amp;lt; B\t\u{a0}\u{3000}c\n"), "a < b c");
    }
}
