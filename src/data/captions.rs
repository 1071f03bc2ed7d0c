//! The captions of a text file (one a line) and of a JSON file ("caption": a string, "captions": a list of strings).

/// Appends the captions of a text file: its non-blank lines, trimmed, each once.
pub fn from_text(bytes: &[u8], captions: &mut Vec<String>) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.trim_start_matches('\u{feff}').lines() {
        push(line, captions);
    }
}

/// Appends the captions of a JSON object; anything else in it is ignored, and so is what is not JSON.
pub fn from_json(bytes: &[u8], captions: &mut Vec<String>) {
    let Ok(object) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let list = object["captions"].as_array().into_iter().flatten();
    for caption in object["caption"].as_str().into_iter().chain(list.filter_map(|item| item.as_str())) {
        push(caption, captions);
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

    #[test]
    fn captions_are_trimmed_distinct_and_not_blank() {
        let mut captions = Vec::new();
        from_text("\u{feff}a cat \r\n\n  \na dog\na cat".as_bytes(), &mut captions);
        from_json(br#"{"caption": "a dog", "captions": ["a fox", 3, " "], "label": "x"}"#, &mut captions);
        from_json(b"[\"a bird\"", &mut captions);
        assert_eq!(captions, ["a cat", "a dog", "a fox"]);
    }
}
