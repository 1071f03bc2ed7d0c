//! `docs/table.md`, from a question to a table: its commands in its order, and what it says came of them.

use crate::support::Place;
use std::fs;
use std::path::Path;

/// The blocks fenced as `language`.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The words of a line that are no figures: those depend on the machine, in the last digits or altogether.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace()
        .filter(|word| word.chars().all(|letter| letter.is_alphabetic() || "-_.,:·↑↓=".contains(letter)))
        .collect()
}

#[test]
fn the_commands_of_the_page_give_what_it_shows() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/table.md")).unwrap();
    let mut place = Place::new();
    for spec in blocks(&page, "yaml") {
        let name = spec.lines().next().unwrap().strip_prefix("# ").unwrap().to_owned();
        place = place.write(&name, &spec);
    }
    let mut said = String::new();
    for line in blocks(&page, "bash").iter().flat_map(|block| block.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = place.experiment(&words[1..]);
        assert_eq!(done.code, Some(0), "{line}: {done:?}");
        said += &done.stdout;
    }
    let shown = blocks(&page, "text");
    assert!(shown.len() > 2);
    let said: Vec<Vec<&str>> = said.lines().map(words).collect();
    for line in shown.iter().flat_map(|block| block.lines()).filter(|line| *line != "…") {
        // A verdict, and what a seed came to, may be another on another processor.
        let expected: Vec<&str> =
            words(line).into_iter().filter(|word| !["better", "worse", "within"].contains(word)).collect();
        let same = |line: &Vec<&str>| {
            line.iter().filter(|word| !["better", "worse", "within"].contains(word)).eq(expected.iter())
        };
        assert!(said.iter().any(same), "{line}: {expected:?}");
    }
    let html = page.split("--html ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(place.path(html).is_file());
}
