//! What is wrong with a spec and where: collected as plain data, then rendered together so that one run of `check` shows all.
//! The first line stands alone (`file:line:column: message`), a snippet with a caret follows.

use crate::Error;
use crate::error::unstyled;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether reports are made for a terminal with colours.
static STYLED: AtomicBool = AtomicBool::new(false);

/// Makes reports in colours from now on, or plain ones.
pub fn style_reports(styled: bool) {
    STYLED.store(styled, Ordering::Relaxed);
}

/// Problems shown in full; the rest is only counted.
const MOST_SHOWN: usize = 50;
/// Longer lines (bytes) are not shown: a snippet of a generated file helps nobody.
const LONGEST_LINE: usize = 400;

/// A text that a spec was read from: the file, or the argument of one `--set`.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file as the user named it, or `--set`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A stretch of a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index into the list of sources.
    pub source: usize,
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What was found and what was expected, on one line.
    pub message: String,
    /// What to do about it, shown at the caret; may be empty.
    pub hint: String,
}

impl Problem {
    /// A problem with a hint (empty: none).
    pub fn new(place: &Place, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Problem { place: place.clone(), message: message.into(), hint: hint.into() }
    }
}

/// All problems as one [`Error::Spec`], in the order of the text.
pub fn report(problems: Vec<Problem>, sources: &[Source]) -> Error {
    Error::Spec(text(problems, sources))
}

/// All problems in the order of the text.
pub fn text(problems: Vec<Problem>, sources: &[Source]) -> String {
    rendered(problems, sources, STYLED.load(Ordering::Relaxed))
}

fn rendered(mut problems: Vec<Problem>, sources: &[Source], styled: bool) -> String {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let bold = |text: String| if styled { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text };
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    let more = problems.len().saturating_sub(1);
    let mut text = String::new();
    for (i, problem) in problems.iter().take(MOST_SHOWN).enumerate() {
        let Some(source) = sources.get(problem.place.source) else { continue };
        let (line, range) = line_at(&source.text, &problem.place);
        let number = 1 + source.text[..line.start].matches('\n').count();
        let column = 1 + source.text[line.start..line.start + range.start].chars().count();
        // What a file says may hold colours of its own: only those made here may stand.
        let place = unstyled(&format!("{}:{number}:{column}: {}", source.name, problem.message));
        text += &bold(place);
        if i == 0 && more > 0 {
            let _ = write!(text, " (and {more} more error{})", if more == 1 { "" } else { "s" });
        }
        let shown = &source.text[line.clone()];
        if shown.len() <= LONGEST_LINE {
            let _ = write!(text, "\n{}", snippet(shown, number, range, &unstyled(&problem.hint), &renderer));
        } else if !problem.hint.is_empty() {
            let _ = write!(text, "; {}", problem.hint);
        }
        text.push('\n');
    }
    if problems.len() > MOST_SHOWN {
        let _ = writeln!(text, "and {} more", problems.len() - MOST_SHOWN);
    }
    text.truncate(text.trim_end().len());
    text
}

/// The line on which `place` starts, and the part of that line which it covers.
fn line_at(text: &str, place: &Place) -> (Range<usize>, Range<usize>) {
    let start = floor(text, place.start);
    let from = text[..start].rfind('\n').map_or(0, |i| i + 1);
    let to = text[start..].find('\n').map_or(text.len(), |i| start + i);
    let line = text[from..to].trim_end();
    let to = from + line.len();
    let end = floor(text, place.end).clamp(start, to.max(start));
    // A block that ends on the next line, or a value followed by spaces, is marked without its trailing blanks.
    let end = start + text[start..end].trim_end().len();
    (from..to.max(start), start - from..end - from)
}

/// The character boundary at or before `index`.
fn floor(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

fn snippet(line: &str, number: usize, range: Range<usize>, hint: &str, renderer: &Renderer) -> String {
    let mut annotation = AnnotationKind::Primary.span(range);
    if !hint.is_empty() {
        annotation = annotation.label(hint);
    }
    let source = Snippet::source(line).line_start(number).annotation(annotation);
    renderer.render(&[Group::with_level(Level::ERROR).element(source)])
}

/// "did you mean `x`?" for the known word nearest to `word`, if one is near.
pub fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let score = |name: &&&str| strsim::jaro_winkler(word, name);
    let best = known.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(&best) > 0.75 && *best != word).then(|| format!("did you mean `{best}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(start: usize, end: usize) -> Place {
        Place { source: 0, start, end }
    }

    #[test]
    fn columns_count_characters_and_the_caret_stays_on_its_line() {
        let sources = [Source { name: "a.yaml".into(), text: "é: x\nü: yy  \nlast".into() }];
        // From the value on the second line to the end of the text.
        let Error::Spec(text) = report(vec![Problem::new(&place(10, 18), "wrong", "hint")], &sources) else { panic!() };
        assert_eq!(text, "a.yaml:2:4: wrong\n  |\n2 | ü: yy\n  |    ^^ hint");
    }

    #[test]
    fn colours_change_no_word_and_a_file_brings_none() {
        let sources = [Source { name: "a.yaml".into(), text: "a: \u{1b}[31m\u{1b}[2J\n".into() }];
        let problems = || vec![Problem::new(&place(3, 8), "got \u{1b}[8mnothing", "\u{1b}[8mhint")];
        let [plain, styled] = [false, true].map(|styled| rendered(problems(), &sources, styled));
        assert!(styled.starts_with("\u{1b}[1ma.yaml:1:4: got nothing\u{1b}[0m\n"), "{styled:?}");
        assert_eq!(unstyled(&styled), unstyled(&plain));
        assert!(!plain.contains('\u{1b}') && !unstyled(&styled).contains('\u{1b}'), "{styled:?}");
        assert_eq!(Error::Spec(styled).to_string(), Error::Spec(plain).to_string());
    }

    #[test]
    fn the_first_line_counts_the_rest_and_problems_are_in_order() {
        let sources = [Source { name: "a.yaml".into(), text: "a: 1\nb: 2\n".into() }];
        let problems = vec![Problem::new(&place(5, 6), "second", ""), Problem::new(&place(0, 1), "first", "")];
        let Error::Spec(text) = report(problems, &sources) else { panic!() };
        assert_eq!(text.lines().next(), Some("a.yaml:1:1: first (and 1 more error)"));
        assert!(text.contains("a.yaml:2:1: second"));
    }

    #[test]
    fn long_lines_and_many_problems_stay_short() {
        let sources = [Source { name: "a.yaml".into(), text: "x".repeat(10_000) }];
        let problems = (0..1000).map(|i| Problem::new(&place(i, i + 1), "bad", "why")).collect();
        let Error::Spec(text) = report(problems, &sources) else { panic!() };
        assert_eq!(text.lines().count(), MOST_SHOWN + 1);
        assert!(text.starts_with("a.yaml:1:1: bad (and 999 more errors); why\n"), "{text}");
    }

    #[test]
    fn a_place_outside_the_text_is_no_panic() {
        let sources = [Source { name: "a".into(), text: "é".into() }];
        for (start, end) in [(0, 99), (1, 1), (99, 100), (2, 0)] {
            report(vec![Problem::new(&place(start, end), "m", "h")], &sources);
        }
        report(vec![Problem::new(&place(0, 0), "m", "h")], &[Source { name: "a".into(), text: String::new() }]);
    }
}
