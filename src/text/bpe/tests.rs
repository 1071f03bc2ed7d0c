//! Tokens against those of the `tokenizers` crate, dropout against its definition, and files that are not ours.

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
    assert!(frequent.encode("a bcd").iter().zip([false, false, false, true, true]).all(|(&id, out)| (id == 0) == out));
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
        assert!(matches!(error, Error::Data { .. }) && message.contains(expected), "{expected:?} not in {message:?}");
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
