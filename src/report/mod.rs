//! The report of a run: one HTML file with charts, pictures, tables and the spec, that needs nothing else, no network and
//! no script. It reads only the run directory, so it can be written while the run goes on and again after it.
//! Charts, masks and grids are public for notebooks.

pub mod axis;
pub mod charts;
mod evaluation;
pub mod grid;
pub(crate) mod html;
pub mod masks;
pub(crate) mod panels;
mod pictures;
pub(crate) mod results;
pub mod run;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::harness::run_dir::write_atomic;
use html::{Section, duration, escape, notice};
use run::{Masks, Run};

/// At most so many stages, and charts of each, are shown.
const STAGES: usize = 12;
const CHARTS: usize = 32;

/// Writes `report.html` into the run directory `run` and returns its path. An older report is replaced at once, never
/// left half-written. Whatever is missing in the run is said in the report.
///
/// # Errors
/// [`Error::Data`] if `run` holds no readable `run.json`; [`Error::Io`] if the report cannot be written.
pub fn write(run: &Path) -> Result<PathBuf> {
    let path = run.join("report.html");
    write_atomic(&path, page(&Run::read(run)?).as_bytes())?;
    Ok(path)
}

/// The report as HTML.
pub fn page(run: &Run) -> String {
    let title = format!("{} · DALL·E experiment", run.text("name").unwrap_or("run"));
    let mut sections = vec![
        Section { id: "results", title: "Results", body: results::section(run) },
        Section { id: "samples", title: "Samples", body: pictures::samples(run) },
        Section { id: "reconstructions", title: "Reconstructions", body: pictures::reconstructions(run) },
        Section { id: "training", title: "Training", body: training(run) },
        Section { id: "masks", title: "Attention masks", body: attention(run.masks.as_ref()) },
        Section { id: "provenance", title: "Provenance", body: results::provenance(run) },
        Section { id: "spec", title: "Specification", body: specification(run) },
    ];
    if let Some(evaluation) = &run.evaluation {
        sections.insert(1, Section { id: "evaluation", title: "Evaluation", body: evaluation::section(evaluation) });
    }
    html::page(&title, &(results::header(run) + &absent(run)), &sections)
}

/// What the run directory lacks.
fn absent(run: &Run) -> String {
    if run.absent.is_empty() {
        return String::new();
    }
    let mut list =
        String::from("<details class=\"absent\" open><summary>Not everything could be shown</summary><ul>\n");
    for (file, why) in &run.absent {
        let _ = writeln!(list, "<li><code>{}</code>: {}</li>", escape(file), escape(why));
    }
    list + "</ul></details>\n"
}

fn training(run: &Run) -> String {
    if run.stages.is_empty() {
        return notice("No curves: metrics.jsonl is not there, or empty.");
    }
    let mut html = String::new();
    for stage in run.stages.iter().take(STAGES) {
        let time = stage.time.map_or(String::new(), |time| format!(", {}", duration(time)));
        let title = escape(&panels::title(&stage.name));
        let _ = writeln!(html, "<h3>{title} <small>{} steps{}</small></h3>\n<div class=\"charts\">", stage.step, time);
        let charts = panels::charts(stage);
        html.extend(charts.iter().take(CHARTS).map(charts::line));
        html += "</div>\n";
        if charts.len() > CHARTS {
            html += &notice(&format!("{} more quantities are left out.", charts.len() - CHARTS));
        }
    }
    if run.stages.len() > STAGES {
        html += &notice(&format!("{} more stages are left out.", run.stages.len() - STAGES));
    }
    html
}

fn attention(masks: Option<&Masks>) -> String {
    let Some(masks) = masks else { return notice("No masks: masks.json is not there, or cannot be read.") };
    let Masks { text, grid, layers, patterns } = masks;
    let mut html = format!(
        "<p>{text} text positions, then {grid} × {grid} image positions in raster order. A coloured pixel lets the query of \
         its row attend to the key of its column: blue keys are text, orange keys are image.</p>\n",
    );
    if !layers.is_empty() {
        let layers: Vec<String> = layers.iter().map(|layer| format!("<li>{}</li>", escape(layer))).collect();
        let _ = writeln!(html, "<p>Layers, first to last:</p>\n<ol class=\"layers\">{}</ol>", layers.concat());
    }
    html += "<div class=\"charts\">\n";
    let first_layer = |name: &String| layers.iter().position(|layer| layer == name).unwrap_or(usize::MAX);
    let mut patterns: Vec<_> = patterns.iter().collect();
    patterns.sort_by_key(|pattern| first_layer(pattern.0));
    for (name, pattern) in patterns {
        let uses = layers.iter().filter(|layer| *layer == name).count();
        let title = if uses == 0 { name.clone() } else { format!("{name} · {uses} of {} layers", layers.len()) };
        html += &match masks::rows(pattern) {
            Ok(rows) => masks::mask(&title, &rows, *text),
            Err(why) => charts::note(&title, &why),
        };
    }
    html + "</div>\n"
}

fn specification(run: &Run) -> String {
    if run.specs.is_empty() {
        return notice("No specification: neither spec.yaml nor spec.resolved.yaml is there.");
    }
    let block = |(name, text): &(&str, String)| {
        let what = if *name == "spec.yaml" { "as given" } else { "with every default filled in" };
        format!("<details><summary><code>{name}</code> {what}</summary><pre>{}</pre></details>\n", escape(text))
    };
    run.specs.iter().map(block).collect()
}
