//! `experiment SPEC.yaml`.

use crate::usage;
use clap::Args;
use dalle::harness::models::Models;
use dalle::harness::pipeline::{self, Watch};
use dalle::harness::run_dir::{self, RunDir};
use dalle::harness::{signals, spec};
use dalle::models::presets;
use dalle::{Error, Result};
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
    /// Where the arithmetic happens.
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "cuda"])]
    device: String,
    /// Threads; every core if left out. Results do not depend on it.
    #[arg(long)]
    threads: Option<usize>,
    /// Checks the spec, builds the models and prints the spec with every default filled in.
    #[arg(long)]
    dry_run: bool,
}

/// Trains, measures, reports; the last line on stdout is the report's path.
pub fn run(args: &RunArgs) -> Result<()> {
    let Some(path) = &args.spec else { return usage("expected a spec: experiment SPEC.yaml") };
    if let Some(threads) = args.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|e| Error::Usage(format!("--threads {threads}: {e}")))?;
    }
    if args.device == "cuda" {
        return Err(Error::Device("this build has no CUDA; --device cpu runs everything".into()));
    }
    let loaded = spec::load(path, &args.sets, presets::NAMES)?;
    if args.dry_run {
        Models::build(&loaded.spec)?;
        print!("{}", loaded.spec.resolved()?);
        return Ok(());
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
        Some(named) => RunDir::open(named)?,
    };
    eprintln!("run: {}", run.path().display());
    let outcome = pipeline::run(&loaded, &mut run, &Watch { stop, progress: true });
    let report = dalle::report::write(run.path());
    outcome?;
    println!("{}", report?.display());
    Ok(())
}
