//! `experiment SPEC.yaml`, and going on with what that began.

use crate::device::DeviceArgs;
use crate::output::Output;
use crate::usage;
use clap::{Args, CommandFactory};
use dalle::export::Follower;
use dalle::harness::device::Device;
use dalle::harness::load::{self, Loaded};
use dalle::harness::pipeline::{self, Watch};
use dalle::harness::resume::{self, Begun};
use dalle::harness::run_dir::{self, RunDir};
use dalle::harness::shared::Shared;
use dalle::harness::{notice, signals, sources};
use dalle::models::presets;
use dalle::spec::did_you_mean;
use dalle::{Error, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The experiment to run.
    spec: Option<PathBuf>,
    /// Changes a value of the spec: `--set transformer.steps=100`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Where run directories go.
    #[arg(long, default_value = "results")]
    out: PathBuf,
    /// Goes on with a run: the newest of this spec, or the one named, which needs no spec.
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = LATEST, require_equals = true)]
    resume: Option<String>,
    /// Goes on with the newest run of this spec, or starts one where there is none.
    #[arg(long, conflicts_with = "resume")]
    resume_or_start: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Threads; every core if left out. Results do not depend on it.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Writes TensorBoard's files below DIR while it goes on: curves, pictures, settings and results.
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Checks the spec, builds the models and prints the spec with every default filled in.
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: every value on a line of its own, and where it comes from.
    #[arg(long = "where", requires = "dry_run")]
    origins: bool,
    #[command(flatten)]
    output: Output,
}

impl RunArgs {
    fn beside(&self) -> Beside<'_> {
        Beside { shared: None, tensorboard: self.tensorboard.as_deref(), output: self.output }
    }

    /// What to say where the spec is neither a file nor looks like one: a verb that is not known.
    pub fn misspelt(&self) -> Option<String> {
        misspelt(self.spec.as_ref()?.to_str()?)
    }
}

/// What to say of a first word that is neither a spec nor a verb.
pub fn misspelt(word: &str) -> Option<String> {
    if word.contains(['.', '/', '-']) || Path::new(word).exists() {
        return None;
    }
    let command = crate::Cli::command();
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    if verbs.contains(&word) {
        return Some(format!("the verb `{word}` stands before its options: experiment {word} …"));
    }
    let hint = did_you_mean(word, &verbs).unwrap_or_else(|| format!("the verbs are {}", verbs.join(", ")));
    Some(format!("{word:?} is neither a spec nor a verb; {hint}"))
}

/// What `--resume` without a run means.
const LATEST: &str = "latest";

/// Trains, measures, reports; the last line on stdout is the report's path.
pub fn run(args: &RunArgs) -> Result<()> {
    let begun = match (&args.spec, args.resume.as_deref()) {
        (None, Some(named)) if named != LATEST => resume::by_its_own_spec(named, &args.sets, presets::NAMES)?,
        (None, Some(_)) => return usage("--resume without a spec needs a run: experiment --resume=RUN"),
        (None, None) => return usage("expected a spec: experiment SPEC.yaml"),
        (Some(spec), resume) => {
            let loaded = fit(load::load(spec, &args.sets, presets::NAMES)?, !args.dry_run)?;
            match begun(args, &loaded, resume)? {
                Some(begun) => begun,
                None => return start(args, &loaded),
            }
        }
    };
    let device = fitting(args, &begun.loaded)?;
    if args.dry_run {
        return dry_run(args, &begun.loaded);
    }
    if resume::is_finished(&begun)? {
        notice::line(format_args!("{}: already finished", begun.path.display()));
        return written(&begun.path, args.output);
    }
    go_on(&begun, device, args.beside())
}

/// What a training is told besides its spec.
#[derive(Default)]
pub struct Beside<'a> {
    /// Where its stages may be taken from.
    pub shared: Option<Shared>,
    /// The folder that TensorBoard reads.
    pub tensorboard: Option<&'a Path>,
    /// How its end is said.
    pub output: Output,
}

/// Goes on with a run.
pub fn go_on(begun: &Begun, device: Device, beside: Beside<'_>) -> Result<()> {
    prepare(beside.tensorboard)?;
    notice::line(format_args!("run: {}, gone on with", begun.path.display()));
    let mut run = RunDir::open(&begun.path)?;
    run.change_spec(&begun.loaded, &begun.changes)?;
    let (theirs, ours) = (run.run()["device"].clone(), device.name());
    if theirs.as_str().is_some_and(|theirs| theirs != ours) {
        let what = format!("begun on {theirs}, gone on with on {ours}: its bits are of neither");
        run.warn("run", "other-device", &what)?;
    }
    train(&begun.loaded, device, run, beside)
}

