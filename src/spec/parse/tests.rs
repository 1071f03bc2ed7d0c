//! Text that is read, and text that is refused with its place.

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<Node, Problem> {
    parse(text, 0, 0, &mut Vec::new())
}

fn message(text: &str) -> String {
    read(text).unwrap_err().message
}

#[test]
fn places_are_bytes_even_after_wide_characters_and_carriage_returns() {
    let text = "# é\r\nname: \"ü\"\r\nlist: [1, zwölf]\r\n";
    let root = read(text).unwrap();
    let shown = |path: &str| root.at(path).map(|node| &text[node.place.start..node.place.end]);
    assert_eq!(shown("name"), Some("\"ü\""));
    let Data::List(items) = &root.at("list").unwrap().data else { panic!() };
    assert_eq!(&text[items[1].place.start..items[1].place.end], "zwölf");
    let marked = format!("\u{feff}{text}");
    let node = read(&marked).unwrap();
    let name = node.at("name").unwrap();
    assert_eq!(&marked[name.place.start..name.place.end], "\"ü\"");
}

#[test]
fn caps_hold_for_every_shape_of_nesting_and_quickly() {
    let start = std::time::Instant::now();
    let n = 100_000;
    let deep = format!("nested deeper than {MOST_DEPTH} levels");
    for text in ["[".repeat(n), "{a: ".repeat(n), "- ".repeat(n), "[\n".repeat(n)] {
        assert_eq!(message(&text), deep);
    }
    assert_eq!(message(&"? ".repeat(n)), "a key must be a plain word");
    assert!(read(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
    assert_eq!(message(&format!("{}{}", "[".repeat(65), "]".repeat(65))), deep);
    assert!(message(&"- a\n".repeat(MOST_VALUES)).contains("20000 values"));
    assert!(message(&"#".repeat(MOST_BYTES + 1)).contains("1048576 bytes"));
    assert!(message(&format!("a: {}", "'".repeat(MOST_BYTES - 3))).contains("not YAML"));
    // Lines are looked up, not counted again for each key.
    let keys: String = (0..n).map(|key| format!("key{key}: 1\n")).collect();
    assert!(message(&keys[..MOST_BYTES.min(keys.len())]).contains("20000 values"));
    let twice: String = (0..9_999).map(|_| "key: 1\n").collect();
    let mut problems = Vec::new();
    parse(&twice, 0, 0, &mut problems).unwrap();
    assert_eq!(problems.len(), 9_998);
    assert!(problems[0].message.contains("first on line 1") && problems[0].place.start == 7);
    assert!(start.elapsed().as_millis() < 2000, "{:?}", start.elapsed());
}

#[test]
fn what_could_grow_or_surprise_is_refused() {
    assert!(message("a: &x 1").contains("anchors"));
    assert!(message("a: &x [1]\nb: *x").contains("anchors"));
    assert!(message("a: !!int 3").contains("tags"));
    assert!(message("[a]: 3").contains("key"));
    assert!(message("a: 1\n---\nb: 2").contains("one document"));
    assert!(message("# nothing\n").contains("empty"));
    assert!(message("a: [1, 2").contains("not YAML"));
    assert!(message("a: *unknown").contains("not YAML"));
}

#[test]
fn scalars_agree_with_serde_yaml() {
    for text in [
        "1",
        "-1",
        "+1",
        "0",
        "18446744073709551615",
        "-9223372036854775808",
        "0x1F",
        "0o17",
        "-0x2",
        "1.5",
        "1e3",
        "1E-8",
        "1e310",
        "-1e310",
        "1e-400",
        ".5",
        "5.",
        "-.5",
        ".inf",
        "-.inf",
        "+.INF",
        "~",
        "null",
        "true",
        "False",
        "yes",
        "abc",
        "1_000",
        "1e",
        "inf",
        "nan",
        "0x",
        "1.2.3",
        "--1",
        "+",
        ".",
        "-",
        "1 2",
        "1-2",
        "0x-1",
        "e5",
        "true1",
        "'1'",
    ] {
        let ours = read(&format!("a: {text}")).map(|root| root.get("a").unwrap().to_value());
        let theirs = serde_yaml::from_str::<serde_yaml::Value>(&format!("a: {text}")).map(|root| root["a"].clone());
        assert_eq!(ours.ok(), theirs.ok(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]{}:,a-c0-9 \\n\\t'\"#&*!|>%@`?é-]{0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn numbers_agree_with_serde_yaml(text in "[-+]?[0-9.]{1,4}([eE][-+]?[0-9]{1,3})?") {
        let ours = read(&format!("a: {text}")).map(|root| root.get("a").unwrap().to_value());
        let theirs = serde_yaml::from_str::<serde_yaml::Value>(&format!("a: {text}")).map(|root| root["a"].clone());
        // YAML 1.2 reads 007 as seven, serde_yaml as text.
        if !text.trim_start_matches(['+', '-']).starts_with('0') {
            prop_assert_eq!(ours.ok(), theirs.ok());
        }
    }
}
