//! The report of a run: one HTML file with charts, pictures, tables and the spec, that needs nothing else, no network and
//! no script. It reads only the run directory, so it can be written while the run goes on and again after it.
//! Charts, masks and grids are public for notebooks.

pub(crate) mod axis;
pub(crate) mod charts;
pub mod comparison;
mod data;
mod evaluation;
pub(crate) mod figures;
pub mod grid;
mod header;
pub(crate) mod html;
pub(crate) mod masks;
pub(crate) mod panels;
mod pictures;
mod provenance;
pub(crate) mod results;
pub mod run;
pub mod summary;
mod training;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::harness::run_dir::write_atomic;
pub use html::duration;
use html::{Section, escape, notice};
use run::{Masks, Run};

/// Writes `report.html` into the run directory `run` and returns its path. An older report is replaced at once, never
/// left half-written. Whatever is missing in the run is said in the report.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) if `run` holds no readable `run.json`; [`Error::Io`](crate::Error::Io) if the report cannot be written.
pub fn write(run: &Path) -> Result<PathBuf> {
    let path = run.join("report.html");
    write_atomic(&path, page(&Run::read(run)?).as_bytes())?;
    Ok(path)
}

/// The report as HTML.
pub fn page(run: &Run) -> String {
    let title = format!("{} · DALL·E experiment", run.text("name").unwrap_or("run"));
    let evaluation = run.evaluation.as_ref().map(evaluation::section);
    let progress = (!run.progress.is_empty()).then(|| pictures::progress(run));
    let sections = [
        ("samples", "Samples", Some(pictures::samples(run))),
        ("results", "Results", Some(results::section(run))),
        ("evaluation", "Evaluation", evaluation),
        ("reconstructions", "Reconstructions", Some(pictures::reconstructions(run))),
        ("progress", "As training went on", progress),
        ("training", "Training", Some(training::section(run))),
        ("data", "Data", Some(data::section(run))),
        ("masks", "Attention masks", Some(attention(run.masks.as_ref()))),
        ("provenance", "Provenance", Some(provenance::section(run))),
        ("spec", "Specification", Some(specification(run))),
    ];
    let there = |(id, title, body): (_, _, Option<String>)| Some(Section { id, title, body: body? });
    let sections: Vec<Section> = sections.into_iter().filter_map(there).collect();
    html::page(&title, &(header::header(run) + &absent(run)), &sections)
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
