//! A comparison in the terminal.

use super::curves::stages;
use super::tables::{arrow, away, of, over, unit, write};
use super::{SIDE_BY_SIDE, folder};
use crate::Result;
use crate::evaluate::results::Better;
use crate::harness::compare::{Comparison, Over, Row, Verdict};
use crate::harness::table::{Table, WIDTH, wrapped};
use crate::report::{axis, panels};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Figures of many groups, the most telling first: as many as fit a line.
const KEY: [&str; 4] = ["best_of", "psnr", "image_token_nats", "codes_in_use"];
/// The most groups that are listed.
const GROUPS: usize = 40;

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Told { groups, results, lines } = told(self);
        write!(f, "{groups}\n{results}\n")?;
        lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A comparison in two tables, and what is to be said of them.
pub(crate) struct Told {
    /// What each group is.
    pub groups: Table,
    /// What came of them.
    pub results: Table,
    /// What was left out, how many differences count, what their intervals are over, and the notes.
    pub lines: Vec<String>,
}

/// What a terminal and a notebook say of a comparison.
pub(crate) fn told(comparison: &Comparison) -> Told {
    let rows = comparison.results.iter().filter(|row| !row.detail && row.better != Better::Neither);
    let (same, rows): (Vec<&Row>, Vec<&Row>) = rows.partition(|row| comparison.groups.len() > 1 && row.is_same());
    let few_groups = comparison.groups.len() <= SIDE_BY_SIDE;
    let mut lines = Vec::new();
    let results = if few_groups { few(comparison, &rows) } else { many(comparison, &rows, &mut lines) };
    if comparison.groups.len() > GROUPS {
        lines.push(format!(
            "{} more groups are not listed: `experiment compare --json` has all",
            comparison.groups.len() - GROUPS
        ));
    }
    if let Some(first) = same.first() {
        lines.push(format!("The same in every group: {} figures, such as {}.", same.len(), first.title));
    }
    lines.push(format!("{}.", comparison.verdict()));
    let overs = rows.iter().flat_map(|row| &row.figures).filter_map(|figure| figure.as_ref()?.difference.as_ref());
    let known: Vec<Over> = overs.filter(|difference| difference.verdict.is_some()).map(|of| of.over).collect();
    for kind in [Over::SameSeeds, Over::Seeds, Over::Pairs, Over::Each] {
        let number = known.iter().filter(|over| **over == kind).count();
        if number > 0 {
            lines.push(format!("Intervals of {number}: {}.", over(kind)));
        }
    }
    if comparison.groups.iter().any(|group| group.seeds.len() == 1) {
        lines.push("One seed shows no spread over seeds.".into());
    }
    lines.extend(comparison.notes.iter().map(|note| format!("note: {note}")));
    Told { groups: groups(comparison), results, lines }
}

/// What each group is: what tells it from others in columns, or where those are too wide for a terminal in lines below it.
fn groups(comparison: &Comparison) -> Table {
    let in_columns = groups_with(comparison, true);
    if in_columns.width() <= WIDTH { in_columns } else { groups_with(comparison, false) }
}

fn groups_with(comparison: &Comparison, in_columns: bool) -> Table {
    let keys = comparison.keys.iter().filter(|_| in_columns).map(|key| key.key.clone());
    let head = ["group", "seeds", "run"].map(str::to_owned);
    let mut table = Table::new(head.into_iter().chain(keys));
    for (at, group) in comparison.groups.iter().enumerate().take(GROUPS) {
        let seeds = match group.seeds.len() {
            1..=5 => group.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" "),
            n => format!("{n}"),
        };
        let more = if group.runs.len() > 1 { format!(" and {} more", group.runs.len() - 1) } else { String::new() };
        let run = format!("{}{more}", group.runs.first().map(|run| folder(run)).unwrap_or_default());
        let values = comparison.keys.iter().filter(|_| in_columns).map(|key| key.word(at));
        table.row([group.letter.clone(), seeds, run].into_iter().chain(values));
        if !in_columns {
            let words: Vec<String> =
                comparison.keys.iter().map(|key| format!("{}={}", key.key, key.word(at))).collect();
            let lines = wrapped(words.iter().map(String::as_str), WIDTH - INDENT.len());
            lines.into_iter().for_each(|line| table.row([format!("{INDENT}{line}")]));
        }
    }
    table
}

/// Before what belongs to the line above.
const INDENT: &str = "  ";

/// A line for each figure, and below it one for each group.
fn few(comparison: &Comparison, rows: &[&Row]) -> Table {
    let first = comparison.groups.first().map_or("A", |group| &group.letter);
    let mut table = Table::new(["figure", "value", "95 % interval", &format!("less {first}")]);
    for row in rows {
        let unit = [unit(row), arrow(row.better)].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        table.row([format!("{}, {}", row.title, unit.join(" "))]);
        for (at, figure) in row.figures.iter().enumerate() {
            let (group, seeds) =
                (format!("{INDENT}{}", comparison.groups[at].letter), comparison.groups[at].seeds.len());
            let Some(figure) = figure else {
                table.row([group, "–".into()]);
                continue;
            };
            let away = figure.difference.as_ref().map(|difference| away(row, difference)).unwrap_or_default();
            table.row([group, write(row)(figure.estimate.value), of(row, figure, seeds), away]);
        }
    }
    table
}

