//! The verbs besides running a spec: each reads its inputs, asks the library, prints a result.

use crate::{say, usage};
use clap::Args;
use dalle::data::shapes::{Prompts, Split, prompts};
use dalle::data::{Example, Picture, Shapes, Source, augment, emoji};
use dalle::generate::{self, Options, Prompt, cosines, rank};
use dalle::harness::codec;
use dalle::harness::measure::picture;
use dalle::harness::models::Models;
use dalle::harness::pipeline::{clip_text, pixels};
use dalle::harness::run_dir::write_atomic;
use dalle::harness::spec;
use dalle::mask::{Layout, Pattern};
use dalle::models::presets;
use dalle::random::Rng;
use dalle::report::grid;
use dalle::{Error, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub fn check(specs: &[PathBuf], sets: &[String]) -> Result<()> {
    let mut worst = None;
    for path in specs {
        match spec::load(path, sets, presets::NAMES) {
            Ok(_) => say(format_args!("{}: ok", path.display()))?,
            Err(error) => {
                if let Some(earlier) = worst.replace(error) {
                    eprintln!("error: {earlier}");
                }
            }
        }
    }
    worst.map_or(Ok(()), Err)
}

pub fn plan(path: &Path, sets: &[String]) -> Result<()> {
    let loaded = spec::load(path, sets, presets::NAMES)?;
    say(dalle::harness::plan::plan(&loaded.spec)?.to_string().trim_end())
}

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// The run directory.
    run: PathBuf,
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
}

pub fn sample(args: &SampleArgs) -> Result<()> {
    if args.n == 0 || args.keep == 0 {
        return usage("--n and --keep must be at least 1");
    }
    if let Some(caption) = args.captions.iter().find(|caption| caption.trim().is_empty()) {
        return usage(format!("--caption {caption:?} is empty: expected at least one word"));
    }
    let (_, spec, models, bpe) = Models::open(&args.run)?;
    if args.guidance != 1.0 && spec.transformer.caption_dropout == 0.0 {
        let what = "this run never saw an empty caption; train one with transformer.caption_dropout";
        return usage(format!("--guidance {}: {what}", args.guidance));
    }
    let g = models.first.geometry();
    let forced = match &args.prime {
        None => Vec::new(),
        Some(path) => {
            let rows = args.prime_rows.unwrap_or(g.grid / 2);
            if rows > g.grid {
                return usage(format!("--prime-rows {rows}: the grid has {} rows", g.grid));
            }
            let codes = models.first.encode(1, &square(path, g.side)?)?;
            generate::prime_rows(&codes, g.grid, rows)
        }
    };
    let prompt = |(index, caption): (usize, &String)| -> Result<Prompt> {
        let seed = |candidate| Rng::new(args.seed, "sample/cli", index as u64, candidate as u64).bits();
        let text = models.text.prompt(&bpe, caption)?;
        Ok(Prompt { text, seeds: (0..args.n).map(seed).collect(), forced: forced.clone() })
    };
    let asked: Vec<Prompt> = args.captions.iter().enumerate().map(prompt).collect::<Result<_>>()?;
    let options =
        Options { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, guidance: args.guidance };
    let codes = generate::sample(models.transformer.as_ref(), &asked, &models.text.fill(&[]), &options)?;
    std::fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
    let text = clip_text(&bpe, models.clip_text, args.captions.iter().map(String::as_str));
    let texts = models.clip.texts(args.captions.len(), &text)?;
    let width = texts.len() / args.captions.len();
    let mut sheet = Vec::new();
    for (index, (caption, codes)) in args.captions.iter().zip(codes.chunks(args.n)).enumerate() {
        let decoded = models.first.decode(&codes.concat())?;
        let features = models.clip.images(args.n, &decoded)?;
        let scores = cosines(&texts[index * width..(index + 1) * width], &features, width);
        say(caption)?;
        for (place, &candidate) in rank(&scores).iter().take(args.keep).enumerate() {
            let values = &decoded[candidate * g.side * g.side * 3..(candidate + 1) * g.side * g.side * 3];
            let picture = picture(values, g.side, g.side);
            let file = args.out.join(format!("{index}-{place}.png"));
            picture.save_png(&file)?;
            say(format_args!("  {:>6.2}  {}  (candidate {candidate})", 100.0 * scores[candidate], file.display()))?;
            sheet.push(picture);
        }
    }
    let sheet = grid::grid(&sheet, args.keep.min(args.n), 4);
    let file = args.out.join("sheet.png");
    sheet.save_png(&file)?;
    say(file.display())
}

