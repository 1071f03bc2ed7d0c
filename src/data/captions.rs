//! The captions of a text file (one a line) and of a JSON file: a text, a list of texts, or an object with either under
//! "caption" or "captions". Both are UTF-8, or UTF-16 with its mark; nothing else is guessed at.

use super::PictureError;
use serde_json::Value;

/// Appends the captions of a text file: its non-blank lines, trimmed, each once.
pub(super) fn from_text(bytes: &[u8], captions: &mut Vec<String>) -> Result<(), PictureError> {
    text(bytes)?.split(['\n', '\r']).for_each(|line| push(line, captions));
    Ok(())
}

/// Appends the captions of a JSON file; other keys, and values that are no text, are somebody else's.
pub(super) fn from_json(bytes: &[u8], captions: &mut Vec<String>) -> Result<(), PictureError> {
    let value: Value = serde_json::from_str(&text(bytes)?)
        .map_err(|error| PictureError::new("not-json", format!("expected JSON with \"caption\": {error}")))?;
    match &value {
        Value::Object(object) => {
            ["caption", "captions"].iter().filter_map(|key| object.get(*key)).for_each(|v| texts(v, captions));
        }
        other => texts(other, captions),
    }
    Ok(())
}

fn texts(value: &Value, captions: &mut Vec<String>) {
    match value {
        Value::String(caption) => push(caption, captions),
        Value::Array(items) => items.iter().filter_map(Value::as_str).for_each(|caption| push(caption, captions)),
        _ => {}
    }
}

/// The text of a file. Bytes that are none become a reason, never replacement characters that a model would learn.
fn text(bytes: &[u8]) -> Result<String, PictureError> {
    let wrong =
        |what: String| PictureError::new("encoding", format!("expected UTF-8, or UTF-16 with its mark: {what}"));
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| match bytes.as_chunks() {
        (units, []) => String::from_utf16(&units.iter().map(|&pair| unit(pair)).collect::<Vec<_>>())
            .map_err(|_| wrong("got half of a pair in UTF-16".into())),
        _ => Err(wrong("got UTF-16 of an odd number of bytes".into())),
    };
    let utf8 = |bytes: &[u8]| match str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(wrong(format!("got another encoding at byte {}", error.valid_up_to()))),
    };
    let text = match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Err(wrong("got UTF-32".into())),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        bytes => utf8(bytes),
    }?;
    match text.find('\0') {
        Some(at) => Err(wrong(format!("got a NUL at byte {at}, as UTF-16 without its mark holds"))),
        None => Ok(text),
    }
}

fn push(caption: &str, captions: &mut Vec<String>) {
    let caption = caption.trim();
    if !caption.is_empty() && !captions.iter().any(|known| known == caption) {
        captions.push(caption.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn captions_are_trimmed_distinct_and_not_blank() {
        let mut captions = Vec::new();
        from_text("\u{feff}a cat \r\n\n  \na dog\ra cat".as_bytes(), &mut captions).unwrap();
        from_json(br#"{"caption": "a dog", "captions": ["a fox", 3, " "], "label": "x"}"#, &mut captions).unwrap();
        assert_eq!(captions, ["a cat", "a dog", "a fox"]);
    }

    fn json(text: &str) -> Result<Vec<String>, &'static str> {
        let mut captions = Vec::new();
        from_json(text.as_bytes(), &mut captions).map_err(|error| error.reason)?;
        Ok(captions)
    }

    #[test]
    fn json_holds_captions_in_every_usual_form() {
        let one = Ok(vec!["a cat".to_owned()]);
        for text in [
            r#"{"caption": "a cat"}"#,
            r#"{"caption": ["a cat"]}"#,
            r#"{"captions": "a cat"}"#,
            r#"{"captions": ["a cat", null]}"#,
            r#"["a cat"]"#,
            r#""a cat""#,
            "\u{feff}{\"caption\": \"a cat\"}",
        ] {
            assert_eq!(json(text), one, "{text}");
        }
        assert_eq!(json(r#"{"caption": null, "url": "x"}"#), Ok(vec![]));
        for text in ["{'caption': 'python'}", "", "[\"a bird\"", "{\"caption\": NaN}"] {
            assert_eq!(json(text), Err("not-json"), "{text}");
        }
    }

    #[test]
    fn what_is_no_text_is_a_reason_and_never_a_caption() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        for bytes in [
            b"caf\xe9".to_vec(),
            utf16("a cat"),
            [vec![0xff, 0xfe], utf16("a cat"), vec![0]].concat(),
            vec![0xff, 0xfe, 0x00, 0xd8],
            vec![0xff, 0xfe, 0, 0, b'a', 0, 0, 0],
            b"a\0cat".to_vec(),
        ] {
            let mut captions = Vec::new();
            assert_eq!(from_text(&bytes, &mut captions).unwrap_err().reason, "encoding", "{bytes:?}");
            assert_eq!(from_json(&bytes, &mut captions).unwrap_err().reason, "encoding", "{bytes:?}");
            assert!(captions.is_empty());
        }
    }

    proptest! {
        #[test]
        fn a_marked_file_says_the_same_in_every_encoding(caption in "[a-zéß東😀][ a-zéß東😀]{0,20}") {
            let (utf8, utf16): (Vec<u8>, Vec<u16>) = (caption.clone().into_bytes(), caption.encode_utf16().collect());
            let files = [
                utf8.clone(),
                [vec![0xef, 0xbb, 0xbf], utf8].concat(),
                [vec![0xff, 0xfe], utf16.iter().flat_map(|u| u.to_le_bytes()).collect()].concat(),
                [vec![0xfe, 0xff], utf16.iter().flat_map(|u| u.to_be_bytes()).collect()].concat(),
            ];
            for file in files {
                let mut captions = Vec::new();
                from_text(&file, &mut captions).unwrap();
                prop_assert_eq!(&captions, &vec![caption.trim().to_owned()]);
            }
        }
    }
}
