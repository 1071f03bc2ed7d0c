//! The numbers of `run.json`: the header with the key results, the accuracy table, the reranking curve, where it came from.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::axis::{Axis, number};
use super::charts::{self, Chart};
use super::html::{duration, escape, facts, notice};
use super::run::Run;

/// The most rows and the most items of a list that a table shows.
const ROWS: usize = 200;
const ITEMS: usize = 16;
/// Facts that have a place of their own.
const PLACED: [&str; 6] = ["results", "timings", "name", "status", "preset", "seeds"];

/// A value with its 95 % interval.
pub(super) struct Estimate {
    pub value: f64,
    low: Option<f64>,
    high: Option<f64>,
    n: Option<u64>,
}

impl Estimate {
    pub fn new(json: &Value) -> Option<Self> {
        let at = |name: &str| json.get(name).and_then(Value::as_f64);
        if let Some(value) = json.as_f64() {
            return Some(Estimate { value, low: None, high: None, n: None });
        }
        Some(Estimate {
            value: at("value")?,
            low: at("low"),
            high: at("high"),
            n: json.get("n").and_then(Value::as_u64),
        })
    }

    /// The interval and the number of trials, where they are known.
    pub fn detail(&self, write: fn(f64) -> String) -> String {
        let interval = self.low.zip(self.high).map(|(low, high)| format!("{} to {}", write(low), write(high)));
        let trials = self.n.map(|n| format!("n = {n}"));
        [interval, trials].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share).replace('-', "−")
}

pub(super) fn words(key: &str) -> String {
    key.replace('_', " ")
}

fn results(run: &Run) -> Option<&Map<String, Value>> {
    run.facts.get("results")?.as_object()
}

fn accuracy(run: &Run) -> Option<&Map<String, Value>> {
    results(run)?.get("attribute_accuracy")?.as_object()
}

/// Name, status, circumstances and at most six key results.
pub(super) fn header(run: &Run) -> String {
    let name = run.text("name").unwrap_or("run");
    let status = run.text("status").unwrap_or("unknown");
    let class = ["done", "running", "failed"].into_iter().find(|known| *known == status).unwrap_or("other");
    let seconds = run.facts.get("timings").and_then(|timings| timings.get("total")?.as_f64()).unwrap_or(0.0);
    let seed = run.facts.get("seeds").and_then(|seeds| seeds.get("spec"));
    let circumstances = [
        run.text("preset").map(|preset| format!("preset {preset}")),
        seed.map(|seed| format!("seed {}", plain(seed))),
        run.text("cpu").map(str::to_owned),
        (seconds > 0.0).then(|| duration(seconds)),
        run.text("started").map(str::to_owned),
    ];
    let circumstances = circumstances.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let mut html = format!(
        "<p class=\"eyebrow\">DALL·E experiment</p>\n<h1>{} <span class=\"status {class}\">{}</span></h1>\n<p class=\"circumstances\">{}</p>\n",
        escape(name),
        escape(status),
        escape(&circumstances),
    );
    if let Some(error) = run.text("error") {
        html += &notice(error);
    }
    if status == "running"
        && let Some(stage) = run.stages.last()
    {
        html += &notice(&format!("Still running: {} at step {}.", super::panels::title(&stage.name), stage.step));
    }
    let cards = cards(run);
    if !cards.is_empty() {
        html += "<dl class=\"cards\">\n";
        for (title, value, detail) in cards.iter().take(6) {
            let (title, value, detail) = (escape(title), escape(value), escape(detail));
            let _ = writeln!(html, "<div><dt>{title}</dt><dd>{value}</dd><dd class=\"detail\">{detail}</dd></div>");
        }
        html += "</dl>\n";
    }
    html
}

/// (title, value, detail): first the accuracy of the best of 8 for every kind of caption, then other single numbers.
fn cards(run: &Run) -> Vec<(String, String, String)> {
    let mut cards = Vec::new();
    for (split, row) in accuracy(run).into_iter().flatten() {
        if let Some(best) = row.get("best_of_8").and_then(Estimate::new) {
            cards.push((format!("accuracy, {}, best of 8", words(split)), percent(best.value), best.detail(percent)));
        }
    }
    let mut leaves = Vec::new();
    for (key, value) in results(run).into_iter().flatten().filter(|entry| !PICTURED.contains(&entry.0.as_str())) {
        flatten(&words(key), value, &mut leaves);
    }
    for (path, leaf) in leaves {
        if let Some(estimate) = Estimate::new(leaf) {
            cards.push((path, number(estimate.value), estimate.detail(number)));
        }
    }
    cards
}