/// The most pixels that `encode` and `decode` take at once: a model holds hundreds of bytes for each.
const MAX_PIXELS: usize = 1 << 20;

/// A picture's centre square, resized to `side`, as values in [0, 1].
fn square(path: &Path, side: usize) -> Result<Vec<f32>> {
    let picture = Picture::open(path)?;
    let picture = augment::evaluation(&picture, side).map_err(|flaw| Error::data(path, flaw.detail))?;
    Ok(pixels(&[Example { key: String::new(), picture, caption: String::new() }]))
}

pub fn encode(run: &Path, image: &Path, out: Option<&Path>) -> Result<()> {
    let picture = Picture::open(image)?;
    let codec = codec::open(run)?;
    let g = codec.geometry();
    let stride = g.side / g.grid;
    let (height, width) = (picture.height, picture.width);
    if height == 0 || height % stride != 0 || width == 0 || width % stride != 0 {
        return Err(Error::data(image, format!("sides must be multiples of {stride}, got {width}×{height}")));
    }
    if height * width > MAX_PIXELS {
        return Err(Error::data(image, format!("expected at most {MAX_PIXELS} pixels, got {width}×{height}")));
    }
    let values: Vec<f32> = picture.rgb.iter().map(|&v| f32::from(v) / 255.0).collect();
    let (rows, columns, codes) = codec.encode(height, width, &values)?;
    let tokens = json!({"height": rows, "width": columns, "codes": codes}).to_string();
    match out {
        Some(path) => write_atomic(path, tokens.as_bytes()),
        None => say(tokens),
    }
}

pub fn decode(run: &Path, tokens: &Path, out: &Path) -> Result<()> {
    let bytes = std::fs::read(tokens).map_err(|error| Error::data(tokens, format!("cannot be read: {error}")))?;
    let bad = |what: String| Error::data(tokens, what);
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| bad(format!("expected the JSON of encode: {e}")))?;
    let side = |key: &str| {
        let number = value[key].as_u64().filter(|n| (1..=4096).contains(n)).map(|n| n as usize);
        number.ok_or_else(|| bad(format!("{key}: expected a number from 1 to 4096")))
    };
    let (rows, columns) = (side("height")?, side("width")?);
    let codec = codec::open(run)?;
    let g = codec.geometry();
    let (limit, most) = (g.codes, MAX_PIXELS / (g.side / g.grid).pow(2));
    if rows * columns > most {
        return Err(bad(format!("expected at most {most} tokens, got {rows}×{columns}")));
    }
    let list = value["codes"].as_array().ok_or_else(|| bad("codes: expected a list of numbers".into()))?;
    let code = |v: &Value| v.as_u64().filter(|&c| c < limit as u64).map(|c| c as u32);
    let codes: Option<Vec<u32>> = list.iter().map(code).collect();
    let codes = codes.ok_or_else(|| bad(format!("codes: expected numbers below {limit}")))?;
    if codes.len() != rows * columns {
        return Err(bad(format!("codes: expected {rows}×{columns} of them, got {}", codes.len())));
    }
    let (height, width, values) = codec.decode(rows, columns, &codes)?;
    picture(&values, width, height).save_png(out)?;
    say(out.display())
}

