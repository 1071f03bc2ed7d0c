//! The results: how often the pictures are right, what reranking gains, and every measurement, with the sets as columns.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::axis::Axis;
use super::charts::{self, Chart};
use super::figures::{Leaf, detail, figures, leaves, percent, unit, with_unit, words};
use super::html::{escape, facts, notice};
use super::run::Run;
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::{Accuracy, Better, Breakdown, Choice, Named, RerankCurve, ResultRow};

/// The most rows that a table shows.
const ROWS: usize = 200;

/// A part of a breakdown, its heading, and what follows a row's name.
type Part = (fn(&Breakdown) -> &Named<Estimate>, &'static str, &'static str);
const PARTS: [Part; 3] = [
    (|of| &of.by_attribute, "by attribute, of the captions that name it", ""),
    (|of| &of.by_objects, "by number of objects", "in the picture"),
    (|of| &of.by_kind, "by kind", ""),
];

/// All results.
pub(super) fn section(run: &Run) -> String {
    let Some(results) = &run.results else {
        return notice("No results yet: run.json holds none.");
    };
    let mut html = String::new();
    if !results.attribute_accuracy.is_empty() {
        html += &accuracy_tables(&results.attribute_accuracy);
    }
    html += &results.rerank_curve.as_ref().map(rerank).unwrap_or_default();
    if !results.zero_shot.is_empty() {
        html += "<h3>CLIP as a classifier of real pictures <small>one object, among all kinds</small></h3>\n";
        let row = results.zero_shot.iter().map(|(set, share)| (set, Some(*share))).collect();
        let sets: Vec<&str> = results.zero_shot.iter().map(|(set, _)| set).collect();
        html += &shares(&sets, &[("right".into(), row)]);
    }
    if !results.sets.is_empty() {
        html += "<h3>Validation sets</h3>\n";
        html += &of_sets(results.sets.iter().map(|(set, figures)| (set, figures.rows())).collect());
    }
    let others: Vec<Leaf<'_>> = results.others.iter().flat_map(|(key, value)| leaves(&[key], value)).collect();
    if !others.is_empty() {
        html += "<h3>Other measurements</h3>\n";
        html += &leaves_table(others);
    }
    html
}

fn leaves_table(leaves: Vec<Leaf<'_>>) -> String {
    let more = leaves.len().saturating_sub(ROWS);
    let cell = |leaf: &Leaf<'_>| {
        let (value, detail) = leaf.text();
        format!("{} <span class=\"detail\">{}</span>", escape(&value), escape(&detail))
    };
    let rows: Vec<(String, String)> = leaves.iter().take(ROWS).map(|leaf| (leaf.title(), cell(leaf))).collect();
    facts(&rows) + &left_out(more)
}

fn left_out(rows: usize) -> String {
    if rows > 0 { notice(&format!("{rows} more are left out.")) } else { String::new() }
}

/// The beginning of a table whose columns are sets.
fn head(class: &str, first: &str, sets: &[&str]) -> String {
    let names: String = sets.iter().map(|set| format!("<th scope=\"col\">{}</th>", escape(&words(set)))).collect();
    format!(
        "<div class=\"wide\"><table class=\"{class}\">\n<thead><tr><th scope=\"col\">{first}</th>{names}</tr></thead>\n<tbody>\n"
    )
}

/// The measurements of sets, which are the columns; each set's details apart.
pub(super) fn of_sets(sets: Vec<(&str, (Vec<ResultRow>, Vec<ResultRow>))>) -> String {
    let names: Vec<&str> = sets.iter().map(|(set, _)| *set).collect();
    let (rows, details): (Vec<Vec<ResultRow>>, Vec<Vec<ResultRow>>) = sets.into_iter().map(|(_, rows)| rows).unzip();
    let html = by_set(&names, &rows);
    if details.iter().all(Vec::is_empty) {
        return html;
    }
    let detail = by_set(&names, &details);
    format!("{html}<details><summary>Attributes after reconstruction, in detail</summary>\n{detail}</details>\n")
}

fn by_set(sets: &[&str], columns: &[Vec<ResultRow>]) -> String {
    let same = |row: &ResultRow, other: &ResultRow| (&row.title, row.unit) == (&other.title, other.unit);
    let mut rows: Vec<&ResultRow> = Vec::new();
    for row in columns.iter().flatten() {
        if !rows.iter().any(|known| same(known, row)) {
            rows.push(row);
        }
    }
    let names: Vec<&str> = sets.iter().copied().chain(["unit"]).collect();
    let mut html = head("figures", "", &names);
    for row in rows.iter().take(ROWS) {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&row.title));
        for column in columns {
            let cell = column.iter().find(|of| same(of, row)).map_or("–".into(), |row| {
                let (value, detail) = figures(row);
                let detail = if detail.is_empty() {
                    String::new()
                } else {
                    format!("<span class=\"detail\">{}</span>", escape(&detail))
                };
                format!("{}{detail}", escape(&value))
            });
            let _ = write!(html, "<td>{cell}</td>");
        }
        let _ = writeln!(html, "<td class=\"detail\">{}{}</td></tr>", escape(unit(row)), arrow(row.better));
    }
    html + "</tbody></table></div>\n" + &left_out(rows.len().saturating_sub(ROWS))
}

