//! What became of the samples that each stage met, and of the captions: nothing is left out in silence.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::figures::{leaves, plain, words};
use super::html::{escape, facts, notice};
use super::panels;
use super::run::Run;

/// What one stage met.
#[derive(Debug, Default)]
pub(super) struct DataCounts {
    /// Samples met; `None` in runs that did not count them.
    pub seen: Option<u64>,
    pub used: Option<u64>,
    pub filtered: u64,
    pub broken: u64,
    /// Captions longer than the model reads.
    pub cut: u64,
    /// The reasons with their counts, and an example of each kind of broken sample.
    reasons: Vec<String>,
}

/// The counts of each stage that has any, by the names in `run.json`.
pub(super) fn stages(run: &Run) -> Vec<(&str, DataCounts)> {
    let object = |key: &str| run.facts.get(key).and_then(Value::as_object);
    let mut names: Vec<&str> = Vec::new();
    for key in ["samples", "bad_samples", "captions", "codes"] {
        names.extend(object(key).into_iter().flat_map(Map::keys).map(String::as_str));
    }
    let mut once = Vec::new();
    names.retain(|name| {
        !once.contains(name) && {
            once.push(*name);
            true
        }
    });
    let at = |key: &str, stage: &str| object(key).and_then(|stages| stages.get(stage));
    names
        .into_iter()
        .map(|stage| {
            let mut counts = counts(at("samples", stage), at("bad_samples", stage), at("captions", stage));
            counts.reasons.extend(at("codes", stage).map(codes));
            (stage, counts)
        })
        .collect()
}

/// Where the codes of a stage's pictures came from.
fn codes(codes: &Value) -> String {
    let number = |key: &str| codes[key].as_u64().unwrap_or(0);
    let views = match number("views") {
        0 => String::new(),
        views => format!(", each picture in {views} fixed views (data.views)"),
    };
    format!("codes: {} read, {} made{views}", number("found"), number("coded"))
}

fn counts(samples: Option<&Value>, bad: Option<&Value>, captions: Option<&Value>) -> DataCounts {
    let number = |key: &str| samples?.get(key)?.as_u64();
    let mut counts = DataCounts { seen: number("seen"), used: number("used"), ..DataCounts::default() };
    let mut reasons = |what: &str, by_reason: Option<&Value>| -> u64 {
        let each: Vec<(&String, u64)> = by_reason
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(reason, count)| Some((reason, count.as_u64()?)))
            .collect();
        counts.reasons.extend(each.iter().map(|(reason, count)| format!("{what}: {count} {reason}")));
        each.iter().map(|(_, count)| count).sum()
    };
    let of = |key: &str| samples.and_then(|samples| samples.get(key));
    let filtered = reasons("filtered", of("filtered"));
    let broken = reasons("broken", of("broken").or_else(|| bad?.get("by_reason")));
    (counts.filtered, counts.broken) = (filtered, broken);
    if let Some(step) = number("after_step") {
        counts.reasons.push(format!("counted after step {step}, from which the run was gone on with"));
    }
    for (reason, example) in bad.and_then(|bad| bad.get("examples")?.as_object()).into_iter().flatten() {
        counts.reasons.push(format!("first {reason}: {}", plain(example)));
    }
    let cut = captions.and_then(|captions| captions.get("trained_on").or_else(|| captions.get("looked_at")));
    counts.cut = cut.and_then(|cut| cut.get("cut")?.as_u64()).unwrap_or(0);
    if let (Some(cut), true) = (cut, counts.cut > 0) {
        let part = |key: &str| cut.get(key).map_or("–".into(), plain);
        let (all, read, longest) = (part("captions"), part("tokens_read"), part("longest"));
        counts
            .reasons
            .push(format!("captions: {} of {all} cut to {read} tokens, the longest has {longest}", counts.cut));
    }
    counts
}

/// A table of the stages, and what there is to learn from and to measure on.
pub(super) fn section(run: &Run) -> String {
    let stages = stages(run);
    let mut html = String::new();
    if let Some(data) = run.facts.get("data").and_then(Value::as_object) {
        let row = |(key, value): (&String, &Value)| {
            let text = match value {
                Value::Object(_) => {
                    let sets = leaves(&[], value);
                    sets.iter()
                        .map(|set| format!("{}: {}", set.title(), plain(set.value)))
                        .collect::<Vec<_>>()
                        .join(", ")
                }
                _ => plain(value),
            };
            (words(key), escape(&text))
        };
        html += &facts(&data.iter().map(row).collect::<Vec<_>>());
    }
    if stages.is_empty() {
        return html + &notice("run.json counts no samples.");
    }
    html += "<div class=\"wide\"><table class=\"figures\">\n<thead><tr><th scope=\"col\">stage</th><th scope=\"col\">samples seen</th>\
             <th scope=\"col\">used</th><th scope=\"col\">filtered</th><th scope=\"col\">broken</th>\
             <th scope=\"col\">captions cut</th></tr></thead>\n<tbody>\n";
    let or_dash = |count: Option<u64>| count.map_or("–".to_owned(), |count| count.to_string());
    for (stage, counts) in &stages {
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&panels::title(stage)),
            or_dash(counts.seen),
            or_dash(counts.used),
            counts.filtered,
            counts.broken,
            counts.cut
        );
    }
    html += "</tbody></table></div>\n";
    let reasons = stages.iter().flat_map(|(stage, counts)| counts.reasons.iter().map(move |reason| (stage, reason)));
    let reasons: String = reasons
        .map(|(stage, reason)| format!("<li>{}: {}</li>\n", escape(&panels::title(stage)), escape(reason)))
        .collect();
    if reasons.is_empty() { html } else { html + "<ul class=\"reasons\">\n" + &reasons + "</ul>\n" }
}
