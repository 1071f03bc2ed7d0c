//! The top of the report: what run this is, how it went, what wants a look, and its key results.

use std::fmt::Write;

use super::axis::number;
use super::figures::{detail, percent, plain, with_unit, words};
use super::html::{duration, escape, notice};
use super::panels;
use super::run::Run;
use crate::evaluate::results::ResultRow;

/// At most so many key results and warnings.
const CARDS: usize = 6;
const WARNINGS: usize = 20;
/// Figures of the first validation set that are key results, the most telling first.
const KEY: [&str; 3] = ["psnr", "image_token_nats", "codes_in_use"];

/// Name, status, circumstances, warnings and key results.
pub(super) fn header(run: &Run) -> String {
    let name = run.text("name").unwrap_or("run");
    let status = run.text("status").unwrap_or("unknown");
    let class = ["done", "running", "failed", "stopped"].into_iter().find(|known| status.starts_with(known));
    let seed = run.facts.get("seeds").and_then(|seeds| seeds.get("spec"));
    let circumstances = [
        run.text("preset").map(|preset| format!("preset {preset}")),
        seed.map(|seed| format!("seed {}", plain(seed))),
        run.text("gpu").or_else(|| run.text("cpu")).map(str::to_owned),
        run.seconds("total").map(duration),
        run.text("started").map(str::to_owned),
    ];
    let circumstances = circumstances.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let mut html = format!(
        "<p class=\"eyebrow\">DALL·E experiment</p>\n<h1>{} <span class=\"status {}\">{}</span></h1>\n<p class=\"circumstances\">{}</p>\n",
        escape(name),
        class.unwrap_or("other"),
        escape(status),
        escape(&circumstances),
    );
    if let Some(error) = run.text("error") {
        html += &notice(error);
    }
    if let ("running", Some(stage)) = (status, run.stages.last()) {
        html += &notice(&format!("Still running: {} at step {}.", panels::title(&stage.name), stage.step));
    }
    if status.starts_with("stopped") {
        html +=
            &notice("It ended without a word, as a killed process does, and is not being written. --resume goes on.");
    }
    html += &warnings(run);
    if let Some(line) = data_line(run) {
        let _ = writeln!(html, "<p class=\"circumstances\">{} <a href=\"#data\">More</a></p>", escape(&line));
    }
    let cards = cards(run);
    if !cards.is_empty() {
        html += "<dl class=\"cards\">\n";
        for (title, value, detail) in cards.iter().take(CARDS) {
            let (title, value, detail) = (escape(title), escape(value), escape(detail));
            let _ = writeln!(html, "<div><dt>{title}</dt><dd>{value}</dd><dd class=\"detail\">{detail}</dd></div>");
        }
        html += "</dl>\n";
    }
    html
}

fn warnings(run: &Run) -> String {
    let warnings = run.warnings();
    if warnings.is_empty() {
        return String::new();
    }
    let mut html = format!("<div class=\"warnings\" role=\"note\"><h2>Warnings ({})</h2>\n<ul>\n", warnings.len());
    for (stage, text) in warnings.iter().take(WARNINGS) {
        let _ = writeln!(html, "<li><b>{}</b>: {}</li>", escape(&panels::title(stage)), escape(text));
    }
    if warnings.len() > WARNINGS {
        let _ = writeln!(html, "<li>{} more are in run.json.</li>", warnings.len() - WARNINGS);
    }
    html + "</ul></div>\n"
}

/// What was left out of the data or cut, over all stages: said at the top only where there is something to say.
fn data_line(run: &Run) -> Option<String> {
    let parts: Vec<String> = super::data::stages(run)
        .into_iter()
        .filter_map(|(stage, counts)| {
            let lost: Vec<String> =
                [("filtered", counts.filtered), ("broken", counts.broken), ("captions cut", counts.cut)]
                    .into_iter()
                    .filter(|(_, count)| *count > 0)
                    .map(|(what, count)| format!("{count} {what}"))
                    .collect();
            let of = counts.seen.map_or(String::new(), |seen| format!(" of {seen} samples"));
            (!lost.is_empty()).then(|| format!("{}: {}{of}", panels::title(stage), lost.join(", ")))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("Data left out: {}.", parts.join("; ")))
}

/// (title, value, detail): first how often the best picture is right for every set of captions, then what the first
/// validation set says.
pub(super) fn cards(run: &Run) -> Vec<(String, String, String)> {
    let Some(results) = &run.results else { return Vec::new() };
    let mut cards = Vec::new();
    let choices = results.attribute_accuracy.iter().flat_map(|(_, of)| of.strict.keys());
    if let Some(choice) = choices.min() {
        for (set, of) in results.attribute_accuracy.iter() {
            if let Some(best) = of.strict.get(choice) {
                let title = format!("right, {}, {}", words(set), choice.title());
                cards.push((title, percent(best.value), detail(best, percent)));
            }
        }
    }
    if let Some((set, figures)) = results.sets.iter().next() {
        for quantity in KEY {
            if let Some((quantity, figure)) = figures.bounds.figures().find(|(of, _)| of.key == quantity) {
                let (value, detail) = with_unit(&ResultRow::of(quantity, figure));
                cards.push((format!("{}, {}", quantity.title, words(set)), value, detail));
            }
        }
    }
    if let Some((n, similarity)) = results.rerank_curve.as_ref().and_then(|of| of.n.last().zip(of.similarity.last())) {
        cards.push((format!("CLIP similarity, best of {n}"), number(similarity.value), "100·cosine".into()));
    }
    cards
}
