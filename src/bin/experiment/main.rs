//! The command line: `experiment SPEC.yaml`, and verbs on specs, runs and data. Only this file prints errors; the exit codes
//! are `Error::exit_code`'s.

mod bench;
mod check;
mod compare;
mod data;
mod device;
mod eval;
mod examples;
mod export;
mod list;
mod new;
mod output;
mod prune;
mod rerun;
mod run;
mod sample;
mod shell;
mod speech;
mod sweep;
mod verbs;
mod weights;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use dalle::error::printable;
use dalle::harness::notice;
use dalle::kernels::heap::{self, Heap};
use dalle::spec::schema;
use dalle::{Error, Result};
use device::{CheckpointArgs, DeviceArgs};
use output::Output;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

// glibc gives large buffers back to the system at once and faults them in again: a sixth of a training step.
#[global_allocator]
static HEAP: Heap = Heap;

/// DALL·E (arXiv 2102.12092): train every stage from one spec, sample, rerank, measure.
#[derive(Debug, Parser)]
#[command(name = "experiment", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 a selftest failed, 2 bad spec or usage, 3 an expectation failed or a rerun has other bits, 4 data missing or corrupt,\n\
    5 numeric failure, 6 input/output, device, memory or threads; after a checkpoint 130 SIGINT, 75 SIGTERM, SIGHUP, SIGUSR1."
)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: run::RunArgs,
    #[command(flatten)]
    speech: speech::SpeechArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The same as `experiment SPEC`.
    Train(run::RunArgs),
    /// Runs many specs of one file with `sweep:`; what is done is passed over, what was stopped is gone on with.
    Sweep(sweep::SweepArgs),
    /// The runs that there are: how they went and what they say.
    List(list::ListArgs),
    /// One run in a few lines: how it went, what came of it, what to look at.
    Show(list::ShowArgs),
    /// Runs side by side: what differs in their specs, in what came of them, and whether that is more than chance.
    ///
    /// Runs whose specs differ in the seed alone are one group, with mean and spread; every group is held against the first. A
    /// difference is better or worse where its 95 % interval leaves out 0.
    Compare(compare::CompareArgs),
    /// Says what of the runs below a folder is not needed any more, and frees it with --yes.
    ///
    /// What a crash left half written goes, and of runs that are done the older of the two checkpoints that a stage keeps while it trains;
    /// the newest and the best stay. Codes of pictures go that no run uses which stays. A run that is tagged or being written is left alone.
    Prune(prune::PruneArgs),
    /// Gives a run words to find it by.
    Tag(list::TagArgs),
    /// Writes a first spec for pictures of your own, with the reason and the planned time beside each choice.
    New(new::NewArgs),
    /// Runs a finished run again, and says whether the bits are the same; exit code 3 where they are not.
    Rerun(rerun::RerunArgs),
    /// Finds every error of specs without running them, and looks at their data.
    Check(check::CheckArgs),
    /// What a key of a spec says, what it may be and its default; all keys as a page if left out.
    Explain {
        /// A dotted path, as `transformer.optimizer.lr`.
        key: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// What a spec may hold, as JSON Schema for editors: JSON as it is.
    Schema {
        #[command(flatten)]
        output: Output,
    },
    /// Parameters, memory, arithmetic and time of a spec; allocates nothing.
    Plan {
        /// The spec.
        spec: PathBuf,
        /// Changes a value of the spec first.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        sets: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Draws pictures of a caption with a trained run or with ruDALL-E, best first.
    Sample(sample::SampleArgs),
    /// A picture to the tokens of a first stage, as JSON.
    Encode {
        /// The run directory, or a file of `import openai-dvae` or `import taming-gumbel`.
        run: PathBuf,
        /// A picture whose sides the strides divide.
        image: PathBuf,
        /// Where the tokens go; standard output if left out, where they are JSON as they are.
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
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
        output: Output,
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
        #[command(flatten)]
        output: Output,
    },
    /// Times the benchmarks that speed is measured on, in this process.
    Bench(bench::BenchArgs),
    /// Compares every operation, a training step of each stage, checkpoints and sampling on a device with the CPU's.
    Selftest {
        // The CPU runs what a device without kernels of its own would.
        #[command(flatten)]
        device: DeviceArgs,
        #[command(flatten)]
        output: Output,
    },
    /// Measures a finished run on its validation sets, with intervals.
    Eval(eval::EvalArgs),
    /// Writes the report of a run, finished or growing.
    Report {
        /// The run directory.
        run: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Runs for other programs: TensorBoard, tables, a folder of models as Hugging Face has them.
    Export(export::ExportArgs),
    /// Makes a dataset: `emoji` from npm packages, `shapes` as a folder to train on or a sheet to look at.
    Data(data::DataArgs),
    /// Published weights to a safetensors file with the published names; nothing in them is run.
    Import(weights::ImportArgs),
    /// Lists the tensors of a safetensors, .pt or .pkl file.
    Inspect {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// What a shell completes of a command that is being typed.
    Completions(shell::CompletionsArgs),
    /// The program's manual, for `man`.
    Man(shell::ManArgs),
}

fn main() -> ExitCode {
    heap::keep_pages();
    heap::end_without_memory();
    let done = match parse().map_err(|said| (misspelt(&said), said)) {
        Ok(cli) => execute(cli),
        // A misspelt verb is taken for a spec, and what follows it for verbs.
        Err((Some(what), _)) => usage(what),
        // Help, the version, or what is wrong with the arguments.
        Err((None, said)) => match (said.print(), said.exit_code()) {
            (Err(error), 0) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::io("write", "standard output")(error))
            }
            (_, code) => return ExitCode::from(code.try_into().unwrap_or(2)),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            notice::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// What to say of the first argument where it is neither a spec nor a verb, and the others do not go with it.
fn misspelt(said: &clap::Error) -> Option<String> {
    if said.kind() != clap::error::ErrorKind::ArgumentConflict {
        return None;
    }
    let first = std::env::args_os().nth(1)?;
    let is_verb = Cli::command().get_subcommands().any(|verb| first == verb.get_name());
    if is_verb { None } else { run::misspelt(first.to_str()?) }
}

/// The arguments. A number below 0 is a number to every option: what it may be is the option's to say.
fn parse() -> std::result::Result<Cli, clap::Error> {
    let numbers = |command: clap::Command| {
        command.mut_args(|arg| {
            let takes = arg.get_action().takes_values() && !arg.is_positional();
            if takes { arg.allow_negative_numbers(true) } else { arg }
        })
    };
    let arguments = speech::behind(std::env::args_os());
    let command = numbers(command()).mut_subcommands(numbers).color(speech::choice(&arguments));
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// The program's arguments, with examples of each verb.
fn command() -> clap::Command {
    examples::with(Cli::command())
}

fn execute(cli: Cli) -> Result<()> {
    cli.speech.heed();
    dalle::harness::signals::survive_file_limit()?;
    let asked = match &cli.verb {
        Some(Verb::Train(args)) => args.threads,
        Some(Verb::Sweep(args)) => args.threads,
        Some(Verb::Rerun(args)) => args.threads(PER_CORE * cores()),
        _ => cli.run.threads,
    };
    let threads = threads(asked)?;
    // This thread is one of the workers: it would otherwise sleep, and be woken, at every short loop.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global();
    pool.map_err(|e| Error::Device(format!("cannot start {threads} threads: {e}; --threads asks for fewer")))?;
    match cli.verb {
        None => match cli.run.misspelt() {
            Some(verb) => usage(verb),
            None => run::run(&cli.run),
        },
        Some(Verb::Train(args)) => run::run(&args),
        Some(Verb::Sweep(args)) => sweep::sweep(&args),
        Some(Verb::List(args)) => list::list(&args),
        Some(Verb::Show(args)) => list::show(&args),
        Some(Verb::Compare(args)) => compare::compare(&args),
        Some(Verb::Prune(args)) => prune::prune(&args),
        Some(Verb::Tag(args)) => list::tag(&args),
        Some(Verb::New(args)) => new::new(&args),
        Some(Verb::Rerun(args)) => rerun::rerun(&args),
        Some(Verb::Check(args)) => check::check(&args),
        Some(Verb::Explain { key: None, output }) => output.tell(schema::json(), || Ok(schema::page())),
        Some(Verb::Explain { key: Some(key), output }) => {
            output.tell(&schema::explained(&key)?, || schema::explain(&key))
        }
        Some(Verb::Schema { output }) => output.tell(schema::json(), || Ok(format!("{:#}", schema::json()))),
        Some(Verb::Plan { spec, sets, output }) => verbs::plan(&spec, &sets, output),
        Some(Verb::Sample(args)) => args.device.run(|device| sample::sample(&args, device)),
        Some(Verb::Encode { run, image, out, output, older, device }) => {
            device.run(|device| verbs::encode(&run, &image, out.as_deref(), (device, output), older.which()))
        }
        Some(Verb::Decode { run, tokens, out, output, older, device }) => {
            device.run(|device| verbs::decode(&run, &tokens, &out, (device, output), older.which()))
        }
        Some(Verb::Rerank(args)) => args.device.run(|device| verbs::rerank(&args, device)),
        Some(Verb::Masks { text, grid, kernel, out, output }) => verbs::masks(text, grid, kernel, (&out, output)),
        Some(Verb::Bench(args)) => args.device.run(|device| bench::bench(&args, device)),
        Some(Verb::Selftest { device, output }) => device.run(|device| verbs::selftest(device, output)),
        Some(Verb::Eval(args)) => args.device.run(|device| eval::eval(&args, device)),
        Some(Verb::Report { run, output }) => run::report(&run, output),
        Some(Verb::Export(args)) => export::export(&args),
        Some(Verb::Data(args)) => data::data(&args),
        Some(Verb::Import(args)) => weights::import_weights(&args),
        Some(Verb::Inspect { file, output }) => weights::inspect(&file, output),
        Some(Verb::Completions(args)) => shell::completions(&args, command()),
        Some(Verb::Man(args)) => shell::man(&args, command()),
    }
}

/// More threads than so many for each core only take memory and time.
const PER_CORE: usize = 4;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Threads for every core, or as many as are asked for, within reason.
fn threads(asked: Option<usize>) -> Result<usize> {
    let cores = cores();
    let (option, asked) = match asked {
        Some(threads) => ("--threads", threads),
        // What rayon reads, which takes anything else than a number above 0 for none.
        None => {
            let set = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
            ("RAYON_NUM_THREADS", set.unwrap_or(0))
        }
    };
    if asked > PER_CORE * cores {
        let most = PER_CORE * cores;
        return usage(format!("{option} {asked}: expected at most {most}, {PER_CORE} for each of {cores} cores"));
    }
    Ok(if asked == 0 { cores } else { asked })
}

/// A line on standard output; `println!` would panic where that is closed or full. Where nobody reads on (`| head`), the
/// lines go nowhere and the work goes on: what it writes elsewhere is still wanted.
fn say(line: impl Display) -> Result<()> {
    match writeln!(io::stdout(), "{}", printable(&line.to_string())) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::io("write", "standard output")(error)),
        _ => Ok(()),
    }
}

/// A wrong argument.
fn usage<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Usage(what.into()))
}
