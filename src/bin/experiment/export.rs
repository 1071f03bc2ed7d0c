//! `experiment export`: runs for other programs.

use crate::device::CheckpointArgs;
use crate::output::Output;
use clap::{Args, Subcommand};
use dalle::Result;
use dalle::export::{self, Board, EVERY, Folder};
use dalle::harness::{notice, run_dir, signals};
use serde_json::json;
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
        #[command(flatten)]
        output: Output,
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
        /// The folder to write to, where none of the tables is yet.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        output: Output,
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
        #[command(flatten)]
        output: Output,
    },
}

pub fn export(args: &ExportArgs) -> Result<()> {
    match &args.what {
        What::Tensorboard { runs, out, follow, output } => {
            say_newest(runs)?;
            written("folders", &tensorboard(runs, out, *follow)?, *output)
        }
        What::Csv { runs, out, output } => {
            say_newest(runs)?;
            written("files", &export::tables(runs, out)?, *output)
        }
        What::Model { run, out, older, output } => {
            let Folder { path, stages, warnings } = export::model(run, out, older.which())?;
            for (stage, step) in &stages {
                notice::line(format_args!("{stage}: weights of step {step}"));
            }
            let steps: serde_json::Map<_, _> =
                stages.iter().map(|(stage, step)| (stage.to_string(), json!(step))).collect();
            output
                .tell(&json!({"folder": path, "steps": steps, "warnings": warnings}), || Ok(path.display().to_string()))
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

/// Where it is, a line each.
fn written(what: &str, paths: &[PathBuf], output: Output) -> Result<()> {
    let lines = || Ok(paths.iter().map(|path| format!("{}\n", path.display())).collect());
    output.tell(&json!({what: paths}), lines)
}

/// The folders that were written.
fn tensorboard(runs: &[PathBuf], out: &Path, follow: bool) -> Result<Vec<PathBuf>> {
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
    boards.into_iter().map(Board::finish).collect()
}