/// Results with a table or a chart of their own.
const PICTURED: [&str; 2] = ["attribute_accuracy", "rerank_curve"];

/// All results: the accuracy table with intervals, the reranking curve, the rest as a table.
pub(super) fn section(run: &Run) -> String {
    let Some(results) = results(run).filter(|results| !results.is_empty()) else {
        return notice("No results yet: run.json holds none.");
    };
    let mut html = accuracy(run).map(accuracy_table).unwrap_or_default();
    html += &results.get("rerank_curve").map(rerank).unwrap_or_default();
    let mut rows = Vec::new();
    for (key, value) in results.iter().filter(|entry| !PICTURED.contains(&entry.0.as_str())) {
        flatten(&words(key), value, &mut rows);
    }
    if !rows.is_empty() {
        html += "<h3>All measurements</h3>\n";
        html += &leaves_table(rows);
    }
    html
}

pub(super) fn leaves_table(leaves: Vec<(String, &Value)>) -> String {
    let more = leaves.len().saturating_sub(ROWS);
    let rows: Vec<(String, String)> = leaves
        .into_iter()
        .take(ROWS)
        .map(|(path, leaf)| {
            let value = match Estimate::new(leaf) {
                Some(estimate) => {
                    let detail = escape(&estimate.detail(number));
                    format!("{} <span class=\"detail\">{detail}</span>", escape(&number(estimate.value)))
                }
                None => escape(&plain(leaf)),
            };
            (path, value)
        })
        .collect();
    facts(&rows) + &if more > 0 { notice(&format!("{more} more are left out.")) } else { String::new() }
}

/// Rows are kinds of captions, columns ways to choose; each cell draws the interval on a scale from 0 to 1.
fn accuracy_table(accuracy: &Map<String, Value>) -> String {
    let mut columns: Vec<&String> = Vec::new();
    for row in accuracy.values().filter_map(Value::as_object) {
        let cells = row.iter().filter(|(_, cell)| Estimate::new(cell).is_some()).map(|(key, _)| key);
        columns.extend(cells.filter(|key| !columns.contains(key)).collect::<Vec<_>>());
    }
    let mut html = String::from(
        "<h3>Attribute accuracy</h3>\n<p>The share of captions whose picture shows every attribute named, with 95 % intervals.</p>\n<div class=\"wide\"><table class=\"accuracy\">\n<thead><tr><th scope=\"col\">captions</th>",
    );
    for column in &columns {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(&words(column)));
    }
    html += "</tr></thead>\n<tbody>\n";
    for (name, row) in accuracy {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&words(name)));
        for column in &columns {
            let cell =
                row.get(column.as_str()).and_then(Estimate::new).map_or("–".into(), |cell| accuracy_cell(&cell));
            let _ = write!(html, "<td>{cell}</td>");
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

fn accuracy_cell(estimate: &Estimate) -> String {
    let place = |share: f64| (100.0 * share).clamp(0.0, 100.0);
    let (low, high) = (estimate.low.unwrap_or(estimate.value), estimate.high.unwrap_or(estimate.value));
    format!(
        "<span class=\"value\">{}</span><span class=\"interval\" aria-hidden=\"true\"><i style=\"left:{:.1}%;width:{:.1}%\"></i>\
         <b style=\"left:{:.1}%\"></b></span><span class=\"detail\">{}</span>",
        percent(estimate.value),
        place(low),
        (place(high) - place(low)).max(0.0),
        place(estimate.value),
        escape(&estimate.detail(percent)),
    )
}

/// Best of N against N: the similarity by CLIP, and the accuracy where it was measured.
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
    // Runs before this name called it `score`.
    let similarity =
        [list("similarity"), list("score")].into_iter().find(|values| !values.is_empty()).unwrap_or_default();
    let chart = |(title, unit, values): (&str, &str, Vec<f64>)| {
        let axis = Axis::log("candidates N (log)").with_ticks(counts.clone());
        let points = counts.iter().copied().zip(values).collect();
        Chart::new(title, axis, Axis::linear(unit)).with("best of N", points)
    };
    let wanted = [
        ("Best of N by CLIP: its similarity", "similarity (100·cosine)", similarity),
        ("Best of N by CLIP: its accuracy", "share with every attribute right", list("accuracy")),
    ];
    wanted.into_iter().filter(|(.., values)| !values.is_empty()).map(chart).collect()
}

