//! The verbs besides running a spec: each reads its inputs, asks the library, prints a result.

use crate::device::DeviceArgs;
use crate::{say, usage};
use clap::Args;
use dalle::data::shapes::{Captions, Prompts, Split, prompts};
use dalle::data::{Picture, Shapes, Source, emoji};
use dalle::generate::{cosines, probabilities, rank};
use dalle::harness::codec;
use dalle::harness::device::Device;
use dalle::harness::measure::picture;
use dalle::harness::reranker::Reranker;
use dalle::harness::run_dir::write_atomic;
use dalle::harness::selftest::Selftest;
use dalle::harness::spec;
use dalle::mask::{Layout, Pattern};
use dalle::models::presets;
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

pub fn selftest(device: Device) -> Result<()> {
    let test = Selftest::run(device)?;
    say(&test)?;
    match (test.failed(), test.0.len()) {
        (0, _) => Ok(()),
        (failed, checks) => Err(Error::Selftest { failed, checks }),
    }
}

pub fn plan(path: &Path, sets: &[String]) -> Result<()> {
    let loaded = spec::load(path, sets, presets::NAMES)?;
    say(dalle::harness::plan::plan(&loaded.spec)?.to_string().trim_end())
}

/// The most pixels that `encode` and `decode` take at once: a model holds hundreds of bytes for each.
const MAX_PIXELS: usize = 1 << 20;

pub fn encode(run: &Path, image: &Path, out: Option<&Path>, device: Device) -> Result<()> {
    let picture = Picture::open(image)?;
    let codec = codec::open(run, device)?;
    let stride = codec.stride();
    let (height, width) = (picture.height, picture.width);
    if height == 0 || height % stride != 0 || width == 0 || width % stride != 0 {
        return Err(Error::data(image, format!("sides must be multiples of {stride}, got {width}×{height}")));
    }
    if height * width > MAX_PIXELS {
        return Err(Error::data(image, format!("expected at most {MAX_PIXELS} pixels, got {width}×{height}")));
    }
    let values: Vec<f32> = picture.values().collect();
    let (rows, columns, codes) = codec.encode_any(height, width, &values)?;
    let tokens = json!({"height": rows, "width": columns, "codes": codes}).to_string();
    match out {
        Some(path) => write_atomic(path, tokens.as_bytes()),
        None => say(tokens),
    }
}

pub fn decode(run: &Path, tokens: &Path, out: &Path, device: Device) -> Result<()> {
    let bytes = std::fs::read(tokens).map_err(|error| Error::data(tokens, format!("cannot be read: {error}")))?;
    let bad = |what: String| Error::data(tokens, what);
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| bad(format!("expected the JSON of encode: {e}")))?;
    let side = |key: &str| {
        let number = value[key].as_u64().filter(|n| (1..=4096).contains(n)).map(|n| n as usize);
        number.ok_or_else(|| bad(format!("{key}: expected a number from 1 to 4096")))
    };
    let (rows, columns) = (side("height")?, side("width")?);
    let codec = codec::open(run, device)?;
    let (limit, most) = (codec.vocabulary(), MAX_PIXELS / codec.stride().pow(2));
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
    let (height, width, values) = codec.decode_any(rows, columns, &codes)?;
    picture(&values, width, height).save_png(out)?;
    say(out.display())
}

#[derive(Debug, Args)]
pub struct RerankArgs {
    /// The run directory, or a file of `import openai-clip` or `import hf-clip`.
    model: PathBuf,
    /// A caption; repeat for zero-shot classification.
    #[arg(long = "caption", required = true)]
    captions: Vec<String>,
    /// What captions are put into, at `{}`: `--template "a photo of a {}"`.
    #[arg(long)]
    template: Option<String>,
    /// The merges of an imported CLIP's tokenizer; bpe_simple_vocab_16e6.txt.gz or merges.txt beside it if left out.
    #[arg(long)]
    merges: Option<PathBuf>,
    /// The pictures.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

pub fn rerank(args: &RerankArgs, device: Device) -> Result<()> {
    if let Some(caption) = args.captions.iter().find(|caption| caption.trim().is_empty()) {
        return usage(format!("--caption {caption:?} is empty: expected at least one word"));
    }
    if let Some(template) = args.template.iter().find(|template| !template.contains("{}")) {
        return usage(format!("--template {template:?}: expected {{}} where the caption goes"));
    }
    let put = |caption: &String| args.template.as_ref().map_or(caption.clone(), |t| t.replace("{}", caption));
    let captions: Vec<String> = args.captions.iter().map(put).collect();
    let reranker = Reranker::open(&args.model, args.merges.as_deref(), device)?;
    let (features, texts) = (reranker.files(&args.images)?, reranker.captions(&captions)?);
    let scores = cosines(&features, &texts, texts.len() / captions.len());
    if captions.len() == 1 {
        for &i in &rank(&scores) {
            say(format_args!("{:>6.2}  {}", 100.0 * scores[i], args.images[i].display()))?;
        }
        return Ok(());
    }
    let likely = probabilities(&scores, captions.len(), reranker.scale());
    for ((image, row), likely) in
        args.images.iter().zip(scores.chunks(captions.len())).zip(likely.chunks(captions.len()))
    {
        say(image.display())?;
        for &i in &rank(row) {
            say(format_args!("  {:>6.2}  {:>5.1} %  {}", 100.0 * row[i], 100.0 * likely[i], captions[i]))?;
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
    let held_out = prompts(Prompts::HeldOut, Captions::Quoted, 0, 3).join("; ");
    say(format_args!("captions kept for the zero-shot measure look like: {held_out}"))?;
    say(file.display())
}
