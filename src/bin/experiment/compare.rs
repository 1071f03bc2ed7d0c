//! `experiment compare`: runs side by side.

use crate::output::Output;
use clap::Args;
use dalle::Result;
use dalle::harness::compare::Comparison;
use dalle::harness::notice;
use dalle::harness::run_dir::write_atomic;
use dalle::report::comparison;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Runs, or folders of runs: `results/NAME` is all of that name.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Writes one HTML file, with curves and pictures side by side.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub fn compare(args: &CompareArgs) -> Result<()> {
    let comparison = Comparison::of(&args.runs)?;
    args.output.tell(&comparison, || Ok(format!("{comparison}\n{}", comparison::curves(&comparison)?)))?;
    if let Some(path) = &args.html {
        write_atomic(path, comparison.html()?.as_bytes())?;
        notice::line(format_args!("written: {}", path.display()));
    }
    Ok(())
}
