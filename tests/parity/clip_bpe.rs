//! CLIP's tokenizer against the original: cleaning, ids, slots of any context, and back to text, for every listed string.

use crate::fixture;
use dalle::text::ClipBpe;
use dalle::text::clip_bpe::clean;
use serde_json::Value;
use std::path::PathBuf;

/// The published merges: beside the strings, or else those that come with this crate.
fn tokenizer() -> ClipBpe {
    let file = "clip_bpe/bpe_simple_vocab_16e6.txt.gz";
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    let merges = [fixture::root().join(file), own.join(file)].into_iter().find(|path| path.exists());
    ClipBpe::load(merges.unwrap_or_else(|| own.join(file))).expect("the published merges")
}

fn strings() -> Vec<Value> {
    let text = String::from_utf8(fixture::bytes("clip_bpe/tokenizer.jsonl")).expect("UTF-8");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a row in JSON")).collect();
    let meta = fixture::json("clip_bpe/meta.json");
    let count = |what: &dyn Fn(&Value) -> bool| rows.iter().filter(|row| what(row)).count();
    assert_eq!(count(&|_| true), meta["n"].as_u64().expect("n") as usize, "strings");
    let changed = count(&|row| row["ftfy_changes"] == true);
    assert_eq!(changed, meta["n_ftfy_changes"].as_u64().expect("n") as usize, "strings that ftfy changes");
    rows
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("no {key} in {row}"))
}

fn ids(list: &Value) -> Vec<u32> {
    serde_json::from_value(list.clone()).unwrap_or_else(|_| panic!("{list} is not a list of ids"))
}

/// What the tokenizer is given: the caption; where the original's ftfy mattered, which we do not have, its cleaned form.
fn caption(row: &Value) -> &str {
    text(row, if row["ftfy_changes"] == true { "cleaned" } else { "text" })
}

#[test]
fn the_ids_are_those_of_the_published_vocabulary() {
    let (bpe, meta) = (tokenizer(), fixture::json("clip_bpe/meta.json"));
    assert_eq!(bpe.vocab_size() as u64, meta["vocab_size"].as_u64().expect("vocab_size"));
    let empty = bpe.tokenize("", 2).expect("two slots");
    assert_eq!(Value::from(empty), serde_json::json!([meta["sot"], meta["eot"]]));
}

#[test]
fn every_string_is_cleaned_encoded_and_decoded() {
    let bpe = tokenizer();
    for row in strings() {
        let caption = caption(&row);
        assert_eq!(clean(caption), text(&row, "cleaned"), "{caption:?}");
        let expected = ids(&row["ids"]);
        assert_eq!(bpe.encode(caption), expected, "{caption:?}");
        assert_eq!(row["n"], expected.len(), "{caption:?}");
        assert_eq!(bpe.decode(&expected), text(&row, "decode"), "{caption:?}");
    }
}

#[test]
fn every_string_is_laid_into_slots_and_cut_where_it_is_too_long() {
    let bpe = tokenizer();
    let (mut too_long, rows) = (0, strings());
    for row in &rows {
        let caption = caption(row);
        let expected = ids(&row["tokenize77"]);
        let context = expected.len();
        assert_eq!(bpe.slots(context).fill(&bpe.encode(caption)), expected, "{caption:?}");
        match bpe.tokenize(caption, context) {
            Ok(slots) => assert!(row["fits77"] == true && slots == expected, "{caption:?}"),
            Err(error) => {
                assert!(row["fits77"] == false && error.exit_code() == 2, "{caption:?}: {error}");
                too_long += 1;
            }
        }
        let filled: Vec<u32> = expected.into_iter().filter(|&id| id != 0).collect();
        assert_eq!(bpe.decode(&filled), text(row, "decode77"), "{caption:?}");
    }
    assert_eq!(fixture::json("clip_bpe/meta.json")["n_too_long"], too_long);
}

#[test]
fn a_shorter_context_cuts_more() {
    let (bpe, rows) = (tokenizer(), strings());
    let short = fixture::json("clip_bpe/tokenize_ctx8.json");
    let context = short["context_length"].as_u64().expect("a context") as usize;
    let expected = short["rows"].as_array().expect("rows");
    assert!(!expected.is_empty() && expected.len() <= rows.len());
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(bpe.slots(context).fill(&bpe.encode(caption(row))), ids(expected), "{:?}", row["text"]);
    }
}
