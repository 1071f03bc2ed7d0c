//! How a vocabulary is learned: by the `tokenizers` crate's trainer, from counts that depend on no order.

use super::{Bpe, LARGEST, Model, words};
use crate::{Error, Result};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::AddedToken;

/// Below this size a vocabulary has no room for all 256 bytes and takes its alphabet from the data.
const ALL_BYTES_FROM: usize = 300;
/// Stands for the bytes that a small alphabet leaves out; its id is 0.
const UNKNOWN: &str = "<unk>";

impl Bpe {
    /// Learns a vocabulary of `vocab_size` tokens from `texts`. The result depends on the words and their counts only, not
    /// on the order of the texts. Pairs that occur once are not merged; where the texts support fewer merges than asked
    /// for, the remaining ids exist but are never produced.
    ///
    /// # Errors
    /// [`Error::Usage`] if the texts hold no word or `vocab_size` is not in 2..=2²⁰.
    pub fn train(texts: impl Iterator<Item = String>, vocab_size: usize) -> Result<Self> {
        if !(2..=LARGEST).contains(&vocab_size) {
            return Err(Error::Usage(format!("BPE vocabulary: expected 2 to {LARGEST} tokens, got {vocab_size}")));
        }
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for text in texts {
            for word in words(&text) {
                *counts.entry(word).or_default() += 1;
            }
        }
        if counts.is_empty() {
            return Err(Error::Usage("BPE vocabulary: the texts to learn it from hold no word".into()));
        }
        let small = vocab_size < ALL_BYTES_FROM;
        let alphabet = if small {
            frequent_symbols(&counts, (vocab_size * 3 / 4).max(1))
        } else {
            ByteLevel::alphabet().into_iter().collect()
        };
        // The alphabet is fixed here: where counts tie, the trainer's own limit depends on the order of a hash map.
        let trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(vocab_size)
            .min_frequency(2)
            .limit_alphabet(alphabet.len())
            .initial_alphabet(alphabet.into_iter().collect())
            .special_tokens(if small { vec![AddedToken::from(UNKNOWN, true)] } else { Vec::new() })
            .build();
        let mut learned = BPE::default();
        let counts = counts.iter().map(|(word, &count)| (word.as_str().into(), count)).collect();
        let problem = |what: &dyn std::fmt::Display| Error::Usage(format!("BPE vocabulary: {what}"));
        trainer.do_train(&counts, &mut learned).map_err(|e| problem(&e))?;

        let model = serde_json::to_value(&learned).map_err(|e| problem(&e))?;
        let mut model: Model = serde_json::from_value(model).map_err(|e| problem(&e))?;
        model.unk_token = small.then(|| UNKNOWN.to_owned());
        // No token of a byte-level vocabulary holds a plain space: these names collide with none.
        model.vocab.extend((model.vocab.len()..vocab_size).map(|id| (format!("<unused {id}>"), id as u32)));
        Bpe::new(model).map_err(|what| problem(&what))
    }
}

/// The `limit` most frequent symbols; of equals the lower.
fn frequent_symbols(counts: &BTreeMap<String, u64>, limit: usize) -> Vec<char> {
    let mut symbols: BTreeMap<char, u64> = BTreeMap::new();
    for (word, count) in counts {
        for symbol in word.chars() {
            *symbols.entry(symbol).or_default() += count;
        }
    }
    let mut symbols: Vec<(char, u64)> = symbols.into_iter().collect();
    symbols.sort_by_key(|&(symbol, count)| (Reverse(count), symbol));
    symbols.into_iter().take(limit).map(|(symbol, _)| symbol).collect()
}
