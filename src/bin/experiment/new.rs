//! `experiment new`: a spec to start from.

use crate::output::Output;
use crate::usage;
use clap::Args;
use dalle::harness::notice;
use dalle::harness::plan::Machine;
use dalle::harness::run_dir::write_atomic;
use dalle::harness::start::{self, Start};
use dalle::spec::schema;
use dalle::{Error, Result};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct NewArgs {
    /// A folder of pictures with captions, a tar shard, a folder of shards, or a pattern in quotes.
    data: String,
    /// The spec to write, which may not be there yet; NAME.yaml here if left out, NAME being the data's.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub fn new(args: &NewArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| start::usual_file(&args.data));
    if out.exists() {
        return usage(format!("{}: is there already; --out names another file", out.display()));
    }
    let folder = out.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let Start { text, said, unknown } = start::start(&args.data, &out, Machine::measure())?;
    write_atomic(&out, text.as_bytes())?;
    let schema = folder.join("schema.json");
    let fresh = !schema.exists();
    if fresh {
        write_atomic(&schema, format!("{:#}\n", schema::json()).as_bytes())?;
    }
    args.output.line(format_args!("{}: {said}", out.display()))?;
    if fresh {
        args.output.line(format_args!("{}: what a spec may hold, for editors", schema.display()))?;
    }
    notice::line("what looking at the data cannot tell:");
    unknown.iter().for_each(|line| notice::line(format_args!("- {line}")));
    args.output.end(&json!({"spec": out, "says": said.to_string(), "unknown": unknown}))
}
