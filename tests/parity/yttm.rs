//! ruDALL-E's tokenizer against youtokentome 1.0.6, which trained `yttm/bpe.model` and wrote `yttm/encoded.json` with it.

use dalle::text::Yttm;
use std::path::Path;

#[test]
fn every_text_has_the_same_ids() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/yttm");
    let bpe = Yttm::load(folder.join("bpe.model")).unwrap();
    let encoded = std::fs::read_to_string(folder.join("encoded.json")).unwrap();
    let encoded: Vec<(String, Vec<u32>)> = serde_json::from_str(&encoded).unwrap();
    assert!(!encoded.is_empty());
    for (text, ids) in encoded {
        assert_eq!(bpe.encode(&text), ids, "{text:?}");
    }
}
