//! Byte-level BPE on lower-cased text (section 2.2: 16,384 tokens, 10 % BPE dropout in training).
//!
//! Training, encoding and the file format are those of the `tokenizers` crate. BPE dropout (Provilkov et al. 2020,
//! arXiv 1910.13267, algorithm 1) is our own over the same merges, because that crate draws from a generator that cannot
//! be seeded.
//!
//! Legend: a *symbol* is one byte of UTF-8, written as the character that GPT-2 gives it; a *word* is a run of symbols
//! that no merge crosses (GPT-2's splitting: letters, digits or signs, with the space before them); a *merge* of *rank* r
//! joins two neighbouring tokens, lower ranks first; a *token* is a symbol or the result of a merge.

#[cfg(test)]
mod tests;
mod train;

use super::merge::{Merges, merge};
use crate::random::Rng;
use crate::{Error, Result, files};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{NormalizedString, Normalizer, PreTokenizedString, PreTokenizer};
use tokenizers::{OffsetReferential, OffsetType, TokenizerImpl};

/// The largest vocabulary that is trained or loaded; a guard against a typing error that fills the memory.
const LARGEST: usize = 1 << 20;

type Pipeline = TokenizerImpl<BPE, Lowercase, ByteLevel, ByteLevel, ByteLevel>;

/// A trained byte-level BPE.
///
/// With 300 tokens and more the vocabulary holds every byte, and any text comes back from its tokens, lower-cased
/// (character by character, so that a final sigma stays σ). A smaller one, for tests and toy data, holds `<unk>` and the
/// most frequent bytes of the data, at most three quarters of its size; other bytes become `<unk>`.
pub struct Bpe {
    pipeline: Pipeline,
    size: usize,
    symbols: HashMap<char, u32>,
    unknown: Option<u32>,
    merges: Merges,
}

/// The part of a `tokenizer.json` that differs from one BPE to the next.
#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    vocab: BTreeMap<String, u32>,
    merges: Vec<(String, String)>,
    unk_token: Option<String>,
}

