//! `experiment SPEC.yaml`.

use crate::device::DeviceArgs;
use crate::{say, usage};
use clap::Args;
use dalle::Result;
use dalle::harness::pipeline::{self, Watch};
use dalle::harness::run_dir::{self, RunDir};
use dalle::harness::{signals, spec};
use dalle::models::presets;
use std::path::PathBuf;

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
    /// Goes on with a run: the newest of this spec, or the one named.
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "latest", require_equals = true)]
    resume: Option<String>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Threads; every core if left out. Results do not depend on it.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Checks the spec, builds the models and prints the spec with every default filled in.
    #[arg(long)]
    dry_run: bool,
}

/// Trains, measures, reports; the last line on stdout is the report's path.
pub fn run(args: &RunArgs) -> Result<()> {
    let Some(path) = &args.spec else { return usage("expected a spec: experiment SPEC.yaml") };
    let loaded = spec::load(path, &args.sets, presets::NAMES)?;
    // A setting that does not fit the preset is found here, before there is a run directory.
    let device = args.device.device()?;
    device.models(&loaded.spec)?;
    if args.dry_run {
        return say(loaded.spec.resolved()?.trim_end());
    }
    let stop = signals::install()?;
    let argv: Vec<String> = std::env::args().collect();
    let create = || RunDir::create(&args.out, &loaded, &argv);
    let mut run = match args.resume.as_deref() {
        None => create()?,
        Some("latest") => match run_dir::find_same(&args.out, &loaded.spec)? {
            Some(found) => RunDir::open(found)?,
            None => create()?,
        },
        Some(named) => {
            let found = run_dir::find(named)?;
            let (theirs, ours) = (&run_dir::read_run(&found)?["spec_hash"], loaded.spec.hash()?);
            if *theirs != ours.as_str() {
                let found = found.display();
                return usage(format!("--resume={named}: {found} is a run of another spec: repeat each --set it had"));
            }
            RunDir::open(found)?
        }
    };
    eprintln!("run: {}", run.path().display());
    run.update(|facts| {
        facts["device"] = device.name().into();
        facts["gpu"] = device.card().into();
    })?;
    let outcome = pipeline::run(&loaded, device, &mut run, &Watch { stop, progress: true });
    // A run that failed, or was stopped, has a report too; its error comes before the report's.
    let report = dalle::report::write(run.path()).and_then(|path| {
        let results = dalle::report::summary::summary(run.path())?;
        if !results.is_empty() {
            say(results.trim_end())?;
        }
        say(path.display())
    });
    outcome.and(report)
}