/// The spec as the number of its pictures bounds its steps, which is said, as is what does not hold of it. Where the data cannot be opened and nothing is
/// trained on them, that is said.
pub fn fit(loaded: Loaded, train: bool) -> Result<Loaded> {
    match sources::fitted(loaded.clone(), None) {
        Ok((fitted, said)) => {
            said.iter().for_each(notice::line);
            Ok(fitted)
        }
        Err(error) if !train => {
            loaded.said.iter().for_each(notice::line);
            notice::line(format_args!("steps are those for many pictures: {error}"));
            Ok(loaded)
        }
        Err(error) => Err(error),
    }
}

/// The run that the arguments ask to go on with, `None` where they ask for a new one.
fn begun(args: &RunArgs, loaded: &Loaded, named: Option<&str>) -> Result<Option<Begun>> {
    let name = &loaded.spec.name;
    match named {
        Some(LATEST) => match resume::newest(&args.out, loaded.clone(), presets::NAMES)? {
            None => Err(Error::data(
                args.out.join(name),
                "no run to go on with; without --resume, or with --resume-or-start, one is started",
            )),
            found => Ok(found),
        },
        Some(named) => resume::by_spec(named, loaded.clone(), presets::NAMES).map(Some),
        None if args.resume_or_start => match resume::newest(&args.out, loaded.clone(), presets::NAMES) {
            Ok(None) => {
                notice::line(format_args!("{}: no run to go on with: starting one", args.out.join(name).display()));
                Ok(None)
            }
            Err(Error::Usage(why)) => {
                notice::line(format_args!("starting a new run: {why}"));
                Ok(None)
            }
            found => found,
        },
        None => Ok(None),
    }
}

/// The device, on which the models of the spec can be built: a setting that does not fit the preset is found before a run
/// directory is touched.
fn fitting(args: &RunArgs, loaded: &Loaded) -> Result<Device> {
    let device = args.device.device()?;
    device.to_train(&loaded.spec)?.architecture(&loaded.spec)?;
    Ok(device)
}

fn start(args: &RunArgs, loaded: &Loaded) -> Result<()> {
    let device = fitting(args, loaded)?;
    if args.dry_run {
        return dry_run(args, loaded);
    }
    begin(&args.out, loaded, device, args.beside())
}

/// Starts a run below `results`.
pub fn begin(results: &Path, loaded: &Loaded, device: Device, beside: Beside<'_>) -> Result<()> {
    prepare(beside.tensorboard)?;
    let argv: Vec<String> = std::env::args().collect();
    let run = RunDir::create(results, loaded, &argv)?;
    notice::line(format_args!("run: {}", run.path().display()));
    train(loaded, device, run, beside)
}

/// Where TensorBoard's files go, made before a run directory is touched.
fn prepare(tensorboard: Option<&Path>) -> Result<()> {
    tensorboard.map_or(Ok(()), |folder| std::fs::create_dir_all(folder).map_err(Error::io("create", folder)))
}

fn dry_run(args: &RunArgs, loaded: &Loaded) -> Result<()> {
    match args.origins {
        true => args.output.tell(&loaded.told_origins()?, || loaded.origins()),
        false => args.output.tell(&loaded.spec, || loaded.spec.resolved()),
    }
}

/// Trains, measures and reports in a run that was begun.
pub fn train(loaded: &Loaded, device: Device, mut run: RunDir, beside: Beside<'_>) -> Result<()> {
    let Beside { shared, tensorboard, output } = beside;
    let stop = signals::install()?;
    run.update(|facts| {
        facts["device"] = device.name().into();
        facts["gpu"] = device.card().into();
    })?;
    let follower = tensorboard.map(|out| Follower::start(run.path(), out)).transpose()?;
    let outcome = pipeline::run(loaded, device, &mut run, &Watch { stop, progress: true, shared });
    // A run that failed, or was stopped, has a report too; its error comes before the report's.
    let report = dalle::report::write(run.path()).and_then(|path| {
        let results = dalle::report::summary::summary(run.path())?;
        if !results.is_empty() {
            output.line(results.trim_end())?;
        }
        output.tell(&told(run.run(), run.path(), &path), || Ok(path.display().to_string()))
    });
    let exported = follower.map_or(Ok(()), |follower| follower.finish().map(drop));
    outcome.and(report).and(exported)
}

/// What a program is told of a run.
fn told(facts: &Value, run: &Path, report: &Path) -> Value {
    json!({"run": run, "status": facts["status"], "results": facts["results"], "report": report})
}

/// Writes the report of a run that is done, and says where it is.
pub fn written(run: &Path, output: Output) -> Result<()> {
    let report = dalle::report::write(run)?;
    output.tell(&told(&run_dir::read_run(run)?, run, &report), || Ok(report.display().to_string()))
}

/// Writes the report of a run. Where `run.json` cannot know that nobody writes it any more, that is said.
pub fn report(run: &Path, output: Output) -> Result<()> {
    let run = run_dir::find(run)?;
    let recorded = run_dir::read_run(&run)?["status"].clone();
    let status = run_dir::status(&run, &recorded);
    if recorded != status.as_str() {
        notice::line(format_args!("{}: {status}", run.display()));
    }
    written(&run, output)
}
