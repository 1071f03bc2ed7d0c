//! `experiment export`: runs for other programs.

use crate::device::CheckpointArgs;
use crate::say;
use clap::{Args, Subcommand};
use dalle::Result;
use dalle::export::{self, Board, EVERY};
use dalle::harness::{notice, run_dir, signals};
use std::path::{Path, PathBuf};
use std::thread;

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Curves, pictures, settings and results as TensorBoard's event files; a folder for each run and stage.
    #[command(after_long_help = "Examples:\n  \
        experiment export tensorboard results/quickstart --out logs && tensorboard --logdir logs\n  \
        experiment export tensorboard results/rates/2* --out logs --follow\n  \
        experiment train experiments/quickstart.yaml --tensorboard logs")]
    Tensorboard {
        /// Run directories, or `results/<name>` for the newest in there.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// The folder to write to, as `tensorboard --logdir` takes it.
        #[arg(long)]
        out: PathBuf,
        /// Goes on while somebody writes one of the runs.
        #[arg(long)]
        follow: bool,
    },
    /// Metrics, results and settings as tables, one row a figure.
    #[command(after_long_help = "Examples:\n  \
        experiment export csv results/quickstart results/emoji --out tables\n\n\
        metrics.csv   run,stage,step,time,quantity,value\n\
        results.csv   run,quantity,value,low,high,n\n\
        settings.csv  run,key,value")]
    Csv {
        /// Run directories, or `results/<name>` for the newest in there.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// The folder to write to.
        #[arg(long)]
        out: PathBuf,
    },
    /// The models of a run as a folder in the manner of Hugging Face: weights, configurations, a card, and code that runs them.
    #[command(after_long_help = "Examples:\n  \
        experiment export model results/quickstart --out quickstart\n\n\
        CLIP is read by transformers.CLIPModel.from_pretrained(\"quickstart/clip\"), the first stage and the transformer by the\n\
        folder's load.py.")]
    Model {
        /// The run directory, or `results/<name>` for the newest in there.
        run: PathBuf,
        /// The folder to write, which must be empty or not there.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        older: CheckpointArgs,
    },
}

pub fn export(args: &ExportArgs) -> Result<()> {
    match &args.what {
        What::Tensorboard { runs, out, follow } => {
            say_newest(runs)?;
            tensorboard(runs, out, *follow)
        }
        What::Csv { runs, out } => {
            say_newest(runs)?;
            export::tables(runs, out)?.iter().try_for_each(|path| say(path.display()))
        }
        What::Model { run, out, older } => {
            let folder = export::model(run, out, older.which())?;
            for (stage, step) in &folder.stages {
                notice::line(format_args!("{stage}: weights of step {step}"));
            }
            say(folder.path.display())
        }
    }
}

/// Which run is taken where a folder of runs is named.
fn say_newest(runs: &[PathBuf]) -> Result<()> {
    for path in runs {
        let newest = run_dir::find(path)?;
        if newest != *path {
            notice::line(format_args!("{}: its newest run, {}", path.display(), newest.display()));
        }
    }
    Ok(())
}

fn tensorboard(runs: &[PathBuf], out: &Path, follow: bool) -> Result<()> {
    let mut boards = runs.iter().map(|run| Board::open(run, out)).collect::<Result<Vec<_>>>()?;
    if follow {
        let stop = signals::install()?;
        loop {
            boards.iter_mut().try_for_each(Board::update)?;
            let grow = boards.iter().map(Board::grows).collect::<Result<Vec<_>>>()?;
            if stop.requested().is_some() || !grow.contains(&true) {
                break;
            }
            thread::sleep(EVERY);
        }
    }
    boards.into_iter().try_for_each(|board| say(board.finish()?.display()))
}
