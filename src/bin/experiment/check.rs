//! `experiment check`: every error of specs, and what their data hold.

use crate::say;
use clap::Args;
use dalle::harness::load::{self, Loaded};
use dalle::harness::models;
use dalle::harness::notice;
use dalle::harness::sources::Sources;
use dalle::harness::survey::survey;
use dalle::models::presets;
use dalle::{Error, Result};
use std::path::PathBuf;

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
}

pub fn check(args: &CheckArgs) -> Result<()> {
    let mut worst = None;
    for path in &args.specs {
        let found = load::load(path, &args.sets, presets::NAMES).and_then(|loaded| match args.spec_only {
            true => Ok(Vec::new()),
            false => data(loaded),
        });
        match found {
            Ok(lines) => {
                say(format_args!("{}: ok", path.display()))?;
                lines.iter().try_for_each(say)?;
            }
            Err(error) => {
                if let Some(earlier) = worst.replace(error) {
                    notice::line(format_args!("error: {earlier}"));
                }
            }
        }
    }
    worst.map_or(Ok(()), Err)
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
    let (_, few) = sources.fit(loaded)?;
    let few = few.iter().map(|line| format!("  {line}"));
    Ok([format!("  {sources}")].into_iter().chain(sets.iter().map(ToString::to_string)).chain(few).collect())
}
