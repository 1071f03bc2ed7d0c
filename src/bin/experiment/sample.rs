//! `experiment sample`: pictures of captions, with a run or with ruDALL-E's published files.

use crate::device::{CheckpointArgs, DeviceArgs};
use crate::output::Output;
use crate::usage;
use clap::{Args, ValueEnum};
use dalle::data::{Picture, augment};
use dalle::harness::device::Device;
use dalle::harness::{notice, open};
use dalle::inference::published::rudalle::Files;
use dalle::inference::{self, Generator, Options, Request};
use dalle::models::rudalle::Version;
use dalle::nn::Precision;
use dalle::report::grid;
use dalle::{Error, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// The run directory, or a file of `import rudalle`.
    model: PathBuf,
    /// What to draw; repeat for several.
    #[arg(long = "caption", required = true)]
    captions: Vec<String>,
    /// Candidates per caption; 512 in the paper.
    #[arg(long, default_value_t = 64)]
    n: usize,
    /// How many of them to keep, best first by CLIP.
    #[arg(long, default_value_t = 8)]
    keep: usize,
    /// Divides the logits; 0 takes the likeliest token always.
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Only the k likeliest tokens; 0: all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Only the likeliest tokens that hold this share.
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Classifier-free guidance; 1: none. Above 1 it needs a run trained with `caption_dropout`.
    #[arg(long, default_value_t = 1.0)]
    guidance: f64,
    /// In how many bits the transformer's weights are kept: with fewer a token takes less time, and other ones are drawn.
    #[arg(long, value_enum, default_value = "f32")]
    precision: Bits,
    /// The root of the pictures' seeds.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A picture whose top rows are given (image-to-image).
    #[arg(long)]
    prime: Option<PathBuf>,
    /// How many rows of tokens it gives; half the grid if left out.
    #[arg(long, requires = "prime")]
    prime_rows: Option<usize>,
    /// The folder to write to.
    #[arg(long, default_value = "samples")]
    out: PathBuf,
    #[command(flatten)]
    older: CheckpointArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    published: Published,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bits {
    F32,
    Bf16,
    Int8,
}

impl From<Bits> for Precision {
    fn from(bits: Bits) -> Precision {
        match bits {
            Bits::F32 => Precision::F32,
            Bits::Bf16 => Precision::Bf16,
            Bits::Int8 => Precision::Int8,
        }
    }
}

/// What ruDALL-E needs besides its transformer.
#[derive(Debug, Args)]
#[command(next_help_heading = "With a file of `import rudalle`")]
struct Published {
    /// The file of `import taming-gumbel` that decodes.
    #[arg(long)]
    decoder: Option<PathBuf>,
    /// The published bpe.model.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// The layout of text that the transformer was trained with, as in its published file's name.
    #[arg(long, value_enum, default_value = "v3")]
    release: Release,
    /// A file of `import openai-clip` or `hf-clip` to choose with; without it nothing is left out and nothing reordered.
    #[arg(long)]
    clip: Option<PathBuf>,
    /// The merges of its tokenizer, if they do not lie beside it.
    #[arg(long, requires = "clip")]
    merges: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Release {
    V2,
    V3,
}

pub fn sample(args: &SampleArgs, device: Device) -> Result<()> {
    const MOST: usize = 1 << 16;
    for (option, asked) in [("--n", args.n), ("--keep", args.keep)] {
        if !(1..=MOST).contains(&asked) {
            return usage(format!("{option} {asked}: expected 1 to {MOST}"));
        }
    }
    if let Some(caption) = args.captions.iter().find(|caption| caption.trim().is_empty()) {
        return usage(format!("--caption {caption:?} is empty: expected at least one word"));
    }
    let generator = generator(&args.model, args.older, &args.published, device)?;
    let forced = match &args.prime {
        None => Vec::new(),
        Some(path) => {
            let (grid, side) = (generator.grid(), generator.side());
            let rows = args.prime_rows.unwrap_or(grid / 2);
            if rows > grid {
                return usage(format!("--prime-rows {rows}: the grid has {grid} rows"));
            }
            inference::prime_rows(&generator.encode(&square(path, side)?)?, grid, rows)
        }
    };
    let options = Options {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        guidance: args.guidance,
        precision: args.precision.into(),
    };
    for cut in generator.cut(&args.captions) {
        notice::line(format_args!("warning: {cut}"));
    }
    let request = Request { candidates: args.n, seed: args.seed, forced, options };
    let drawn = generator.draw(&args.captions, &request, &mut |_| Ok(()))?;
    std::fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
    // Nothing chooses without a CLIP.
    let keep = if generator.reranker().is_some() { args.keep.min(args.n) } else { args.n };
    let (mut sheet, mut all) = (Vec::new(), Vec::new());
    for (index, (caption, drawn)) in args.captions.iter().zip(drawn).enumerate() {
        args.output.line(caption)?;
        let mut pictures = Vec::new();
        for (place, &at) in drawn.order().iter().take(keep).enumerate() {
            let file = args.out.join(format!("{index}-{place}.png"));
            drawn.pictures[at].save_png(&file)?;
            let (similarity, candidate) = (drawn.similarities().nth(at), drawn.first + at);
            let score = similarity.map_or("–".into(), |similarity| format!("{similarity:.2}"));
            args.output.line(format_args!("  {score:>6}  {}  (candidate {candidate})", file.display()))?;
            sheet.push(drawn.pictures[at].clone());
            pictures.push(json!({"file": file, "candidate": candidate, "similarity": similarity}));
        }
        all.push(json!({"caption": caption, "pictures": pictures}));
    }
    let sheet = grid::grid(&sheet, keep.min(16), if generator.side() < 128 { 4 } else { 1 });
    let file = args.out.join("sheet.png");
    sheet.save_png(&file)?;
    args.output.line(file.display())?;
    args.output.end(&json!({"captions": all, "sheet": file}))
}

fn generator(model: &Path, older: CheckpointArgs, published: &Published, device: Device) -> Result<Generator> {
    if !model.is_file() {
        return open::generator(model, device, older.which());
    }
    let (Some(decoder), Some(tokenizer)) = (&published.decoder, &published.tokenizer) else {
        return usage("a file of import rudalle needs --decoder and --tokenizer");
    };
    let version = match published.release {
        Release::V2 => Version::V2,
        Release::V3 => Version::V3,
    };
    let (reranker, merges) = (published.clip.as_deref(), published.merges.as_deref());
    open::rudalle(Files { transformer: model, decoder, tokenizer, version, reranker, merges }, device)
}

/// A picture's centre square, resized to `side`, as values in [0, 1].
fn square(path: &Path, side: usize) -> Result<Vec<f32>> {
    let picture = Picture::open(path)?;
    let picture = augment::evaluation(&picture, side).map_err(|error| Error::data(path, error.detail))?;
    Ok(picture.values().collect())
}
