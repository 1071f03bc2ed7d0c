//! The results of a run in a few lines, for the terminal: the same names, units and figures as in the report.

use std::path::Path;

use serde_json::Value;

use super::figures::{Estimate, choices, leaves, percent, words};
use super::header;
use super::html::duration;
use super::results::{accuracy, validation_sets};
use super::run::Run;
use super::training::{kept, pace, rate};
use crate::Result;
use crate::harness::table::Table;

/// The figures of validation sets that are shown.
const KEY: [&str; 4] = ["psnr", "codes_in_use", "image_token_nats", "attributes_after_reconstruction"];

/// What the run at `path` came to; the empty text where it has no results.
///
/// # Errors
/// Those of [`Run::read`].
pub fn summary(path: &Path) -> Result<String> {
    Ok(of(&Run::read(path)?))
}

fn of(run: &Run) -> String {
    let tables = [judged(run), measured(run), stages(run)];
    let tables: Vec<String> = tables.into_iter().flatten().map(|table| table.to_string()).collect();
    if tables.is_empty() || (accuracy(run).is_none() && validation_sets(run).is_empty()) {
        return String::new();
    }
    let mut text = tables.join("\n");
    if accuracy(run).is_none() {
        for (title, value, detail) in header::cards(run).iter().filter(|card| card.0.contains("similarity")) {
            text += &format!("\n{title}: {value} ({detail})\n");
        }
    }
    text
}

/// How often the pictures are right.
fn judged(run: &Run) -> Option<Table> {
    let accuracy = accuracy(run)?;
    let sets = accuracy.keys().map(|set| words(set));
    let mut table = Table::new(["right by the oracle".to_owned()].into_iter().chain(sets));
    for (key, choice) in choices(accuracy) {
        let cells = accuracy.values().map(|row| match row.get(&key).and_then(Estimate::new) {
            Some(cell) => match cell.low.zip(cell.high) {
                Some((low, high)) => format!("{} ({}–{})", percent(cell.value), whole(low), whole(high)),
                None => percent(cell.value),
            },
            None => "–".into(),
        });
        table.row([choice].into_iter().chain(cells));
    }
    Some(table)
}

fn whole(share: f64) -> String {
    format!("{:.0}", 100.0 * share)
}

/// A few figures of the validation sets.
fn measured(run: &Run) -> Option<Table> {
    let sets = validation_sets(run);
    let columns: Vec<_> = sets.iter().map(|(_, figures): &(&str, &Value)| leaves(&[], figures)).collect();
    let first = columns.first()?;
    let names = sets.iter().map(|(set, _)| words(set)).chain(["unit".to_owned()]);
    let mut table = Table::new(["validation sets".to_owned()].into_iter().chain(names));
    for row in KEY.iter().filter_map(|key| first.iter().find(|leaf| leaf.is(key))) {
        let cell = |column: &Vec<super::figures::Leaf<'_>>| {
            column.iter().find(|leaf| leaf.same(row)).map_or("–".into(), |leaf| leaf.figure().0)
        };
        let cells = columns.iter().map(cell).chain([row.unit().to_owned()]);
        table.row([row.title()].into_iter().chain(cells));
    }
    Some(table)
}

/// What the stages took.
fn stages(run: &Run) -> Option<Table> {
    if run.stages.is_empty() {
        return None;
    }
    let columns = ["stage", "steps", "time", "steps/s", "pictures/s", "checkpoint kept"];
    let mut table = Table::new(columns);
    for stage in &run.stages {
        let pace = pace(run, stage);
        table.row([
            super::panels::title(&stage.name),
            stage.step.to_string(),
            run.seconds(&stage.name).map_or("–".into(), duration),
            pace.as_ref().map_or("–".into(), |pace| rate(pace.steps)),
            pace.and_then(|pace| pace.pictures).map_or("–".into(), rate),
            kept(run, &stage.name).unwrap_or_else(|| "the last".into()),
        ]);
    }
    for (name, seconds) in super::training::times(run).into_iter().filter(|(name, _)| !is_stage(run, name)) {
        table.row([name, String::new(), duration(seconds), String::new(), String::new(), String::new()]);
    }
    Some(table)
}

fn is_stage(run: &Run, title: &str) -> bool {
    run.stages.iter().any(|stage| super::panels::title(&stage.name) == title)
}
