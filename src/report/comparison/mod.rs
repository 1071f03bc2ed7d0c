//! Runs side by side, as text for the terminal and as one HTML file: in which keys they differ, what came of them, their curves in one
//! chart, and what they drew for the same captions.

mod curves;
mod drawn;
mod tables;
mod text;

pub use text::curves;
pub(crate) use text::told;

use super::html::{self, Section, escape, notice};
use super::run::Run;
use crate::Result;
use crate::harness::compare::Comparison;
use std::fmt::Write;
use std::path::Path;

/// At most so many groups stand side by side: there are as many colours.
const SIDE_BY_SIDE: usize = 6;

impl Comparison {
    /// One HTML file that needs no other. Curves and pictures are those of the first groups, of each its run of the seed that it has
    /// in common with the first.
    ///
    /// # Errors
    /// Those of [`Run::read`].
    pub fn html(&self) -> Result<String> {
        let shown = shown(self)?;
        let names: Vec<&str> = self.groups.iter().map(|group| group.letter.as_str()).take(SIDE_BY_SIDE).collect();
        let mut header = format!(
            "<p class=\"eyebrow\">DALL·E experiments</p>\n<h1>{} side by side</h1>\n<p class=\"circumstances\">{}</p>\n",
            escape(&count(self.groups.len(), "group")),
            escape(&format!(
                "{} · {}",
                count(self.groups.iter().map(|group| group.runs.len()).sum(), "run"),
                self.verdict()
            )),
        );
        self.notes.iter().for_each(|note| header += &notice(note));
        if self.groups.len() > SIDE_BY_SIDE {
            header +=
                &notice(&format!("Curves and pictures are of the first {SIDE_BY_SIDE} groups; the tables have all."));
        }
        let sections = [
            ("specs", "What differs", tables::specs(self)),
            ("results", "Results", tables::results(self)),
            ("curves", "Curves", curves::section(self, &names)?),
            ("pictures", "The same captions", drawn::section(&shown, &names)),
            ("runs", "Runs", runs(self)),
        ];
        let sections: Vec<Section> =
            sections.into_iter().map(|(id, title, body)| Section { id, title, body }).collect();
        Ok(html::page("Comparison · DALL·E experiments", &header, &sections))
    }
}

/// A run of each of the first groups: of the seed in common with the first, else its first.
fn shown(comparison: &Comparison) -> Result<Vec<Run>> {
    let Some(first) = comparison.groups.first() else { return Ok(Vec::new()) };
    let groups = comparison.groups.iter().take(SIDE_BY_SIDE);
    let everywhere = |seed: &&u64| groups.clone().all(|group| group.seeds.contains(seed));
    let seed = first.seeds.iter().find(everywhere).or(first.seeds.first()).copied().unwrap_or_default();
    groups
        .clone()
        .map(|group| {
            let at = group.seeds.iter().position(|own| *own == seed).unwrap_or(0);
            Run::read(&group.runs[at])
        })
        .collect()
}

/// "1 run", "2 runs".
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A run's folder with the one around it, which has its name.
fn folder(path: &Path) -> String {
    let parts: Vec<_> = path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

fn runs(comparison: &Comparison) -> String {
    /// The most that are listed.
    const MOST: usize = 200;
    let mut html = String::from("<table class=\"facts\">\n");
    let all = comparison
        .groups
        .iter()
        .flat_map(|group| group.runs.iter().zip(&group.seeds).map(move |(run, seed)| (&group.letter, run, seed)));
    for (letter, run, seed) in all.clone().take(MOST) {
        let name = escape(&folder(run));
        let _ =
            writeln!(html, "<tr><th scope=\"row\">{letter}</th><td><code>{name}</code></td><td>seed {seed}</td></tr>");
    }
    html += "</table>\n";
    let more = all.count().saturating_sub(MOST);
    if more > 0 { html + &notice(&format!("{more} more are left out.")) } else { html }
}
