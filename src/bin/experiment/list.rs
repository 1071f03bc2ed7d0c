//! `experiment list`, `show` and `tag`: the runs that there are.

use crate::output::Output;
use crate::say;
use clap::Args;
use dalle::harness::catalog::{self, Condition, Entry, bare};
use dalle::harness::table::{Table, cut};
use dalle::harness::{notice, run_dir};
use dalle::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where the runs are.
    #[arg(default_value = "results")]
    folder: PathBuf,
    /// Only runs of which this holds: `seed=1`, `status!=done`, `tag=good`, `transformer.steps=800`. The keys are name, preset, status,
    /// seed, hash, started, seconds, tag, those of a spec, and paths into the results.
    #[arg(long = "where", value_name = "KEY=VALUE")]
    wheres: Vec<String>,
    /// Shows this too: a key of the spec, or a path into the results, as `elbo_validation.psnr`.
    #[arg(long = "show", value_name = "KEY")]
    shown: Vec<String>,
    /// Sorts by this, the least first; `-KEY` the largest first. The newest first if left out.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    sort: Option<String>,
    #[command(flatten)]
    output: Output,
}

pub fn list(args: &ListArgs) -> Result<()> {
    if !args.folder.is_dir() {
        return Err(Error::data(&args.folder, "no such folder"));
    }
    let wheres = args.wheres.iter().map(|text| Condition::parse(text)).collect::<Result<Vec<_>>>()?;
    let (mut entries, unread) = catalog::list(&args.folder);
    unread.iter().for_each(|text| notice::line(format_args!("warning: {text}")));
    let sort = args.sort.as_ref().map(|key| key.strip_prefix('-').unwrap_or(key));
    let keys = wheres.iter().map(|condition| &condition.key).chain(&args.shown).map(String::as_str);
    catalog::known(&entries, keys.chain(sort))?;
    entries.retain(|entry| wheres.iter().all(|condition| condition.of(entry)));
    if let Some(key) = &args.sort {
        catalog::sort(&mut entries, key);
    }
    if args.output.json {
        return args.output.end(&entries.iter().map(|entry| entry.to_json(&args.shown)).collect::<Vec<_>>());
    }
    if entries.is_empty() {
        notice::line("no such run");
        return Ok(());
    }
    let head = ["run", "status", "started", "took"].into_iter().chain(args.shown.iter().map(String::as_str));
    let mut table = Table::new(head.chain(["says"]));
    let differing = catalog::differing(&entries);
    for entry in &entries {
        table.row(row(entry, args, &differing));
    }
    say(table.to_string().trim_end())
}

/// Longer lists of what a spec says are cut.
const LONGEST: usize = 80;

fn row(entry: &Entry, args: &ListArgs, differing: &BTreeSet<&str>) -> Vec<String> {
    let run = entry.path.strip_prefix(&args.folder).unwrap_or(&entry.path).display().to_string();
    let took = entry.seconds().map_or_else(String::new, dalle::report::duration);
    let shown = args.shown.iter().map(|key| match entry.value(key) {
        Some(value) => value.as_f64().map_or_else(
            || bare(&value),
            |number| format!("{number:.4}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        ),
        None => "–".into(),
    });
    let tags: String = entry.tags.iter().map(|tag| format!("#{tag} ")).collect();
    let says = cut(&(tags + &entry.says(differing)), LONGEST);
    let start = [run, entry.status.clone(), entry.started().to_owned(), took];
    start.into_iter().chain(shown).chain([says]).collect()
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run directory, or `results/<name>` for its newest.
    run: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub fn show(args: &ShowArgs) -> Result<()> {
    let path = run_dir::find(&args.run)?;
    let facts = run_dir::read_run(&path)?;
    if args.output.json {
        // What `run.json` holds.
        return args.output.end(&facts);
    }
    let entry = Entry::read(&path)?;
    say(path.display())?;
    let text = |key: &str| facts[key].as_str().unwrap_or("–").to_owned();
    say(format_args!(
        "{}, preset {}, seed {}: {}",
        text("name"),
        text("preset"),
        facts["seeds"]["spec"],
        entry.status
    ))?;
    say(format_args!(
        "started {}, finished {}, {}",
        text("started"),
        text("finished"),
        entry.seconds().map_or_else(|| "no time known".to_owned(), dalle::report::duration)
    ))?;
    for (what, words) in [
        ("tags", entry.tags.join(" ")),
        ("says", entry.says(&BTreeSet::new())),
        ("error", facts["error"].as_str().unwrap_or_default().to_owned()),
    ] {
        if !words.is_empty() {
            say(format_args!("{what}: {words}"))?;
        }
    }
    let summary = dalle::report::summary::summary(&path)?;
    if !summary.is_empty() {
        say(format_args!("\n{}", summary.trim_end()))?;
    }
    for warning in facts["warnings"].as_array().into_iter().flatten() {
        say(format_args!(
            "warning: {}: {}",
            warning["stage"].as_str().unwrap_or_default(),
            warning["text"].as_str().unwrap_or_default()
        ))?;
    }
    Ok(())
}

#[derive(Debug, Args)]
pub struct TagArgs {
    /// The run directory.
    run: PathBuf,
    /// Words to find it by; what it has is printed.
    words: Vec<String>,
    /// Takes these words away.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    output: Output,
}

pub fn tag(args: &TagArgs) -> Result<()> {
    let run: &Path = &run_dir::find(&args.run)?;
    let tags = catalog::tag(run, &args.words, args.remove)?;
    args.output.tell(&tags, || Ok(tags.join(" ")))
}
