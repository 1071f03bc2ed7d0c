//! What a verb prints: text for people, or with `--json` one JSON document and nothing else on standard output.

use crate::say;
use clap::Args;
use dalle::error::commands;
use dalle::{Error, Result};
use serde::Serialize;
use std::fmt::{Display, Write};
use std::io::{self, ErrorKind, Write as _};

/// Which of the two.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Output {
    /// One JSON document instead of text.
    #[arg(long)]
    pub json: bool,
    /// Whether what is said is a part of something else, which says the document.
    #[arg(skip)]
    part: bool,
}

impl Output {
    /// What was found, in the form that is asked for.
    pub fn say<T: Serialize + Display>(self, found: &T) -> Result<()> {
        self.tell(found, || Ok(found.to_string()))
    }

    /// The same where the text is made apart.
    pub fn tell(self, found: &impl Serialize, text: impl FnOnce() -> Result<String>) -> Result<()> {
        if self.json { self.end(found) } else { say(text()?.trim_end()) }
    }

    /// For a part of the work: text for people, and for programs nothing, since the whole says the document.
    pub fn within(self) -> Self {
        Output { part: self.json, ..self }
    }

    /// A line of progress for people.
    pub fn line(self, line: impl Display) -> Result<()> {
        if self.json { Ok(()) } else { say(line) }
    }

    /// What came of lines that people have read already.
    pub fn end(self, found: &impl Serialize) -> Result<()> {
        if self.json && !self.part { json(found) } else { Ok(()) }
    }
}

/// A document on standard output. What would command a terminal is written as JSON's own escapes, so that nothing is lost.
fn json(found: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(found).map_err(|error| Error::Usage(error.to_string()))?;
    let mut safe = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        match commands(letter) && letter != '\n' {
            // Every one of them is a single unit of UTF-16.
            true => drop(write!(safe, "\\u{:04x}", u32::from(letter))),
            false => safe.push(letter),
        }
    }
    safe.push('\n');
    match io::stdout().write_all(safe.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::io("write", "standard output")(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    /// Every verb prints, and so has `--json`.
    #[test]
    fn every_verb_has_json() {
        fn leaves<'c>(path: String, command: &'c Command, found: &mut Vec<(String, &'c Command)>) {
            if command.has_subcommands() && command.is_subcommand_required_set() {
                let below = command.get_subcommands();
                return below.for_each(|below| leaves(format!("{path} {}", below.get_name()), below, found));
            }
            found.push((path, command));
        }
        let (program, mut found) = (crate::Cli::command(), Vec::new());
        program.get_subcommands().for_each(|verb| leaves(verb.get_name().into(), verb, &mut found));
        assert!(found.iter().any(|(path, _)| path == "export csv") && found.len() > 30, "{found:?}");
        for (path, command) in found {
            assert!(command.get_arguments().any(|arg| arg.get_long() == Some("json")), "{path}");
        }
    }
}
