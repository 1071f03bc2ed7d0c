//! The results: how often the pictures are right, what reranking gains, and every measurement, with the sets as columns.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::axis::Axis;
use super::charts::{self, Chart};
use super::figures::{Estimate, Leaf, choices, leaves, percent, words};
use super::html::{escape, facts, notice};
use super::run::Run;

/// The most rows that a table shows.
const ROWS: usize = 200;
/// Results with a table or a chart of their own; those of a validation set begin with [`SET`].
const PICTURED: [&str; 3] = ["attribute_accuracy", "rerank_curve", "zero_shot"];
const SET: &str = "elbo_";
/// Breakdowns of the accuracy: key, heading, and what follows a row's name.
const BREAKDOWNS: [(&str, &str, &str); 3] = [
    ("by_attribute", "by attribute, of the captions that name it", ""),
    ("by_objects", "by number of objects", "in the picture"),
    ("by_kind", "by kind", ""),
];

pub(super) fn results(run: &Run) -> Option<&Map<String, Value>> {
    run.facts.get("results")?.as_object()
}

pub(super) fn accuracy(run: &Run) -> Option<&Map<String, Value>> {
    results(run)?.get("attribute_accuracy")?.as_object()
}

/// The measurements of each validation set.
pub(super) fn validation_sets(run: &Run) -> Vec<(&str, &Value)> {
    let sets = results(run).into_iter().flatten();
    sets.filter_map(|(key, value)| Some((key.strip_prefix(SET)?, value))).collect()
}

/// All results.
pub(super) fn section(run: &Run) -> String {
    let Some(results) = results(run).filter(|results| !results.is_empty()) else {
        return notice("No results yet: run.json holds none.");
    };
    let mut html = accuracy(run).map(accuracy_tables).unwrap_or_default();
    html += &results.get("rerank_curve").map(rerank).unwrap_or_default();
    if let Some(sets) = results.get("zero_shot").and_then(Value::as_object) {
        html += "<h3>CLIP as a classifier of real pictures <small>one object, among all kinds</small></h3>\n";
        let row = sets.iter().map(|(set, value)| (set.as_str(), Estimate::new(value))).collect();
        html += &shares(&sets.keys().map(String::as_str).collect::<Vec<_>>(), &[("right".into(), row)]);
    }
    let sets = validation_sets(run);
    if !sets.is_empty() {
        html += "<h3>Validation sets</h3>\n";
        html += &by_set(&sets);
    }
    let others = results.iter().filter(|(key, _)| !PICTURED.contains(&key.as_str()) && !key.starts_with(SET));
    let rows: Vec<Leaf<'_>> = others.flat_map(|(key, value)| leaves(&[key], value)).collect();
    if !rows.is_empty() {
        html += "<h3>Other measurements</h3>\n";
        html += &leaves_table(rows);
    }
    html
}

pub(super) fn leaves_table(leaves: Vec<Leaf<'_>>) -> String {
    let more = leaves.len().saturating_sub(ROWS);
    let rows: Vec<(String, String)> = leaves.iter().take(ROWS).map(|leaf| (leaf.title(), cell(leaf))).collect();
    facts(&rows) + &left_out(more)
}

fn left_out(rows: usize) -> String {
    if rows > 0 { notice(&format!("{rows} more are left out.")) } else { String::new() }
}

fn cell(leaf: &Leaf<'_>) -> String {
    let (value, detail) = leaf.text();
    format!("{} <span class=\"detail\">{}</span>", escape(&value), escape(&detail))
}

/// The beginning of a table whose columns are sets.
fn head(class: &str, first: &str, sets: &[&str]) -> String {
    let names: String = sets.iter().map(|set| format!("<th scope=\"col\">{}</th>", escape(&words(set)))).collect();
    format!(
        "<div class=\"wide\"><table class=\"{class}\">\n<thead><tr><th scope=\"col\">{first}</th>{names}</tr></thead>\n<tbody>\n"
    )
}

