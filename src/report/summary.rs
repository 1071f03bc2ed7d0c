//! The results of a run in a few lines, for the terminal: the same names, units and figures as in the report.

use std::collections::BTreeSet;
use std::path::Path;

use super::figures::{figures, percent, unit, words};
use super::header;
use super::html::duration;
use super::run::Run;
use super::training::{kept, pace, rate};
use crate::Result;
use crate::evaluate::results::{Bounds, Choice, ResultRow, SetResults};
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
    let judged = run.results.as_ref().is_some_and(|results| !results.attribute_accuracy.is_empty());
    if tables.is_empty() || !(judged || run.results.as_ref().is_some_and(|results| !results.sets.is_empty())) {
        return String::new();
    }
    let mut text = tables.join("\n");
    if !judged {
        for (title, value, detail) in header::cards(run).iter().filter(|card| card.0.contains("similarity")) {
            text += &format!("\n{title}: {value} ({detail})\n");
        }
    }
    text
}

/// How often the pictures are right.
fn judged(run: &Run) -> Option<Table> {
    let accuracy = &run.results.as_ref()?.attribute_accuracy;
    if accuracy.is_empty() {
        return None;
    }
    let sets = accuracy.iter().map(|(set, _)| words(set));
    let mut table = Table::new(["right by the oracle".to_owned()].into_iter().chain(sets));
    let choices: BTreeSet<&Choice> = accuracy.iter().flat_map(|(_, of)| of.strict.keys()).collect();
    for choice in choices {
        let cells = accuracy.iter().map(|(_, of)| match of.strict.get(choice) {
            Some(share) => match share.interval {
                Some([low, high]) => format!("{} ({}–{})", percent(share.value), whole(low), whole(high)),
                None => percent(share.value),
            },
            None => "–".into(),
        });
        table.row([choice.title()].into_iter().chain(cells));
    }
    Some(table)
}

fn whole(share: f64) -> String {
    format!("{:.0}", 100.0 * share)
}

/// A few figures of the validation sets.
fn measured(run: &Run) -> Option<Table> {
    let sets = &run.results.as_ref()?.sets;
    if sets.is_empty() {
        return None;
    }
    let names = sets.iter().map(|(set, _)| words(set)).chain(["unit".to_owned()]);
    let mut table = Table::new(["validation sets".to_owned()].into_iter().chain(names));
    for quantity in KEY.iter().filter_map(|key| Bounds::QUANTITIES.iter().find(|quantity| quantity.key == *key)) {
        let row = |set: &SetResults| {
            let (_, figure) = set.bounds.figures().find(|(of, _)| *of == quantity)?;
            Some(figures(&ResultRow::of(quantity, figure)).0)
        };
        let cells: Vec<Option<String>> = sets.iter().map(|(_, set)| row(set)).collect();
        if cells.iter().any(Option::is_some) {
            let unit = unit(&ResultRow::of(quantity, f64::NAN.into())).to_owned();
            let cells = cells.into_iter().map(|cell| cell.unwrap_or("–".into())).chain([unit]);
            table.row([quantity.title.to_owned()].into_iter().chain(cells));
        }
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
        if let Some(from) = run.from(&stage.name) {
            table.row([format!("  from {from}")]);
        }
    }
    for (title, file) in run.files() {
        table.row([format!("{title}, from {file}")]);
    }
    for (name, seconds) in super::training::times(run).into_iter().filter(|(name, _)| !is_stage(run, name)) {
        table.row([name, String::new(), duration(seconds), String::new(), String::new(), String::new()]);
    }
    Some(table)
}

fn is_stage(run: &Run, title: &str) -> bool {
    run.stages.iter().any(|stage| super::panels::title(&stage.name) == title)
}