/// Which way is better, after a unit.
fn arrow(better: Better) -> &'static str {
    match better {
        Better::Higher => " <span title=\"higher is better\">↑</span>",
        Better::Lower => " <span title=\"lower is better\">↓</span>",
        Better::Neither => "",
    }
}

/// How often the picture is right: by choice and set, then what it depends on.
fn accuracy_tables(accuracy: &Named<Accuracy>) -> String {
    let sets: Vec<&str> = accuracy.iter().map(|(set, _)| set).collect();
    let mut html = String::from(
        "<h3>Attribute accuracy</h3>\n<p>The share of captions whose picture shows everything that the caption names, as an \
         oracle reads the picture, with 95 % intervals.",
    );
    html += if accuracy.iter().any(|(_, of)| !of.lenient.is_empty()) {
        " The large figures are strict: a shape must fit its outline. The lenient ones take the nearest shape, however poor \
         the fit.</p>\n"
    } else {
        "</p>\n"
    };
    html += &head("accuracy", "picture", &sets);
    let choices: BTreeSet<&Choice> = accuracy.iter().flat_map(|(_, of)| of.strict.keys()).collect();
    for choice in choices {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&choice.title()));
        for (_, of) in accuracy.iter() {
            let strict = of.strict.get(choice);
            let cell = strict.map_or("–".into(), |share| accuracy_cell(share, of.lenient.get(choice)));
            let _ = write!(html, "<td>{cell}</td>");
        }
        html += "</tr>\n";
    }
    html += "</tbody></table></div>\n";
    for (part, title, after) in PARTS {
        let mut names: Vec<&str> = Vec::new();
        for (_, of) in accuracy.iter() {
            let new: Vec<&str> =
                part(&of.breakdown).iter().map(|(name, _)| name).filter(|name| !names.contains(name)).collect();
            names.extend(new);
        }
        let row = |name: &&str| {
            let cells = accuracy.iter().map(|(set, of)| (set, part(&of.breakdown).get(name).copied())).collect();
            (format!("{} {after}", words(name)).trim_end().to_owned(), cells)
        };
        if !names.is_empty() {
            let rows: Vec<_> = names.iter().take(ROWS).map(row).collect();
            let open = if title == "by kind" { "" } else { " open" };
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
                let (value, detail) = (percent(cell.value), escape(&detail(cell, percent)));
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
    let [low, high] = estimate.interval.unwrap_or([estimate.value; 2]);
    let lenient = lenient.map(|lenient| format!("<span class=\"detail\">lenient {}</span>", percent(lenient.value)));
    format!(
        "<span class=\"value\">{}</span><span class=\"interval\" aria-hidden=\"true\"><i style=\"left:{:.1}%;width:{:.1}%\"></i>\
         <b style=\"left:{:.1}%\"></b></span><span class=\"detail\">{}</span>{}",
        percent(estimate.value),
        place(low),
        (place(high) - place(low)).max(0.0),
        place(estimate.value),
        escape(&detail(estimate, percent)),
        lenient.unwrap_or_default(),
    )
}

/// Best of N against N: the similarity, and the accuracy where it was measured.
fn rerank(curve: &RerankCurve) -> String {
    let charts: String = rerank_charts(curve).iter().map(charts::line).collect();
    format!("<h3>Reranking</h3>\n<div class=\"charts\">\n{charts}</div>\n")
}

/// The similarity of the best of N, and where an oracle judged, how often it is right.
pub(crate) fn rerank_charts(curve: &RerankCurve) -> Vec<Chart> {
    let counts: Vec<f64> = curve.n.iter().map(|&n| n as f64).collect();
    let chart = |title: &str, unit: &str, lines: &[(&[Estimate], &str, f64)]| {
        let mut chart =
            Chart::new(title, Axis::log("candidates N (log)").with_ticks(counts.clone()), Axis::linear(unit));
        for (figures, name, scale) in lines.iter().filter(|line| !line.0.is_empty()) {
            chart = chart.with(*name, counts.iter().copied().zip(figures.iter().map(|of| scale * of.value)).collect());
        }
        (!chart.series.is_empty()).then_some(chart)
    };
    let accuracy = [(&curve.accuracy[..], "strict", 100.0), (&curve.lenient_accuracy, "lenient", 100.0)];
    [
        chart(
            "Best of N by CLIP: its similarity",
            "CLIP similarity, 100·cosine",
            &[(&curve.similarity, "best of N", 1.0)],
        ),
        chart("Best of N by CLIP: its accuracy", "% of captions with everything right", &accuracy),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All measurements of a run, those with a chart of their own left out: (title, value, interval).
pub(crate) fn measurements(run: &Run) -> Vec<(String, String, String)> {
    let Some(results) = &run.results else { return Vec::new() };
    let known = results.rows().into_iter().map(|row| {
        let (value, detail) = with_unit(&row);
        (row.title, value, detail)
    });
    let others = results.others.iter().flat_map(|(key, value)| leaves(&[key], value));
    known.chain(others.map(|leaf| (leaf.title(), leaf.text().0, leaf.text().1))).collect()
}
