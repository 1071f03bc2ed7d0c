//! `experiment prune`: what runs do not need any more.

use crate::output::Output;
use clap::Args;
use dalle::Result;
use dalle::harness::prune::Pruning;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Where the runs are.
    #[arg(default_value = "results")]
    folder: PathBuf,
    /// Frees it; without this nothing is changed.
    #[arg(long)]
    yes: bool,
    /// Whole runs too, where a newer one of the same spec is done.
    #[arg(long)]
    superseded: bool,
    #[command(flatten)]
    output: Output,
}

pub fn prune(args: &PruneArgs) -> Result<()> {
    let pruning = Pruning::of(&args.folder, args.superseded)?;
    args.output.say(&if args.yes { pruning.carry_out()? } else { pruning })
}
