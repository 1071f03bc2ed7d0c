//! `experiment data`: datasets that are made here, and the codes of those that are trained on.

use crate::device::DeviceArgs;
use crate::output::Output;
use crate::run::fit;
use crate::usage;
use clap::{Args, Subcommand, ValueEnum};
use dalle::data::shapes::{Captions, Prompts, Split, prompts};
use dalle::data::{Shapes, Source};
use dalle::harness::{encode, load};
use dalle::models::presets;
use dalle::report::grid;
use dalle::{Error, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Emoji with their names, from npm packages, as shards.
    Emoji {
        /// The folder to write to, where experiments/emoji.yaml looks.
        #[arg(long, default_value = "experiments/data/emoji")]
        out: PathBuf,
        /// Where npm's packages are kept; beside the folder if left out.
        #[arg(long)]
        cache: Option<PathBuf>,
        /// Side of the pictures.
        #[arg(long)]
        size: Option<u32>,
        #[command(flatten)]
        output: Output,
    },
    /// Pictures of shapes with their captions.
    Shapes(ShapesArgs),
    /// Codes a spec's training pictures by its first stage, once, for all runs that train on them.
    Encode(EncodeArgs),
}

#[derive(Debug, Args)]
struct ShapesArgs {
    /// The folder to write to.
    #[arg(long, default_value = "experiments/data/shapes")]
    out: PathBuf,
    /// Side of the pictures: 16, 32 or 64.
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// Writes so many pictures, each beside its captions, as a folder to train on; a sheet to look at if left out.
    #[arg(long)]
    count: Option<usize>,
    /// Which draws.
    #[arg(long, value_enum, default_value = "train", requires = "count")]
    split: Draws,
    /// The root of their randomness.
    #[arg(long, default_value_t = 0, requires = "count")]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct EncodeArgs {
    /// The spec. Its first stage is that of `first_stage.from`, or of its newest run.
    spec: PathBuf,
    /// Changes a value of the spec first: `--set first_stage.from=results/quickstart`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Where the run directories are: the codes are kept beside them.
    #[arg(long, default_value = "results")]
    out: PathBuf,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Draws {
    Train,
    Validation,
    HeldOut,
}

pub fn data(args: &DataArgs) -> Result<()> {
    match &args.what {
        What::Emoji { out, cache, size, output } => {
            let cache = cache.clone().unwrap_or_else(|| out.with_file_name(".emoji-cache"));
            emoji(out, cache, *size, *output)
        }
        What::Shapes(args) if ![16, 32, 64].contains(&args.size) => {
            usage(format!("--size {}: shapes are drawn at 16, 32 or 64", args.size))
        }
        What::Shapes(args) => match args.count {
            Some(count) => folder(args, count),
            None => sheet(args.size, &args.out, args.output),
        },
        What::Encode(args) => args.device.run(|device| {
            let loaded = fit(load::load(&args.spec, &args.sets, presets::NAMES)?, true)?;
            args.output.say(&encode::encode(&loaded, &args.out, device, true)?)
        }),
    }
}

/// The emoji as shards in `out`, from packages that are kept in `cache`.
#[cfg(feature = "emoji")]
fn emoji(out: &Path, cache: PathBuf, size: Option<u32>, output: Output) -> Result<()> {
    use dalle::data::emoji::{EmojiOptions, build};
    let mut options = EmojiOptions::new(out, cache);
    options.size = size.unwrap_or(options.size);
    let report = build(&options, &mut |line| dalle::harness::notice::line(line))?;
    let (pairs, shards) = (report.pairs(), report.shards.len());
    let text = || Ok(format!("{pairs} pairs in {shards} shards under {}", out.display()));
    output.tell(&json!({"pairs": pairs, "shards": shards, "folder": out}), text)
}

#[cfg(not(feature = "emoji"))]
fn emoji(_: &Path, _: PathBuf, _: Option<u32>, _: Output) -> Result<()> {
    Err(Error::without("emoji", "emoji"))
}

/// A folder that a spec of kind `folder` can train on.
fn folder(args: &ShapesArgs, count: usize) -> Result<()> {
    let (side, out) = (args.size, args.out.as_path());
    if count == 0 {
        return usage("--count must be at least 1");
    }
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    // Pictures of an earlier, larger set would be trained on as well.
    if std::fs::read_dir(out).map_err(Error::io("list", out))?.next().is_some() {
        return usage(format!("--out {}: expected an empty or a new folder", out.display()));
    }
    let split = match args.split {
        Draws::Train => Split::Train,
        Draws::Validation => Split::Validation,
        Draws::HeldOut => Split::HeldOut,
    };
    let shapes = Shapes { side, seed: args.seed, split, count };
    for index in 0..count {
        let sample = shapes.get(index).map_err(|bad| Error::data(&bad.key, bad.detail))?;
        let stem = out.join(&sample.key);
        sample.picture.save_png(stem.with_extension("png"))?;
        let (text, captions) = (stem.with_extension("txt"), sample.captions.join("\n") + "\n");
        std::fs::write(&text, captions).map_err(Error::io("write", &text))?;
    }
    let text = || Ok(format!("{count} pairs under {}", out.display()));
    args.output.tell(&json!({"pairs": count, "folder": out}), text)
}

fn sheet(side: usize, out: &Path, output: Output) -> Result<()> {
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let shapes = Shapes { side, seed: 0, split: Split::Train, count: 48 };
    let (mut pictures, mut captions) = (Vec::new(), Vec::new());
    for index in 0..shapes.len() {
        let sample = shapes.get(index).map_err(|bad| Error::data(&bad.key, bad.detail))?;
        output.line(format_args!("{index:>2}  {}", sample.captions[0]))?;
        captions.push(sample.captions[0].clone());
        pictures.push(sample.picture);
    }
    let file = out.join("sheet.png");
    grid::grid(&pictures, 8, 4).save_png(&file)?;
    let held_out = prompts(Prompts::HeldOut, Captions::Quoted, 0, 3);
    output.line(format_args!("captions kept for the zero-shot measure look like: {}", held_out.join("; ")))?;
    output.line(file.display())?;
    output.end(&json!({"captions": captions, "held_out": held_out, "sheet": file}))
}
