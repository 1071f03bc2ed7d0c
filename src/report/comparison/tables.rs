//! The tables: keys that differ, and figures with their intervals and differences.

use super::super::axis::number;
use super::super::figures::{detail, percent, words};
use super::super::html::{escape, notice};
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::{Better, SHARE};
use crate::harness::compare::{Comparison, Difference, Figure, Over, Row, Verdict};
use std::fmt::Write;

/// The most columns of groups, and rows of figures, that a table shows.
const GROUPS: usize = 24;
const ROWS: usize = 200;

/// The keys in which groups differ.
pub(super) fn specs(comparison: &Comparison) -> String {
    if comparison.keys.is_empty() {
        return notice("Their specs differ in nothing but the seed.");
    }
    let mut html = head(comparison, "key");
    for key in &comparison.keys {
        let _ = write!(html, "<tr><th scope=\"row\"><code>{}</code></th>", escape(&key.key));
        for group in 0..comparison.groups.len().min(GROUPS) {
            let _ = write!(html, "<td>{}</td>", escape(&key.word(group)));
        }
        html += "</tr>\n";
    }
    html + &foot(comparison)
}

/// What came of the groups.
pub(super) fn results(comparison: &Comparison) -> String {
    let mut html = format!(
        "<p>Of several seeds the mean, with a 95 % interval over the seeds (Student's); of one seed the run's own figure, with its \
         interval over pictures or captions where one is known. Below that, how far it is from {}: <span class=\"right\">better</span> \
         or <span class=\"wrong\">worse</span> where the 95 % interval of the difference leaves out 0. That is over the \
         seeds where both have several: one by one where they are the same (Student's), else over either's (Welch's). \
         Otherwise it is over the same pictures or captions, one by one, or over either run's where they are not the same, and says \
         nothing of other seeds.</p>\n",
        comparison.groups.first().map_or("A", |group| &group.letter),
    );
    let _ = writeln!(html, "<p>{}.</p>", escape(&comparison.verdict()));
    let several = comparison.groups.len() > 1;
    let (same, others): (Vec<&Row>, Vec<&Row>) =
        comparison.results.iter().partition(|row| several && !row.detail && row.is_same());
    let (details, rows): (Vec<&Row>, Vec<&Row>) = others.into_iter().partition(|row| row.detail);
    html += &table(comparison, &rows);
    for (rows, summary) in [(same, "The same in every group"), (details, "In detail; not counted above")] {
        if !rows.is_empty() {
            let inner = table(comparison, &rows);
            let _ = writeln!(html, "<details><summary>{summary}: {} figures</summary>\n{inner}</details>", rows.len());
        }
    }
    html
}

fn table(comparison: &Comparison, rows: &[&Row]) -> String {
    let mut html = head(comparison, "");
    for row in rows.iter().take(ROWS) {
        let unit = [unit(row), arrow(row.better)].join(" ");
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{} <span class=\"detail\">{}</span></th>",
            escape(&row.title),
            escape(unit.trim())
        );
        for (figure, group) in row.figures.iter().zip(&comparison.groups).take(GROUPS) {
            let cell = figure.as_ref().map_or("–".into(), |figure| cell(row, figure, group.seeds.len()));
            let _ = write!(html, "<td>{cell}</td>");
        }
        html += "</tr>\n";
    }
    html += &foot(comparison);
    if rows.len() > ROWS { html + &notice(&format!("{} more are left out.", rows.len() - ROWS)) } else { html }
}

fn cell(row: &Row, figure: &Figure, seeds: usize) -> String {
    let mut html = escape(&write(row)(figure.estimate.value));
    let own = of(row, figure, seeds);
    if !own.is_empty() {
        let _ = write!(html, "<span class=\"detail\">{}</span>", escape(&own));
    }
    if let Some(difference) = &figure.difference {
        let class = match difference.verdict {
            Some(Verdict::Better) => "detail right",
            Some(Verdict::Worse) => "detail wrong",
            _ => "detail",
        };
        let over = escape(self::over(difference.over));
        let words = escape(&away(row, difference));
        let _ = write!(html, "<span class=\"{class}\" title=\"{over}\">{words}</span>");
    }
    html
}

/// A figure's interval, its spread over seeds, and of how many it is, where that is not all of the group's.
pub(super) fn of(row: &Row, figure: &Figure, seeds: usize) -> String {
    let estimate = Estimate { n: figure.estimate.n.filter(|_| figure.seeds.len() == 1), ..figure.estimate };
    let mut words = vec![detail(&estimate, write(row))];
    if figure.seeds.len() > 1 && figure.seeds.len() < seeds {
        words.push(format!("{} seeds", figure.seeds.len()));
    }
    if let Some(spread) = figure.spread.filter(|spread| *spread > 0.0) {
        words.push(format!("sd {}", write(row)(spread)));
    }
    words.retain(|word| !word.is_empty());
    words.join(", ")
}

/// A difference in words.
pub(super) fn away(row: &Row, difference: &Difference) -> String {
    let signed = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, write(row)(value));
    let value = signed(difference.estimate.value);
    match (difference.verdict, difference.estimate.interval) {
        (_, None) if difference.estimate.value == 0.0 => "the same".into(),
        (Some(verdict), Some([low, high])) => {
            let word = match verdict {
                Verdict::Better => "better",
                Verdict::Worse => "worse",
                Verdict::Within => "within",
            };
            format!("{value} ({} to {}), {word}", signed(low), signed(high))
        }
        _ => format!("{value}, no interval"),
    }
}

/// What an interval is over, in words.
pub(super) fn over(over: Over) -> &'static str {
    match over {
        Over::SameSeeds => "over the same seeds, one by one",
        Over::Seeds => "over the seeds of either",
        Over::Pairs => "one seed each, over the same pictures or captions",
        Over::Each => "one seed each, over pictures or captions that are not the same",
    }
}

/// How the figures of a row are written.
pub(super) fn write(row: &Row) -> fn(f64) -> String {
    fn figure(value: f64) -> String {
        if value.is_finite() { number(value) } else { "–".into() }
    }
    if row.unit == SHARE { percent } else { figure }
}

/// A row's unit beside its figure: a percentage has its own.
pub(super) fn unit(row: &Row) -> &'static str {
    if row.unit == SHARE { "" } else { row.unit }
}

/// Which way is better.
pub(super) fn arrow(better: Better) -> &'static str {
    match better {
        Better::Higher => "↑",
        Better::Lower => "↓",
        Better::Neither => "",
    }
}

fn head(comparison: &Comparison, first: &str) -> String {
    let mut html = format!(
        "<div class=\"wide\"><table class=\"figures\">\n<thead><tr><th scope=\"col\">{}</th>",
        escape(&words(first))
    );
    for group in comparison.groups.iter().take(GROUPS) {
        let seeds = match group.seeds.len() {
            1 => "one seed".to_owned(),
            n => format!("{n} seeds"),
        };
        let _ = write!(html, "<th scope=\"col\">{} <span class=\"detail\">{seeds}</span></th>", escape(&group.letter));
    }
    html + "</tr></thead>\n<tbody>\n"
}

fn foot(comparison: &Comparison) -> String {
    let more = comparison.groups.len().saturating_sub(GROUPS);
    let left_out = if more > 0 { notice(&format!("{more} more groups are left out.")) } else { String::new() };
    "</tbody></table></div>\n".to_owned() + &left_out
}
