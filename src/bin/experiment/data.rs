//! `experiment data`: datasets that are made here.

use crate::{say, usage};
use clap::{Args, ValueEnum};
use dalle::data::shapes::{Captions, Prompts, Split, prompts};
use dalle::data::{Shapes, Source};
use dalle::report::grid;
use dalle::{Error, Result};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct DataArgs {
    /// Which dataset.
    #[arg(value_parser = ["emoji", "shapes"])]
    name: String,
    /// The folder to write to; `experiments/data/NAME`, where the specs look, if left out.
    #[arg(long)]
    out: Option<PathBuf>,
    /// emoji: where npm's packages are kept.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Side of the pictures.
    #[arg(long)]
    size: Option<u32>,
    /// shapes: writes so many pictures, each beside its captions, as a folder to train on; a sheet to look at if left out.
    #[arg(long)]
    count: Option<usize>,
    /// shapes: which draws.
    #[arg(long, value_enum, default_value = "train", requires = "count")]
    split: Draws,
    /// shapes: the root of their randomness.
    #[arg(long, default_value_t = 0, requires = "count")]
    seed: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Draws {
    Train,
    Validation,
    HeldOut,
}

pub fn data(args: &DataArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| Path::new("experiments/data").join(&args.name));
    if args.name == "emoji" {
        if args.count.is_some() {
            return usage("--count: emoji are as many as there are");
        }
        let cache = args.cache.clone().unwrap_or_else(|| out.with_file_name(".emoji-cache"));
        return emoji(&out, cache, args.size);
    }
    let side = args.size.unwrap_or(32) as usize;
    if ![16, 32, 64].contains(&side) {
        return usage(format!("--size {side}: shapes are drawn at 16, 32 or 64"));
    }
    match args.count {
        Some(count) => folder(args, side, count, &out),
        None => sheet(side, &out),
    }
}

/// The emoji as shards in `out`, from packages that are kept in `cache`.
#[cfg(feature = "emoji")]
fn emoji(out: &Path, cache: PathBuf, size: Option<u32>) -> Result<()> {
    use dalle::data::emoji::{EmojiOptions, build};
    let mut options = EmojiOptions::new(out, cache);
    options.size = size.unwrap_or(options.size);
    let report = build(&options, &mut |line| dalle::harness::notice::line(line))?;
    say(format_args!("{} pairs in {} shards under {}", report.pairs(), report.shards.len(), out.display()))
}

#[cfg(not(feature = "emoji"))]
fn emoji(_: &Path, _: PathBuf, _: Option<u32>) -> Result<()> {
    Err(Error::without("emoji", "emoji"))
}

/// A folder that a spec of kind `folder` can train on.
fn folder(args: &DataArgs, side: usize, count: usize, out: &Path) -> Result<()> {
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
    say(format_args!("{count} pairs under {}", out.display()))
}

fn sheet(side: usize, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let shapes = Shapes { side, seed: 0, split: Split::Train, count: 48 };
    let mut pictures = Vec::new();
    for index in 0..shapes.len() {
        let sample = shapes.get(index).map_err(|bad| Error::data(&bad.key, bad.detail))?;
        say(format_args!("{index:>2}  {}", sample.captions[0]))?;
        pictures.push(sample.picture);
    }
    let file = out.join("sheet.png");
    grid::grid(&pictures, 8, 4).save_png(&file)?;
    let held_out = prompts(Prompts::HeldOut, Captions::Quoted, 0, 3).join("; ");
    say(format_args!("captions kept for the zero-shot measure look like: {held_out}"))?;
    say(file.display())
}
