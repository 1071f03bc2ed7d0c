//! `experiment rerun`: a finished run once more, held against itself.

use crate::output::Output;
use crate::{run, usage};
use clap::Args;
use dalle::harness::device::Device;
use dalle::harness::rerun::{self, Compared};
use dalle::harness::run_dir::{self, RunDir};
use dalle::harness::{notice, sources::Sources};
use dalle::models::presets;
use dalle::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct RerunArgs {
    /// The run directory, or `results/<name>` for its newest.
    run: PathBuf,
    /// Where the new run directory goes.
    #[arg(long, default_value = "results")]
    out: PathBuf,
    /// Threads; as many as the run had if left out. Results do not depend on it.
    #[arg(long)]
    threads: Option<usize>,
    /// Trains where the data are not those of the run, too.
    #[arg(long)]
    other_data: bool,
    #[command(flatten)]
    output: Output,
}

impl RerunArgs {
    /// The threads that are asked for, or that the run had if this machine may have as many.
    pub fn threads(&self, most: usize) -> Option<usize> {
        let had = || run_dir::read_run(run_dir::find(&self.run).ok()?).ok()?["threads"].as_u64()?.try_into().ok();
        self.threads.or_else(|| had().filter(|&had: &usize| had <= most))
    }
}

pub fn rerun(args: &RerunArgs) -> Result<()> {
    let then = run_dir::find(&args.run)?;
    let facts = run_dir::read_run(&then)?;
    let status = run_dir::status(&then, &facts["status"]);
    if !["done", "expectation failed"].contains(&status.as_str()) {
        return usage(format!("{}: {status}: expected a run that has ended", then.display()));
    }
    let mut loaded = run_dir::read_spec(&then, presets::NAMES)?;
    // What lies beside the run's copy says nothing of the repository that the spec was in.
    loaded.file = None;
    let name = facts["device"].as_str().unwrap_or("none");
    let Some(device) = Device::named(name) else {
        return Err(Error::data(&then, format!("expected the device cpu or cuda, got {name}")));
    };
    let side = device.to_train(&loaded.spec)?.architecture(&loaded.spec)?.geometry.side;
    let sources = Sources::open(&loaded, side)?;
    let here = rerun::here(device, &sources);
    let mut changed = rerun::changed(&facts, &here);
    if facts["spec_changes"].is_array() {
        changed.push("its spec was changed while it ran".into());
    }
    if let Some(what) = rerun::other_data(&facts, &here) {
        if !args.other_data {
            let what = format!("not the data of the run: {what}; --other-data trains on them all the same");
            return Err(Error::data(&sources.name, what));
        }
        changed.push(format!("data: {what}"));
    }
    drop(sources);
    changed.iter().for_each(|line| notice::line(format_args!("not as it was: {line}")));

    let argv: Vec<String> = std::env::args().collect();
    let mut again = RunDir::create(&args.out, &loaded, &argv)?;
    let now = again.path().to_owned();
    notice::line(format_args!("run: {}, of {} again", now.display(), then.display()));
    let of = then.file_name().map(|name| name.to_string_lossy().into_owned());
    again.update(|facts| facts["rerun_of"] = of.into())?;
    let beside = run::Beside { output: args.output.within(), ..run::Beside::default() };
    match run::train(&loaded, device, again, beside) {
        // What it did not meet the first time it does not meet now.
        Ok(()) | Err(Error::Expect(_)) => judge(&rerun::compare(&then, &now)?, &changed, args.output),
        Err(error) => Err(error),
    }
}

fn judge(Compared { same, differs, missing }: &Compared, changed: &[String], output: Output) -> Result<()> {
    for (what, list) in [("differs", differs), ("not compared, for the run has none", missing)] {
        list.iter().try_for_each(|line| output.line(format_args!("{what}: {line}")))?;
    }
    output.end(&json!({"same": same, "differs": differs, "not_compared": missing, "not_as_it_was": changed}))?;
    match differs.first() {
        None if same.is_empty() => {
            usage("the run has nothing to compare: neither metrics nor weights, pictures or results")
        }
        None => output.line(format_args!("the same bits: {}", same.join(", "))),
        Some(first) if changed.is_empty() => {
            Err(Error::Different(format!("{first}; program, processor and data are as they were")))
        }
        Some(first) => Err(Error::Different(format!("{first}; not as it was: {}", changed.join("; ")))),
    }
}