/// A line for each group, with the most telling figures. Where their names are too wide for a terminal the columns have numbers, and
/// `lines` say whose.
fn many(comparison: &Comparison, rows: &[&Row], lines: &mut Vec<String>) -> Table {
    let telling =
        |key: &&str| rows.iter().find(|row| row.path.rsplit('.').next().is_some_and(|own| own.starts_with(*key)));
    let rows: Vec<&&Row> = KEY.iter().filter_map(telling).collect();
    let titles: Vec<String> = rows.iter().map(|row| format!("{} {}", row.title, arrow(row.better))).collect();
    let head = |titles: &[String]| Table::new(["group".to_owned()].into_iter().chain(titles.iter().cloned()));
    let mut table = head(&titles);
    if table.width() > WIDTH {
        let number = |at: usize| format!("({}) {}", at + 1, arrow(rows[at].better));
        table = head(&(0..rows.len()).map(number).collect::<Vec<_>>());
        lines.extend(titles.iter().enumerate().map(|(at, title)| format!("({}): {title}", at + 1)));
    }
    for (at, group) in comparison.groups.iter().enumerate().take(GROUPS) {
        let cell = |row: &&&Row| {
            let Some(figure) = &row.figures[at] else { return "–".to_owned() };
            let mark = match figure.difference.as_ref().and_then(|difference| difference.verdict) {
                Some(Verdict::Better) => " better",
                Some(Verdict::Worse) => " worse",
                Some(Verdict::Within) => " within",
                None => "",
            };
            write(row)(figure.estimate.value) + mark
        };
        table.row([group.letter.clone()].into_iter().chain(rows.iter().map(cell)));
    }
    table
}

/// The curves of validation in blocks, the highest value of all groups the tallest.
///
/// # Errors
/// Those of [`Run::read`](crate::report::run::Run::read).
pub fn curves(comparison: &Comparison) -> Result<String> {
    /// What a stage's validation is judged by.
    const METRICS: [&str; 3] = ["val_nll", "val_image_loss", "val_loss"];
    let stages = stages(comparison)?;
    let mut table = Table::new(["curve", "", "", "last"]);
    let mut named: Vec<(&str, &str)> = Vec::new();
    for stage in stages.iter().flatten() {
        let judged = METRICS.iter().find(|metric| stage.curves.iter().any(|curve| curve.0 == **metric));
        named.extend(judged.map(|metric| (stage.name.as_str(), *metric)).filter(|of| !named.contains(of)));
    }
    for (name, metric) in named {
        let curve = |stages: &'_ Vec<crate::report::run::Stage>| -> Option<BTreeMap<u64, f64>> {
            let stage = stages.iter().find(|stage| stage.name == name)?;
            stage.curves.iter().find(|curve| curve.0 == metric).map(|curve| curve.1.clone())
        };
        let curves: Vec<Option<BTreeMap<u64, f64>>> = stages.iter().map(curve).collect();
        let values = || curves.iter().flatten().flat_map(BTreeMap::values).copied().filter(|value| value.is_finite());
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        for (at, curve) in curves.iter().enumerate() {
            let title = if at == 0 {
                format!("{}: {}", panels::title(name), panels::quantity(name, metric))
            } else {
                String::new()
            };
            let (blocks, last) = curve.as_ref().map_or(("–".into(), String::new()), |curve| {
                (blocks(curve, low, high), curve.values().last().map(|last| axis::number(*last)).unwrap_or_default())
            });
            table.row([title, comparison.groups[at].letter.clone(), blocks, last]);
        }
    }
    Ok(if table.rows().len() > 1 { table.to_string() } else { String::new() })
}

/// At most 24 blocks, each the mean of its part of the curve.
fn blocks(curve: &BTreeMap<u64, f64>, low: f64, high: f64) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const MOST: usize = 24;
    let values: Vec<f64> = curve.values().copied().collect();
    let block = |part: &[f64]| {
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        let height = if high > low { (mean - low) / (high - low) } else { 0.0 };
        if height.is_finite() { BLOCKS[(height * 7.0).round().clamp(0.0, 7.0) as usize] } else { '·' }
    };
    values.chunks(values.len().div_ceil(MOST).max(1)).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_high_as_the_curve() {
        let curve = BTreeMap::from([(1, 4.0), (2, 2.0), (3, 0.5), (4, f64::NAN)]);
        assert_eq!(blocks(&curve, 0.5, 4.0), "█▄▁·");
        assert_eq!(blocks(&curve, 4.0, 4.0).chars().count(), 4);
    }
}