pub fn rerank(run: &Path, captions: &[String], template: Option<&str>, images: &[PathBuf]) -> Result<()> {
    if let Some(caption) = captions.iter().find(|caption| caption.trim().is_empty()) {
        return usage(format!("--caption {caption:?} is empty: expected at least one word"));
    }
    if let Some(template) = template.filter(|template| !template.contains("{}")) {
        return usage(format!("--template {template:?}: expected {{}} where the caption goes"));
    }
    let captions: Vec<String> =
        captions.iter().map(|caption| template.map_or(caption.clone(), |t| t.replace("{}", caption))).collect();
    let (_, _, models, bpe) = Models::open(run)?;
    let side = models.first.geometry().side;
    let mut values = Vec::new();
    for image in images {
        values.extend(square(image, side)?);
    }
    let features = models.clip.images(images.len(), &values)?;
    let text = clip_text(&bpe, models.clip_text, captions.iter().map(String::as_str));
    let texts = models.clip.texts(captions.len(), &text)?;
    let width = texts.len() / captions.len();
    let scores = cosines(&features, &texts, width);
    if captions.len() == 1 {
        for &i in &rank(&scores) {
            say(format_args!("{:>6.2}  {}", 100.0 * scores[i], images[i].display()))?;
        }
        return Ok(());
    }
    for (image, row) in images.iter().zip(scores.chunks(captions.len())) {
        say(image.display())?;
        for &i in &rank(row) {
            say(format_args!("  {:>6.2}  {}", 100.0 * row[i], captions[i]))?;
        }
    }
    Ok(())
}

pub fn masks(text: usize, side: usize, kernel: usize, out: &Path) -> Result<()> {
    let layout = Layout { text, grid: side };
    if text == 0 || side == 0 || layout.sequence() > 4096 {
        return usage(format!("--text {text} --grid {side}: expected both at least 1 and at most 4096 slots together"));
    }
    if kernel.is_multiple_of(2) {
        return usage(format!("--kernel {kernel}: expected an odd number"));
    }
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let conv_like = Pattern::ConvLike { kernel: 5 };
    let paper = [Pattern::Full, Pattern::Row, Pattern::Column, Pattern::Conv { kernel }];
    for pattern in paper.into_iter().chain([Pattern::AxialRow, Pattern::AxialColumn, conv_like]) {
        let drawn = pattern.picture(layout);
        let seen = pattern.dense(layout).iter().filter(|&&sees| sees).count();
        let file = out.join(format!("{}.png", pattern.to_string().replace(':', "-")));
        Picture { width: drawn.width, height: drawn.height, rgb: drawn.rgb }.save_png(&file)?;
        say(format_args!(
            "{:<12} {seen:>9} pairs  {:>7} tiles of 32  {}",
            pattern.to_string(),
            pattern.work(layout, 32),
            file.display()
        ))?;
    }
    Ok(())
}

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
}

pub fn data(args: &DataArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| Path::new("experiments/data").join(&args.name));
    if args.name == "emoji" {
        let cache = args.cache.clone().unwrap_or_else(|| out.with_file_name(".emoji-cache"));
        let mut options = emoji::EmojiOptions::new(&out, cache);
        options.size = args.size.unwrap_or(options.size);
        let report = emoji::build(&options, &mut |line| eprintln!("{line}"))?;
        return say(format_args!("{} pairs in {} shards under {}", report.pairs(), report.shards.len(), out.display()));
    }
    let side = args.size.unwrap_or(32) as usize;
    if side != 32 && side != 64 {
        return usage(format!("--size {side}: shapes are drawn at 32 or 64"));
    }
    std::fs::create_dir_all(&out).map_err(Error::io("create", &out))?;
    let shapes = Shapes { side, seed: 0, split: Split::Train, count: 48 };
    let mut pictures = Vec::new();
    for index in 0..shapes.len() {
        let sample = shapes.get(index).map_err(|bad| Error::data(&bad.key, bad.detail))?;
        say(format_args!("{index:>2}  {}", sample.captions[0]))?;
        pictures.push(sample.picture);
    }
    let file = out.join("sheet.png");
    grid::grid(&pictures, 8, 4).save_png(&file)?;
    let held_out = prompts(Prompts::HeldOut, 0, 3).join("; ");
    say(format_args!("captions kept for the zero-shot measure look like: {held_out}"))?;
    say(file.display())
}