/// Rows are measurements, columns are sets.
pub(super) fn by_set(sets: &[(&str, &Value)]) -> String {
    let columns: Vec<Vec<Leaf<'_>>> = sets.iter().map(|(_, figures)| leaves(&[], figures)).collect();
    let mut rows: Vec<&Leaf<'_>> = Vec::new();
    for leaf in columns.iter().flatten() {
        if !rows.iter().any(|row| row.same(leaf)) {
            rows.push(leaf);
        }
    }
    let names: Vec<&str> = sets.iter().map(|(set, _)| *set).chain(["unit"]).collect();
    let mut html = head("figures", "", &names);
    for row in rows.iter().take(ROWS) {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&row.title()));
        for column in &columns {
            let cell = column.iter().find(|leaf| leaf.same(row)).map_or("–".into(), |leaf| {
                let (value, detail) = leaf.figure();
                let detail = if detail.is_empty() {
                    String::new()
                } else {
                    format!("<span class=\"detail\">{}</span>", escape(&detail))
                };
                format!("{}{detail}", escape(&value))
            });
            let _ = write!(html, "<td>{cell}</td>");
        }
        let _ = writeln!(html, "<td class=\"detail\">{}</td></tr>", escape(row.unit()));
    }
    html + "</tbody></table></div>\n" + &left_out(rows.len().saturating_sub(ROWS))
}

/// How often the picture is right: by choice and set, then what it depends on.
fn accuracy_tables(accuracy: &Map<String, Value>) -> String {
    let sets: Vec<&str> = accuracy.keys().map(String::as_str).collect();
    let at = |set: &str, path: &[&str]| path.iter().try_fold(accuracy.get(set)?, |value, key| value.get(key));
    let lenient = sets.iter().any(|set| at(set, &["lenient"]).is_some());
    let mut html = String::from(
        "<h3>Attribute accuracy</h3>\n<p>The share of captions whose picture shows everything that the caption names, as an \
         oracle reads the picture, with 95 % intervals.",
    );
    html += if lenient {
        " The large figures are strict: a shape must fit its outline. The lenient ones take the nearest shape, however poor \
         the fit.</p>\n"
    } else {
        "</p>\n"
    };
    html += &head("accuracy", "picture", &sets);
    for (key, choice) in choices(accuracy) {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&choice));
        for set in &sets {
            let cell = at(set, &[&key]).and_then(Estimate::new).map_or("–".into(), |cell| {
                let lenient = at(set, &["lenient", &key]).and_then(Estimate::new);
                accuracy_cell(&cell, lenient.as_ref())
            });
            let _ = write!(html, "<td>{cell}</td>");
        }
        html += "</tr>\n";
    }
    html += "</tbody></table></div>\n";
    for (key, title, after) in BREAKDOWNS {
        let mut names: Vec<&String> = Vec::new();
        for set in &sets {
            let rows = at(set, &[key]).and_then(Value::as_object).into_iter().flatten().map(|row| row.0);
            names.extend(rows.filter(|name| !names.contains(name)).collect::<Vec<_>>());
        }
        let row = |name: &&String| {
            let cells = sets.iter().map(|set| (*set, at(set, &[key, name]).and_then(Estimate::new))).collect();
            (format!("{} {after}", words(name)).trim_end().to_owned(), cells)
        };
        if !names.is_empty() {
            let rows: Vec<_> = names.iter().take(ROWS).map(row).collect();
            let open = if key == "by_kind" { "" } else { " open" };
            let table = shares(&sets, &rows) + &left_out(names.len().saturating_sub(ROWS));
            let _ = writeln!(html, "<details{open}><summary>The best picture, {title}</summary>\n{table}</details>");
        }
    }
    html
}