impl Bpe {
    /// Reads what [`Bpe::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Data`] if it is not a tokenizer of this kind: broken JSON,
    /// another model, another pipeline, ids with gaps, or merges of unknown tokens.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = files::read(path, files::MOST_TEXT)?;
        let file: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|e| Error::data(path, format!("expected a tokenizer in JSON, got: {e}")))?;
        let model = Model::deserialize(&file["model"])
            .map_err(|e| Error::data(path, format!("expected a BPE model, got: {e}")))?;
        let bpe = Bpe::new(model).map_err(|what| Error::data(path, what))?;
        // Whatever else the file asks for (another normalizer, a prefix, added tokens) would be lost in silence.
        let ours = serde_json::to_value(&bpe.pipeline).map_err(|e| Error::data(path, e.to_string()))?;
        let settings = |tokenizer: &serde_json::Value| {
            let mut settings = tokenizer.as_object().cloned().unwrap_or_default();
            if let Some(model) = settings.get_mut("model").and_then(|model| model.as_object_mut()) {
                model.retain(|key, _| !["vocab", "merges"].contains(&key.as_str()));
            }
            settings
        };
        let found = settings(&file);
        for (part, expected) in settings(&ours) {
            if found.get(&part) != Some(&expected) {
                return Err(Error::data(path, format!("{part}: expected {expected}, got something else")));
            }
        }
        Ok(bpe)
    }

    /// Writes a `tokenizer.json` that the `tokenizers` crate reads too.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        files::write_atomic(path, self.json()?.as_bytes())
    }

    /// What [`Bpe::save`] writes.
    ///
    /// # Errors
    /// [`Error::Data`] for a tokenizer that JSON cannot hold; none is.
    pub fn json(&self) -> Result<String> {
        self.pipeline.to_string(false).map_err(|e| Error::data("tokenizer.json", e.to_string()))
    }

    /// The number of ids, those that are never produced included.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The tokens of `text`.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // Those of the `tokenizers` crate, whose own way takes time with the square of a word's length.
        words(text).iter().flat_map(|word| self.merge(word, || false)).collect()
    }

    /// The tokens of `text` where at every merge step each possible merge is skipped with probability `p`: at 0 those of
    /// [`Bpe::encode`], at 1 its single symbols.
    pub fn encode_dropout(&self, text: &str, p: f64, rng: &mut Rng) -> Vec<u32> {
        words(text).iter().flat_map(|word| self.merge(word, || rng.chance(p))).collect()
    }

    /// The text of `ids`; ids outside the vocabulary, such as pads, leave nothing, and bytes that are not UTF-8 become �.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.pipeline.decode(ids, false).unwrap_or_default()
    }

    /// The tokens of one word, in symbols; `skip` as in [`merge`].
    fn merge(&self, word: &str, skip: impl FnMut() -> bool) -> Vec<u32> {
        let symbols = word.chars().filter_map(|symbol| self.symbols.get(&symbol).copied().or(self.unknown));
        merge(symbols.collect(), &self.merges, skip)
    }

    /// Checks `model` and puts the pipeline around it; the error says what is wrong with it.
    fn new(model: Model) -> std::result::Result<Self, String> {
        let Model { kind, vocab, merges, unk_token } = model;
        if kind != "BPE" {
            return Err(format!("expected a BPE model, got {kind:?}"));
        }
        let size = vocab.len();
        let mut ids: Vec<u32> = vocab.values().copied().collect();
        ids.sort_unstable();
        if size > LARGEST || !ids.iter().enumerate().all(|(expected, &id)| id as usize == expected) {
            return Err(format!("vocab: expected each of the ids 0..{size} once (at most {LARGEST} of them)"));
        }
        let id = |token: &str| vocab.get(token).copied().ok_or_else(|| format!("token {token:?} is not in the vocab"));
        let mut ranks = Merges::with_capacity(merges.len());
        for (rank, (left, right)) in merges.iter().enumerate() {
            ranks.insert((id(left)?, id(right)?), (rank as u32, id(&format!("{left}{right}"))?));
        }
        let unknown = unk_token.as_deref().map(id).transpose()?;
        let symbol = |token: &str| {
            let mut characters = token.chars();
            characters.next().filter(|_| characters.next().is_none())
        };
        let symbols: HashMap<char, u32> = vocab.iter().filter_map(|(token, &id)| Some((symbol(token)?, id))).collect();
        if unknown.is_none() && ByteLevel::alphabet().iter().any(|byte| !symbols.contains_key(byte)) {
            return Err("expected all 256 bytes in the vocab, or an unk_token".into());
        }

        let builder = BPE::builder().vocab_and_merges(vocab.into_iter().collect::<HashMap<_, _, _>>(), merges);
        let builder = match unk_token {
            Some(unk_token) => builder.unk_token(unk_token),
            None => builder,
        };
        let mut pipeline = Pipeline::new(builder.build().map_err(|e| e.to_string())?);
        pipeline.with_normalizer(Some(Lowercase)).map_err(|e| e.to_string())?;
        pipeline.with_pre_tokenizer(Some(byte_level())).with_decoder(Some(byte_level()));
        Ok(Bpe { pipeline, size, symbols, unknown, merges: ranks })
    }
}

impl std::fmt::Debug for Bpe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bpe").field("vocab_size", &self.size).field("merges", &self.merges.len()).finish()
    }
}

/// Bytes as symbols, and GPT-2's words. No space is put in front, so that decoding gives the text back.
fn byte_level() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

/// The words of `text`, lower-cased and in symbols.
fn words(text: &str) -> Vec<String> {
    let split = || -> tokenizers::Result<Vec<String>> {
        let mut text = NormalizedString::from(text);
        Lowercase.normalize(&mut text)?;
        let mut pieces = PreTokenizedString::from(text);
        byte_level().pre_tokenize(&mut pieces)?;
        let words = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Ok(words.into_iter().map(|(word, ..)| word.to_owned()).collect())
    };
    // Neither step has a case that fails; their traits only allow for one.
    split().unwrap_or_default()
}
