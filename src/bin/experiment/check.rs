//! `experiment check`: every error of specs, and what their data hold.

use crate::output::Output;
use clap::Args;
use dalle::harness::load::Loaded;
use dalle::harness::models;
use dalle::harness::notice;
use dalle::harness::sources::{Sources, bounded};
use dalle::harness::survey::survey;
use dalle::harness::sweep::{self, Variant};
use dalle::models::presets;
use dalle::spec::{DataSpec, Spec, TextSpec};
use dalle::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The specs.
    #[arg(required = true)]
    specs: Vec<PathBuf>,
    /// Changes a value of each spec first: `--set transformer.steps=100`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Reads the specs alone: no model is built and no data are opened.
    #[arg(long)]
    spec_only: bool,
    #[command(flatten)]
    output: Output,
}

/// What was found of one file.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    file: &'a Path,
    /// How many specs it stands for; 0 where it is wrong.
    specs: usize,
    /// What is said of the data.
    says: Vec<String>,
    /// What is wrong.
    error: Option<String>,
}

pub fn check(args: &CheckArgs) -> Result<()> {
    let (mut worst, mut all) = (None, Vec::new());
    for path in &args.specs {
        let found = sweep::expand(path, &args.sets, presets::NAMES).and_then(|(variants, twice)| {
            let specs = variants.len();
            let lines = if args.spec_only { Vec::new() } else { every(variants)? };
            Ok((specs, twice.into_iter().chain(lines).collect::<Vec<String>>()))
        });
        match found {
            Ok((specs, says)) => {
                let many = if specs == 1 { String::new() } else { format!(", {specs} specs") };
                args.output.line(format_args!("{}: ok{many}", path.display()))?;
                says.iter().try_for_each(|line| args.output.line(line))?;
                all.push(Checked { file: path, specs, says, error: None });
            }
            Err(error) => {
                all.push(Checked { file: path, specs: 0, says: Vec::new(), error: Some(error.to_string()) });
                if let Some(earlier) = worst.replace(error) {
                    notice::error(&earlier);
                }
            }
        }
    }
    args.output.end(&all)?;
    worst.map_or(Ok(()), Err)
}

/// What the runs of a sweep would find; data and vocabulary that several have in common are looked at once.
fn every(variants: Vec<Variant>) -> Result<Vec<String>> {
    let (mut seen, mut lines): (Vec<(String, DataSpec, TextSpec)>, Vec<String>) = (Vec::new(), Vec::new());
    for Variant { loaded, .. } in variants {
        let Spec { preset, data: own, text, .. } = &loaded.spec;
        let key = (preset.clone(), own.clone(), text.clone());
        if seen.contains(&key) {
            models::named(&loaded.spec)?.architecture(&loaded.spec)?;
        } else {
            seen.push(key);
            lines.extend(data(loaded)?);
        }
    }
    Ok(lines)
}

/// What a run would find before it trains: models that do not fit, data that are missing or broken.
fn data(loaded: Loaded) -> Result<Vec<String>> {
    let architecture = models::named(&loaded.spec)?.architecture(&loaded.spec)?;
    let sources = Sources::open(&loaded, architecture.geometry.side)?;
    sources.look(&loaded.spec, architecture.geometry.side)?;
    let sets = survey(&loaded.spec, &sources, &architecture);
    let limit = loaded.spec.data.max_bad;
    if let Some(set) = sets.iter().find(|set| set.counts.too_broken(limit, set.samples)) {
        let (counts, first) = (&set.counts, set.counts.broken.first());
        let what = format!("{}; data.max_bad is {limit}; first: {first}", counts.summary());
        return Err(Error::data(&set.name, what));
    }
    let (_, few) = bounded(loaded, sources.train.len())?;
    let few = few.iter().map(|line| format!("  {line}"));
    Ok([format!("  {sources}")].into_iter().chain(sets.iter().map(ToString::to_string)).chain(few).collect())
}
