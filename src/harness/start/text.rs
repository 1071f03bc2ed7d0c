//! The spec as a person would write it: what was chosen, and beside it why and what it takes.

use super::choice::{Choice, time};
use super::look::Look;
use crate::spec::DataKind;
use std::path::Path;

/// What pictures and captions alone do not say.
pub(super) const UNKNOWN: [&str; 3] = [
    "whether the pictures hold writing, or their captions name sides in other words than left and right: then data.flip_pairs and \
     data.flip are wrong",
    "whether pictures are near copies of each other: copies on both sides of the split make validation look better than it is",
    "how good the samples must be: more steps, or the next preset, cost what stands beside them",
];

/// The line that tells editors what a spec may hold.
pub(super) const SCHEMA: &str = "# yaml-language-server: $schema=schema.json";
/// The share of captions that may be cut before a comment says so as something to look at.
const FEW: f64 = 0.05;

/// The spec `name` for what lies at `path`, relative to the spec's folder; `out` is what people will call it.
pub(super) fn spec(look: &Look, choice: &Choice, name: &str, path: &str, out: &Path) -> String {
    let file = out.file_name().unwrap_or(out.as_os_str()).to_string_lossy();
    let mut lines = vec![SCHEMA.to_owned()];
    lines.extend(comment("", &format!("A start for {}, of which {} were looked at.", look.in_words(), look.looked)));
    lines.extend(comment("", &format!("Cost: {}, as `experiment plan {file}` finds it.", choice.time())));
    lines.push(format!("#   experiment check {file}"));
    lines.push(format!("#   experiment {file}"));
    lines.push(format!("name: {}", quoted(name)));
    lines.extend(comment("", &captions(look, choice)));
    lines.extend(comment("", &preset(look, choice)));
    for (other, side, seconds, why_not) in &choice.others {
        let why_not = why_not.as_ref().map_or_else(String::new, |why_not| format!("; {why_not}"));
        lines.push(format!("#   {other}: {side}×{side}, {}{why_not}", time(*seconds)));
    }
    lines.push(format!("preset: {}", choice.preset));
    lines.push("data:".into());
    lines.push(format!("  kind: {}", if look.kind == DataKind::Webdataset { "webdataset" } else { "folder" }));
    lines.push(format!("  train: [{}]", quoted(path)));
    let held = format!("{} of {} pairs are measured on and never trained on.", choice.held(look), look.samples);
    lines.extend(comment("  ", &held));
    lines.push(format!("  validation_share: {}", choice.held_out));
    lines.extend(comment(
        "  ",
        "Pairs are mirrored too, unless a caption says left or right. Off for pictures with writing.",
    ));
    lines.push("  flip_pairs: true".into());
    if look.broken.total() > 0 {
        let (broken, first) = (look.broken.summary(), look.broken.first());
        lines.extend(comment("  ", &format!("Of {} samples cannot be used: {broken}; first: {first}", look.looked)));
        // Twice what was seen: those looked at are some of all.
        let most = (2.0 * look.broken_share()).clamp(0.1, 1.0);
        lines.push(format!("  max_bad: {}", (100.0 * most).ceil() / 100.0));
    }
    let left_out = &look.left_out;
    if left_out.total() > 0 {
        lines.extend(comment("  ", &format!("Left out: {}; first: {}", left_out.summary(), left_out.first())));
    }
    let why = [
        "Pictures to tokens",
        "Captions to tokens; fewer steps for few pictures, and each of many is seen",
        "Which of several samples fits its caption best",
    ];
    for ((stage, section), why) in choice.plan.stages.iter().zip(["first_stage", "transformer", "clip"]).zip(why) {
        lines.extend(comment("", &format!("{why}: {}.", time(stage.in_all()))));
        lines.push(format!("{section}:"));
        lines.push(format!("  steps: {}", stage.steps));
    }
    lines.extend(comment("", "What looking at the data cannot tell:"));
    for what in UNKNOWN {
        lines.extend(comment("", &format!("- {what}.")));
    }
    lines.join("\n") + "\n"
}

fn preset(look: &Look, choice: &Choice) -> String {
    let [(w, wide), (h, high)] = look.extremes();
    let sizes = format!("Pictures are {} pixels wide and {} high", range(w, wide), range(h, high));
    let used = match choice.usable {
        1.0 => format!("all become {0}×{0}", choice.side),
        share => format!("{:.0} % become {1}×{1}, the others are too small or too long", 100.0 * share, choice.side),
    };
    format!("{sizes}; {used}. The presets, with what they take and what speaks against them:")
}

/// "3 to 7", or "3".
fn range(least: usize, most: usize) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

fn captions(look: &Look, choice: &Choice) -> String {
    let words = || look.captions.iter().map(|caption| caption.split_whitespace().count());
    let words = range(words().min().unwrap_or(0), words().max().unwrap_or(0));
    let cut = &choice.cut;
    let fits = match cut.share() {
        0.0 => format!("the longest takes {} of the transformer's {} text slots", cut.longest(), cut.room()),
        share if share <= FEW => cut.to_string(),
        _ => format!("{cut}: put what matters first"),
    };
    format!("{} captions of {words} words; {fits}.", look.captions.len())
}

/// A comment in lines that are not too long.
fn comment(indent: &str, text: &str) -> Vec<String> {
    const WIDTH: usize = 110;
    let (mut lines, mut line) = (Vec::new(), format!("{indent}#"));
    // What a file is called may hold anything; a comment ends with its line.
    for word in crate::error::one_line(text).split_whitespace() {
        if line.chars().count() + word.chars().count() > WIDTH && line.len() > indent.len() + 1 {
            lines.push(std::mem::replace(&mut line, format!("{indent}#")));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A text as YAML reads it back.
fn quoted(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.' && text.contains('/'));
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if plain && starts && !word { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_wrap_and_stay_comments() {
        let lines = comment("  ", &"word ".repeat(60));
        assert!(
            lines.len() > 2 && lines.iter().all(|line| line.starts_with("  # word") && line.len() <= 111),
            "{lines:?}"
        );
        assert_eq!(comment("", "a\nname: b"), ["# a\u{fffd}name: b"]);
    }

    #[test]
    fn names_are_quoted_where_yaml_would_read_something_else() {
        for text in ["null", "7", "1e3", "a b", "a: b", "*.tar", "{a,b}", "-", "..", "é", "a\"b", "No"] {
            let read: serde_yaml::Value = serde_yaml::from_str(&format!("[{}]", quoted(text))).unwrap();
            assert_eq!(read[0].as_str(), Some(text));
        }
        assert_eq!(quoted("../data/cats"), "../data/cats");
        assert_eq!(quoted("cats"), "cats");
    }
}
