//! How much the program says, and in which colours.

use clap::{Args, ColorChoice, ValueEnum};
use dalle::harness::notice;
use dalle::spec::style_reports;
use std::ffi::OsString;
use std::io::{IsTerminal, stderr};

#[derive(Debug, Args)]
pub struct SpeechArgs {
    /// Says nothing on stderr but warnings and errors: neither progress nor notices.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Colours of errors, warnings and help; auto: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

impl SpeechArgs {
    /// From here on the program speaks so.
    pub fn heed(&self) {
        notice::quiet(self.quiet);
        let styled = match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                stderr().is_terminal() && !set("NO_COLOR") && !dumb
            }
        };
        notice::style(styled);
        style_reports(styled);
    }
}

/// The arguments with those of [`SpeechArgs`] that come before a verb behind it: there they belong to any verb.
pub fn behind(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let takes = |argument: &OsString| match argument.to_str() {
        Some("-q" | "--quiet") => 1,
        Some("--color") => 2,
        Some(text) if text.starts_with("--color=") => 1,
        _ => 0,
    };
    let mut end = 1;
    while let Some(more) = arguments.get(end).map(takes).filter(|&more| more > 0) {
        end += more;
    }
    if (2..arguments.len()).contains(&end) {
        arguments[1..=end].rotate_right(1);
    }
    arguments
}

/// What help and messages of the arguments themselves are coloured by, before these are read.
pub fn choice(arguments: &[OsString]) -> ColorChoice {
    let text = |at: usize| arguments.get(at).and_then(|argument| argument.to_str());
    let asked = (0..arguments.len()).rev().find_map(|at| match text(at)? {
        "--color" => text(at + 1),
        other => other.strip_prefix("--color="),
    });
    match asked {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_verb_comes_behind_it() {
        let of = |line: &str| {
            let words = behind(line.split(' ').map(OsString::from));
            words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("x -q check a.yaml"), "x check -q a.yaml");
        assert_eq!(of("x --color never --quiet a.yaml --set b=c"), "x a.yaml --color never --quiet --set b=c");
        for line in ["x", "x -q", "x check -q", "x --color", "x --color=never", "x --resume=a -q"] {
            assert_eq!(of(line), line);
        }
    }

    #[test]
    fn the_last_choice_counts() {
        let of = |line: &str| choice(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of("x check --color=always --color never"), ColorChoice::Never);
        assert_eq!(of("x --color"), ColorChoice::Auto);
    }
}