/// A table of shares with their intervals; a set without a share in any row is left out.
fn shares(sets: &[&str], rows: &[(String, Vec<(&str, Option<Estimate>)>)]) -> String {
    let there = |set: &&&str| rows.iter().any(|row| row.1.iter().any(|(name, cell)| name == *set && cell.is_some()));
    let sets: Vec<&str> = sets.iter().filter(there).copied().collect();
    let mut html = head("figures", "", &sets);
    for (name, cells) in rows {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(name));
        for set in &sets {
            let cell = cells.iter().find(|cell| cell.0 == *set).and_then(|cell| cell.1.as_ref());
            let cell = cell.map_or("–".into(), |cell| {
                let (value, detail) = (percent(cell.value), escape(&cell.detail(percent)));
                format!("{value}<span class=\"detail\">{detail}</span>")
            });
            let _ = write!(html, "<td>{cell}</td>");
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

fn accuracy_cell(estimate: &Estimate, lenient: Option<&Estimate>) -> String {
    let place = |share: f64| (100.0 * share).clamp(0.0, 100.0);
    let (low, high) = (estimate.low.unwrap_or(estimate.value), estimate.high.unwrap_or(estimate.value));
    let lenient = lenient.map(|lenient| format!("<span class=\"detail\">lenient {}</span>", percent(lenient.value)));
    format!(
        "<span class=\"value\">{}</span><span class=\"interval\" aria-hidden=\"true\"><i style=\"left:{:.1}%;width:{:.1}%\"></i>\
         <b style=\"left:{:.1}%\"></b></span><span class=\"detail\">{}</span>{}",
        percent(estimate.value),
        place(low),
        (place(high) - place(low)).max(0.0),
        place(estimate.value),
        escape(&estimate.detail(percent)),
        lenient.unwrap_or_default(),
    )
}

/// Best of N against N: the similarity, and the accuracy where it was measured.
fn rerank(curve: &Value) -> String {
    let charts: String = rerank_charts(curve).iter().map(charts::line).collect();
    format!("<h3>Reranking</h3>\n<div class=\"charts\">\n{charts}</div>\n")
}

/// The similarity of the best of N, and where an oracle judged, how often it is right.
pub(crate) fn rerank_charts(curve: &Value) -> Vec<Chart> {
    let list = |name: &str| -> Vec<f64> {
        let items = curve.get(name).and_then(Value::as_array).into_iter().flatten();
        items.map(|item| Estimate::new(item).map_or(f64::NAN, |estimate| estimate.value)).collect()
    };
    let counts = list("n");
    let chart = |title: &str, unit: &str, lines: &[(&str, &str, f64)]| {
        let mut chart =
            Chart::new(title, Axis::log("candidates N (log)").with_ticks(counts.clone()), Axis::linear(unit));
        for (key, name, scale) in lines {
            let values = list(key);
            if !values.is_empty() {
                chart = chart.with(*name, counts.iter().copied().zip(values.iter().map(|v| scale * v)).collect());
            }
        }
        (!chart.series.is_empty()).then_some(chart)
    };
    // Runs of before call the similarity a score.
    let similarity = [("similarity", "best of N", 1.0), ("score", "best of N", 1.0)];
    let accuracy = [("accuracy", "strict", 100.0), ("lenient_accuracy", "lenient", 100.0)];
    let accuracy = if list("lenient_accuracy").is_empty() { &accuracy[..1] } else { &accuracy[..] };
    [
        chart("Best of N by CLIP: its similarity", "CLIP similarity, 100·cosine", &similarity),
        chart("Best of N by CLIP: its accuracy", "% of captions with everything right", accuracy),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All measurements of a run with their paths, those with a chart of their own left out: (path, value, interval).
pub(crate) fn measurements(run: &Run) -> Vec<(String, String, String)> {
    let results = results(run).into_iter().flatten().filter(|(key, _)| *key != "rerank_curve");
    let leaves = results.flat_map(|(key, value)| leaves(&[key], value));
    leaves.map(|leaf| (leaf.title(), leaf.text().0, leaf.text().1)).collect()
}