/// All measurements of a run with their paths, those with a chart of their own left out: (path, value, interval).
pub(crate) fn measurements(run: &Run) -> Vec<(String, String, String)> {
    let mut leaves = Vec::new();
    for (key, value) in results(run).into_iter().flatten().filter(|(key, _)| *key != "rerank_curve") {
        flatten(&words(key), value, &mut leaves);
    }
    let row = |(path, leaf): (String, &Value)| match Estimate::new(leaf) {
        Some(estimate) => (path, number(estimate.value), estimate.detail(number)),
        None => (path, plain(leaf), String::new()),
    };
    leaves.into_iter().map(row).collect()
}

/// The leaves of nested objects with their paths; an object with a value is a leaf.
pub(super) fn flatten<'a>(path: &str, value: &'a Value, leaves: &mut Vec<(String, &'a Value)>) {
    match value.as_object().filter(|_| Estimate::new(value).is_none()) {
        Some(object) => {
            for (key, inner) in object {
                flatten(&format!("{path} · {}", words(key)), inner, leaves);
            }
        }
        None => leaves.push((path.to_owned(), value)),
    }
}

/// A JSON value as people write it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::String(text) => text.clone(),
        // A seed or a count is shown with all its digits.
        Value::Number(n) if n.is_f64() => number(n.as_f64().unwrap_or(f64::NAN)),
        Value::Number(n) => n.to_string(),
        Value::Array(items) => {
            let shown = items.iter().take(ITEMS).map(plain).collect::<Vec<_>>().join(", ");
            if items.len() > ITEMS { format!("{shown}, … ({} in all)", items.len()) } else { shown }
        }
        Value::Object(_) => value.to_string(),
    }
}

/// The seconds of each stage.
fn timings(run: &Run) -> Vec<(&String, f64)> {
    let timings = run.facts.get("timings").and_then(Value::as_object).into_iter().flatten();
    let timings = timings.filter(|(stage, _)| *stage != "total");
    timings.filter_map(|(stage, seconds)| Some((stage, seconds.as_f64()?))).collect()
}

/// Versions, machine, arguments and times.
pub(super) fn provenance(run: &Run) -> String {
    let mut leaves = Vec::new();
    for (key, value) in run.facts.iter().filter(|fact| !PLACED.contains(&fact.0.as_str())) {
        flatten(&words(key), value, &mut leaves);
    }
    let rows: Vec<(String, String)> = leaves
        .into_iter()
        .take(ROWS)
        .map(|(path, leaf)| {
            let value = match (path.as_str(), leaf) {
                // Spaces, not commas: it is a command line.
                ("argv", Value::Array(items)) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
                _ => plain(leaf),
            };
            (path, format!("<code>{}</code>", escape(&value)))
        })
        .collect();
    let mut html = if rows.is_empty() { notice("run.json says nothing about it.") } else { facts(&rows) };
    let timings = timings(run);
    let longest = timings.iter().map(|timing| timing.1).fold(f64::MIN_POSITIVE, f64::max);
    if !timings.is_empty() {
        let bar = |(stage, seconds): &(&String, f64)| {
            let width = 100.0 * (seconds / longest).clamp(0.0, 1.0);
            let bar = format!("<span class=\"bar\" aria-hidden=\"true\"><i style=\"width:{width:.1}%\"></i></span>");
            (words(stage), format!("{bar}{}", escape(&duration(*seconds))))
        };
        html += "<h3>Time by stage</h3>\n";
        html += &facts(&timings.iter().map(bar).collect::<Vec<_>>());
    }
    html
}
