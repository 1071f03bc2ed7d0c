//! `experiment sweep`: a file that stands for many specs, all of them, one of them, or as a script for a cluster.

use crate::device::DeviceArgs;
use crate::output::Output;
use crate::run;
use crate::usage;
use clap::{Args, ValueEnum};
use dalle::harness::plan;
use dalle::harness::shared::{self, Shared};
use dalle::harness::sweep::{self, Frozen, Index, Jobs, Runs, Target, Variant};
use dalle::harness::{notice, signals};
use dalle::models::presets;
use dalle::{Error, Result};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct SweepArgs {
    /// A spec with `sweep:`, or the folder of a sweep that was frozen.
    sweep: PathBuf,
    /// Changes a value of the spec before it is swept.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Where run directories go.
    #[arg(long, default_value = "results")]
    out: PathBuf,
    /// Processes at once; with --emit, tasks at once. One if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: Option<u32>,
    /// Runs this one of the specs: starts it, goes on with it, or finds it done.
    #[arg(long, value_name = "I", conflicts_with_all = ["jobs", "emit", "dry_run"])]
    index: Option<usize>,
    /// Prints the sweep as a job for a cluster instead of running it.
    #[arg(long, value_enum, value_name = "WHO", conflicts_with = "dry_run")]
    emit: Option<Emit>,
    /// Writes TensorBoard's files of every run below DIR while they go on.
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Checks every spec of it and prints what each would cost; writes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Threads of each process; the cores shared out among the processes if left out. Results do not depend on it.
    #[arg(long)]
    pub threads: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Emit {
    /// A script for sbatch.
    Slurm,
    /// An indexed Job for kubectl.
    K8s,
    /// A script for any shell.
    Sh,
}

pub fn sweep(args: &SweepArgs) -> Result<()> {
    let frozen = match Frozen::open(&args.sweep)? {
        Some(_) if !args.sets.is_empty() => {
            return usage("--set changes a spec before it is swept; this sweep is frozen");
        }
        Some(frozen) => {
            if args.dry_run {
                let variant = |index: usize| -> Result<Variant> {
                    let said = frozen.rows[index].1.clone();
                    Ok(Variant { said, loaded: frozen.spec(index, presets::NAMES)? })
                };
                return cost(args, &(0..frozen.rows.len()).map(variant).collect::<Result<Vec<_>>>()?);
            }
            frozen
        }
        None => {
            let (variants, twice) = sweep::expand(&args.sweep, &args.sets, presets::NAMES)?;
            let (variants, said) = sweep::fitted(variants)?;
            twice.iter().chain(&said).for_each(notice::line);
            fitting(args, &variants)?;
            if args.dry_run {
                return cost(args, &variants);
            }
            let frozen = Frozen::make(&args.out, &variants)?;
            if args.index.is_none() && args.emit.is_none() && !args.output.json {
                cost(args, &variants)?;
            }
            frozen
        }
    };
    match (args.index, args.emit) {
        (Some(index), _) => one(args, &frozen, index),
        (None, Some(emit)) => {
            let script = script(args, &frozen, emit)?;
            args.output.tell(&json!({"frozen": frozen.path, "script": script}), || Ok(script.clone()))
        }
        (None, None) => all(args, &frozen),
    }
}

/// The device, on which the models of every spec can be built.
fn fitting(args: &SweepArgs, variants: &[Variant]) -> Result<()> {
    let device = args.device.device()?;
    for Variant { said, loaded } in variants {
        let built = device.to_train(&loaded.spec).and_then(|family| family.architecture(&loaded.spec));
        if let Err(error) = built {
            return Err(if said.is_empty() { error } else { Error::Usage(format!("{said}: {error}")) });
        }
    }
    Ok(())
}

/// What each spec would cost, and all of them together.
fn cost(args: &SweepArgs, variants: &[Variant]) -> Result<()> {
    let specs = variants.iter().map(|variant| (variant.said.as_str(), &variant.loaded.spec));
    args.output.say(&plan::of_many(specs)?)
}

fn one(args: &SweepArgs, frozen: &Frozen, index: usize) -> Result<()> {
    let loaded = frozen.spec(index, presets::NAMES)?;
    let hold = frozen.hold(index)?;
    let runs = args.out.join(&frozen.name);
    let shared = Some(Shared { locks: runs.join("locks"), runs });
    let beside = run::Beside { shared, tensorboard: args.tensorboard.as_deref(), output: args.output };
    let done = match sweep::index(frozen, index, &Runs::of(&args.out, &frozen.name), presets::NAMES)? {
        Index::Done(path) => {
            notice::line(format_args!("{}: already finished", path.display()));
            run::written(&path, args.output)
        }
        Index::Begun(begun) => run::go_on(&begun, args.device.device()?, beside),
        Index::Absent => run::begin(&args.out, &loaded, args.device.device()?, beside),
    };
    drop(hold);
    done
}

fn all(args: &SweepArgs, frozen: &Frozen) -> Result<()> {
    let runs = Runs::of(&args.out, &frozen.name);
    let mut todo = Vec::new();
    for index in 0..frozen.rows.len() {
        if !matches!(sweep::index(frozen, index, &runs, presets::NAMES)?, Index::Done(_)) {
            todo.push(index);
        }
    }
    let count = frozen.rows.len();
    notice::line(format_args!("{}: {} of {count} to run", frozen.path.display(), todo.len()));
    let mut ended = Ok(());
    if !todo.is_empty() {
        match shared::by_other_builds(args.out.join(&frozen.name)) {
            0 => {}
            others => notice::line(format_args!(
                "{others} of the runs there are of another build: what is shared with them is trained again, since bits may differ"
            )),
        }
        let at_once = args.jobs.unwrap_or(1) as usize;
        let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
        let arguments = arguments(args, Some(at_once)).into_iter().map(OsString::from).collect();
        let stop = signals::install()?;
        ended = sweep::run(frozen, &todo, &Jobs { at_once, program, arguments }, &stop, &mut |line| notice::line(line));
    }
    if args.output.json {
        // What became of each, also where one of them failed.
        let runs = Runs::of(&args.out, &frozen.name);
        let all = (0..count).map(|index| outcome(frozen, index, &runs)).collect::<Result<Vec<_>>>()?;
        args.output.end(&json!({"frozen": frozen.path, "specs": count, "ran": todo.len(), "runs": all}))?;
        return ended;
    }
    ended?;
    crate::say(frozen.path.display())
}

/// What became of a spec.
fn outcome(frozen: &Frozen, index: usize, runs: &Runs) -> Result<Value> {
    let says = &frozen.rows[index].1;
    Ok(match sweep::index(frozen, index, runs, presets::NAMES)? {
        Index::Done(path) => json!({"index": index, "says": says, "done": true, "run": path}),
        Index::Begun(begun) => json!({"index": index, "says": says, "done": false, "run": begun.path}),
        Index::Absent => json!({"index": index, "says": says, "done": false, "run": null}),
    })
}

/// What a call of one index needs to know beside the index. `at_once` shares the cores out.
fn arguments(args: &SweepArgs, at_once: Option<usize>) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = args.threads.or(at_once.map(|at_once| (cores / at_once).max(1)));
    let mut words = vec!["--out".to_owned(), args.out.display().to_string()];
    words.extend(threads.into_iter().flat_map(|threads| ["--threads".to_owned(), threads.to_string()]));
    if let Some(board) = &args.tensorboard {
        // A script may be run elsewhere.
        let board = std::path::absolute(board).unwrap_or_else(|_| board.clone());
        words.extend(["--tensorboard".to_owned(), board.display().to_string()]);
    }
    words.extend(args.device.words());
    words
}

fn script(args: &SweepArgs, frozen: &Frozen, emit: Emit) -> Result<String> {
    let target = match emit {
        Emit::Slurm => Target::Slurm,
        Emit::K8s => Target::Kubernetes,
        Emit::Sh => Target::Shell,
    };
    let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
    let out = std::path::absolute(&args.out).map_err(Error::io("find", &args.out))?;
    let mut words = arguments(args, None);
    words[1] = out.display().to_string();
    notice::line(format_args!("frozen in {}", frozen.path.display()));
    Ok(sweep::emit(target, frozen, &program, &words, args.jobs.unwrap_or(0) as usize))
}
