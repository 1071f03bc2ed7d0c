//! The command line: `experiment SPEC.yaml`, and verbs on specs, runs and data. Only this file prints errors; the exit codes
//! are `Error::exit_code`'s.

mod bench;
mod check;
mod data;
mod device;
mod eval;
mod run;
mod sample;
mod verbs;
mod weights;

use clap::{Parser, Subcommand};
use dalle::kernels::heap::{self, Heap};
use dalle::{Error, Result};
use device::{CheckpointArgs, DeviceArgs};
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

// glibc gives large buffers back to the system at once and faults them in again: a sixth of a training step.
#[global_allocator]
static HEAP: Heap = Heap;

/// DALL·E (arXiv 2102.12092): train every stage from one spec, sample, rerank, measure.
#[derive(Debug, Parser)]
#[command(name = "experiment", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 a selftest failed, 2 bad spec or usage, 3 an expectation failed, 4 data missing or corrupt,\n\
    5 numeric failure, 6 input/output or device, 130 SIGINT and 75 SIGTERM after a checkpoint."
)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Finds every error of specs without running them, and looks at their data.
    Check(check::CheckArgs),
    /// Parameters, memory, arithmetic and time of a spec; allocates nothing.
    Plan {
        /// The spec.
        spec: PathBuf,
        /// Changes a value of the spec first.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        sets: Vec<String>,
    },
    /// Draws pictures of a caption with a trained run or with ruDALL-E, best first.
    Sample(sample::SampleArgs),
    /// A picture to the tokens of a first stage, as JSON.
    Encode {
        /// The run directory, or a file of `import openai-dvae` or `import taming-gumbel`.
        run: PathBuf,
        /// A picture whose sides the strides divide.
        image: PathBuf,
        /// Where the tokens go; standard output if left out.
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        older: CheckpointArgs,
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Tokens (from `encode`) back to a picture.
    Decode {
        /// The run directory, or a file of `import openai-dvae` or `import taming-gumbel`.
        run: PathBuf,
        /// The tokens' JSON file.
        tokens: PathBuf,
        /// The PNG to write.
        #[arg(long, default_value = "decoded.png")]
        out: PathBuf,
        #[command(flatten)]
        older: CheckpointArgs,
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Pictures by how well they match a caption, best first; several captions classify each picture.
    Rerank(verbs::RerankArgs),
    /// Draws the attention patterns of a layout as PNG.
    Masks {
        /// Text slots.
        #[arg(long)]
        text: usize,
        /// Side of the image grid.
        #[arg(long)]
        grid: usize,
        /// Side of the convolutional kernel.
        #[arg(long, default_value_t = 11)]
        kernel: usize,
        /// The folder to write to.
        #[arg(long)]
        out: PathBuf,
    },
    /// Times the works that speed is measured on, in this process.
    Bench(bench::BenchArgs),
    /// Compares every operation, a training step of each stage, checkpoints and sampling on a device with the CPU's.
    Selftest {
        // The CPU runs what a device without kernels of its own would.
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Measures a finished run on its validation sets, with intervals.
    Eval(eval::EvalArgs),
    /// Writes the report of a run, finished or growing.
    Report {
        /// The run directory.
        run: PathBuf,
    },
    /// Makes a dataset: `emoji` from npm packages, `shapes` as a folder to train on or a sheet to look at.
    Data(data::DataArgs),
    /// Published weights to a safetensors file with the published names; nothing in them is run.
    Import(weights::ImportArgs),
    /// Lists the tensors of a safetensors, .pt or .pkl file.
    Inspect {
        /// The file.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    heap::keep_pages();
    let cli = Cli::try_parse().unwrap_or_else(|error| error.exit());
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be listening there either.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(cli: Cli) -> Result<()> {
    dalle::harness::signals::survive_file_limit()?;
    // This thread is one of the workers: it would otherwise sleep, and be woken, at every short loop.
    let threads = cli.run.threads.unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global();
    pool.map_err(|e| Error::Usage(format!("--threads {threads}: {e}")))?;
    match cli.verb {
        None => run::run(&cli.run),
        Some(Verb::Check(args)) => check::check(&args),
        Some(Verb::Plan { spec, sets }) => verbs::plan(&spec, &sets),
        Some(Verb::Sample(args)) => args.device.run(|device| sample::sample(&args, device)),
        Some(Verb::Encode { run, image, out, older, device }) => {
            device.run(|device| verbs::encode(&run, &image, out.as_deref(), device, older.which()))
        }
        Some(Verb::Decode { run, tokens, out, older, device }) => {
            device.run(|device| verbs::decode(&run, &tokens, &out, device, older.which()))
        }
        Some(Verb::Rerank(args)) => args.device.run(|device| verbs::rerank(&args, device)),
        Some(Verb::Masks { text, grid, kernel, out }) => verbs::masks(text, grid, kernel, &out),
        Some(Verb::Bench(args)) => args.device.run(|device| bench::bench(&args, device)),
        Some(Verb::Selftest { device }) => device.run(verbs::selftest),
        Some(Verb::Eval(args)) => args.device.run(|device| eval::eval(&args, device)),
        Some(Verb::Report { run }) => run::report(&run),
        Some(Verb::Data(args)) => data::data(&args),
        Some(Verb::Import(args)) => weights::import_weights(&args),
        Some(Verb::Inspect { file }) => weights::inspect(&file),
    }
}

/// A line on standard output; `println!` would panic where that is closed or full.
fn say(line: impl Display) -> Result<()> {
    writeln!(io::stdout(), "{line}").map_err(Error::io("write", "standard output"))
}

/// A wrong argument.
fn usage<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Usage(what.into()))
}
