//! Byte-level BPE on lower-cased text (section 2.2: 16,384 tokens, 10 % BPE dropout in training).
//!
//! Training, encoding and the file format are those of the `tokenizers` crate. BPE dropout (Provilkov et al. 2020,
//! arXiv 1910.13267, algorithm 1) is our own over the same merges, because that crate draws from a generator that cannot
//! be seeded.
//!
//! Legend: a *symbol* is one byte of UTF-8, written as the character that GPT-2 gives it; a *word* is a run of symbols
//! that no merge crosses (GPT-2's splitting: letters, digits or signs, with the space before them); a *merge* of *rank* r
//! joins two neighbouring tokens, lower ranks first; a *token* is a symbol or the result of a merge.

use super::merge::{Merges, merge};
use crate::random::Rng;
use crate::{Error, Result, files};
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{AddedToken, NormalizedString, Normalizer, PreTokenizedString, PreTokenizer};
use tokenizers::{OffsetReferential, OffsetType, TokenizerImpl};

/// Below this size a vocabulary has no room for all 256 bytes and takes its alphabet from the data.
const ALL_BYTES_FROM: usize = 300;
/// The largest vocabulary that is trained or loaded; a guard against a typing error that fills the memory.
const LARGEST: usize = 1 << 20;
/// Stands for the bytes that a small alphabet leaves out; its id is 0.
const UNKNOWN: &str = "<unk>";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng; // proptest's prelude has another
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const COLOURS: [&str; 5] = ["red", "green", "blue", "yellow", "orange"];
    const SHAPES: [&str; 4] = ["circle", "square", "triangle", "star"];

    fn captions() -> impl DoubleEndedIterator<Item = String> {
        COLOURS.iter().flat_map(|colour| {
            SHAPES.iter().map(move |shape| format!("A small {colour} {shape} on a pale {colour} background"))
        })
    }

    /// With all bytes and some hundred merges; the text with runs makes merges that overlap.
    static BPE: LazyLock<Bpe> = LazyLock::new(|| {
        let runs = ["aaaaaaa aaa", "ababababab", "日本語 日本", "日本語", "ééé é"].map(String::from);
        Bpe::train(captions().chain(runs.clone()).chain(runs), 400).unwrap()
    });

    fn lower_case(text: &str) -> String {
        text.chars().flat_map(char::to_lowercase).collect()
    }

    fn dropped(text: &str, p: f64, seed: u64) -> Vec<u32> {
        BPE.encode_dropout(text, p, &mut Rng::new(seed, "bpe dropout", 0, 0))
    }

    /// Any text, and text out of the training data's own letters, where merges are many.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[aAb日本éİΣß 1'\n]{0,40}", "([a-z ]|circle|small|background){0,12}"]
    }

    proptest! {
        #[test]
        fn tokens_are_the_crates(text in text(), seed: u64) {
            let theirs = BPE.pipeline.encode_fast(text.as_str(), false).unwrap();
            prop_assert_eq!(BPE.encode(&text), theirs.get_ids());
            prop_assert_eq!(dropped(&text, 0.0, seed), theirs.get_ids());
        }

        #[test]
        fn dropout_of_one_leaves_single_symbols(text in text(), seed: u64) {
            let symbols: Vec<u32> = dropped(&text, 1.0, seed);
            prop_assert_eq!(symbols.len(), lower_case(&text).len());
            prop_assert!(symbols.iter().all(|&id| id < 256));
        }

        #[test]
        fn any_tokens_of_a_text_give_it_back_in_lower_case(text in text(), p in 0.0..=1.0, seed: u64) {
            prop_assert_eq!(BPE.decode(&dropped(&text, p, seed)), lower_case(&text));
            prop_assert_eq!(BPE.decode(&BPE.encode(&text)), lower_case(&text));
        }
    }

    #[test]
    fn a_long_word_takes_time_with_its_length() {
        let word = "ab日本circleéaa".repeat(16_000); // 320 kB
        let start = std::time::Instant::now();
        assert_eq!(BPE.decode(&BPE.encode(&word)), word);
        assert!(dropped(&word, 0.1, 0).len() > BPE.encode(&word).len());
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed()); // the square of it took minutes
    }

    #[test]
    fn merges_shorten_and_dropout_lengthens() {
        let caption = "a small red circle on a pale green background";
        let whole = BPE.encode(caption);
        assert_eq!(whole.len(), 9, "a token for each word");
        let lengths: Vec<usize> = (0..200).map(|seed| dropped(caption, 0.1, seed).len()).collect();
        let mean = lengths.iter().sum::<usize>() as f64 / 200.0;
        assert!(lengths.contains(&9) && (10.0..16.0).contains(&mean), "mean length {mean}");
        assert_eq!(dropped(caption, 0.1, 3), dropped(caption, 0.1, 3));
        assert_eq!(BPE.encode("A SMALL Red circle"), BPE.encode("a small red circle"));
    }

    #[test]
    fn dropout_follows_its_definition() {
        // Merges ab then abc: of "abc", with skips of probability p, [abc] needs ab spared at once, then ab·c spared.
        let bpe = Bpe::train(["abc", "abc", "ab", "ab"].map(String::from).into_iter(), 16).unwrap();
        let (whole, n, p) = (bpe.encode("abc").len(), 20_000, 0.3);
        assert_eq!(whole, 1);
        let mut counts = [0.0; 4];
        for index in 0..n {
            counts[bpe.encode_dropout("abc", p, &mut Rng::new(1, "definition", 0, index)).len()] += 1.0 / n as f64;
        }
        for (length, expected) in [(1, 0.7 * 0.7), (2, 0.7 * 0.3), (3, 0.3)] {
            assert!((counts[length] - expected).abs() < 0.015, "{length}: {} against {expected}", counts[length]);
        }
    }

    #[test]
    fn training_is_a_function_of_the_words() {
        let json = |bpe: &Bpe| bpe.pipeline.to_string(false).unwrap();
        for size in [64, 290, 400] {
            let first = Bpe::train(captions(), size).unwrap();
            assert_eq!(first.vocab_size(), size);
            assert_eq!(json(&first), json(&Bpe::train(captions().rev(), size).unwrap()));
        }
        assert_ne!(json(&BPE), json(&Bpe::train(captions(), 400).unwrap()));
    }

    #[test]
    fn small_vocabularies_take_the_datas_alphabet() {
        let bpe = Bpe::train(captions(), 64).unwrap();
        for caption in captions() {
            let ids = bpe.encode(&caption);
            assert!(ids.iter().all(|&id| 0 < id && id < 64));
            assert!(ids.len() < caption.len() / 2, "{} tokens", ids.len());
            assert_eq!(bpe.decode(&ids), lower_case(&caption));
        }
        assert_eq!(bpe.decode(&bpe.encode("red @ blue")), "red <unk> blue");
        let mut rng = Rng::new(0, "unknown", 0, 0);
        assert_eq!(bpe.encode_dropout("r日d@", 0.0, &mut rng), bpe.encode("r日d@"));
        let tiny = Bpe::train(captions(), 8).unwrap();
        assert_eq!((tiny.vocab_size(), tiny.encode("a").len()), (8, 1));
        assert!(tiny.encode("small red @").iter().all(|&id| id < 8));
        // Three symbols fit: a, b and the space of " bb"; c and d occur less often.
        let frequent = Bpe::train(["aaaa bbb cc d".into()].into_iter(), 4).unwrap();
        assert!(
            frequent.encode("a bcd").iter().zip([false, false, false, true, true]).all(|(&id, out)| (id == 0) == out)
        );
        for wrong in [0, 1, LARGEST + 1] {
            assert!(matches!(Bpe::train(captions(), wrong), Err(Error::Usage(_))));
        }
        assert!(matches!(Bpe::train(["".into()].into_iter(), 64), Err(Error::Usage(_))));
    }

    #[test]
    fn a_pair_that_occurs_once_is_not_merged() {
        let bpe = Bpe::train(["xyz", "xy"].map(String::from).into_iter(), 300).unwrap();
        assert_eq!(bpe.encode("xyz"), [bpe.encode("xy"), bpe.encode("z")].concat());
        assert_eq!((bpe.encode("xyz").len(), bpe.vocab_size()), (2, 300));
    }

    #[test]
    fn pads_decode_to_nothing() {
        assert_eq!(BPE.decode(&[400, 9_999, u32::MAX]), "");
        assert_eq!(BPE.decode(&[]), "");
        assert!(BPE.encode("").is_empty());
    }

    #[test]
    fn saved_files_are_read_back_by_us_and_by_the_crate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        for bpe in [&*BPE, &Bpe::train(captions(), 64).unwrap()] {
            bpe.save(&path).unwrap();
            let (ours, theirs) = (Bpe::load(&path).unwrap(), tokenizers::Tokenizer::from_file(&path).unwrap());
            assert_eq!(ours.vocab_size(), bpe.vocab_size());
            for caption in captions().chain(["日本 é @".into()]) {
                let ids = bpe.encode(&caption);
                assert_eq!(ours.encode(&caption), ids);
                assert_eq!(theirs.encode_fast(caption.as_str(), false).unwrap().get_ids(), ids);
                assert_eq!(theirs.decode(&ids, false).unwrap(), bpe.decode(&ids));
            }
        }
        let nowhere = folder.path().join("missing/tokenizer.json");
        assert!(matches!(BPE.save(&nowhere), Err(Error::Io { action: "write", .. })));
        assert!(matches!(Bpe::load(&nowhere), Err(Error::Io { action: "read", .. })));
    }

    #[test]
    fn broken_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let refused = |bytes: &[u8], expected: &str| {
            std::fs::write(&path, bytes).unwrap();
            let error = Bpe::load(&path).expect_err(expected);
            let message = error.to_string();
            assert!(
                matches!(error, Error::Data { .. }) && message.contains(expected),
                "{expected:?} not in {message:?}"
            );
            assert!(!message.contains('\n') && message.contains("tokenizer.json"));
        };
        Bpe::train(captions(), 64).unwrap().save(&path).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        refused(b"", "expected a tokenizer in JSON");
        refused(&good.as_bytes()[..good.len() / 2], "expected a tokenizer in JSON");
        refused(&[0xff, 0xfe, 0x00], "expected a tokenizer in JSON");
        refused("[".repeat(100_000).as_bytes(), "expected a tokenizer in JSON");
        refused(b"[1, 2]", "expected a BPE model");
        refused(b"{}", "expected a BPE model");
        refused(br#"{"model": ["BPE", {"a": 0}, [], "a"]}"#, "version: expected");

        let edited = |edit: &dyn Fn(&mut serde_json::Value)| {
            let mut file: serde_json::Value = serde_json::from_str(&good).unwrap();
            edit(&mut file);
            file.to_string().into_bytes()
        };
        refused(&edited(&|file| file["model"]["type"] = "WordPiece".into()), "WordPiece");
        refused(&edited(&|file| file["model"]["vocab"]["<unk>"] = 64.into()), "ids 0..64");
        refused(&edited(&|file| file["model"]["vocab"]["<unk>"] = (-1).into()), "expected a BPE model");
        refused(&edited(&|file| file["model"]["merges"][0][0] = "background".repeat(9).into()), "not in the vocab");
        // Both tokens exist, what they would make does not.
        refused(&edited(&|file| file["model"]["merges"][0] = serde_json::json!(["<unk>", "<unk>"])), "\"<unk><unk>\"");
        refused(&edited(&|file| file["model"]["unk_token"] = "?".into()), "not in the vocab");
        refused(&edited(&|file| file["model"]["unk_token"] = serde_json::Value::Null), "all 256 bytes");
        refused(&edited(&|file| file["model"]["continuing_subword_prefix"] = "##".into()), "model: expected");
        refused(&edited(&|file| file["normalizer"] = serde_json::Value::Null), "normalizer: expected");
    }
}
