//! The verbs besides running a spec: each reads its inputs, asks the library, prints a result.

use crate::device::{CheckpointArgs, DeviceArgs};
use crate::run::fit;
use crate::{say, usage};
use clap::Args;
use dalle::data::Picture;
use dalle::harness::device::Device;
use dalle::harness::load;
use dalle::harness::notice;
use dalle::harness::open::{self, Which};
use dalle::harness::run_dir::write_atomic;
use dalle::harness::selftest::Selftest;
use dalle::harness::tokens::TokenGrid;
use dalle::inference::{cosines, probabilities, rank};
use dalle::mask::{Layout, MOST_KERNEL, Pattern, is_kernel};
use dalle::models::presets;
use dalle::{Error, Result};
use std::path::{Path, PathBuf};

pub fn selftest(device: Device) -> Result<()> {
    let test = Selftest::run(device)?;
    say(&test)?;
    match (test.failed(), test.0.len()) {
        (0, _) => Ok(()),
        (failed, checks) => Err(Error::Selftest { failed, checks }),
    }
}

pub fn plan(path: &Path, sets: &[String]) -> Result<()> {
    let loaded = fit(load::load(path, sets, presets::NAMES)?, false)?;
    say(dalle::harness::plan::plan(&loaded.spec)?.to_string().trim_end())
}

/// The most pixels that `encode` and `decode` take at once: a model holds hundreds of bytes for each.
const MAX_PIXELS: usize = 1 << 20;

pub fn encode(run: &Path, image: &Path, out: Option<&Path>, device: Device, which: Which) -> Result<()> {
    let picture = Picture::open(image)?;
    let codec = open::codec(run, device, which)?;
    let stride = codec.stride();
    let (height, width) = (picture.height, picture.width);
    if height == 0 || height % stride != 0 || width == 0 || width % stride != 0 {
        return Err(Error::data(image, format!("sides must be multiples of {stride}, got {width}×{height}")));
    }
    if height * width > MAX_PIXELS {
        return Err(Error::data(image, format!("expected at most {MAX_PIXELS} pixels, got {width}×{height}")));
    }
    let values: Vec<f32> = picture.values().collect();
    let codes = codec.encode_any([1, height, width], &values)?;
    let tokens = TokenGrid { height: height / stride, width: width / stride, codes }.to_json();
    match out {
        Some(path) => write_atomic(path, tokens.as_bytes()),
        None => say(tokens),
    }
}

pub fn decode(run: &Path, tokens: &Path, out: &Path, device: Device, which: Which) -> Result<()> {
    let grid = TokenGrid::read(tokens)?;
    let bad = |what: String| Error::data(tokens, what);
    let codec = open::codec(run, device, which)?;
    let (limit, most) = (codec.vocabulary(), MAX_PIXELS / codec.stride().pow(2));
    if grid.codes.len() > most {
        return Err(bad(format!("expected at most {most} tokens, got {}×{}", grid.height, grid.width)));
    }
    if grid.codes.iter().any(|&code| code as usize >= limit) {
        return Err(bad(format!("codes: expected numbers below {limit}")));
    }
    let values = codec.decode_any([1, grid.height, grid.width], &grid.codes)?;
    let stride = codec.stride();
    Picture::of_values(&values, grid.width * stride, grid.height * stride).save_png(out)?;
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
    older: CheckpointArgs,
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
    let reranker = open::reranker(&args.model, args.merges.as_deref(), device, args.older.which())?;
    if let Some(cut) = reranker.cut(&captions) {
        notice::line(format_args!("warning: CLIP: {cut}"));
    }
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
    if !is_kernel(kernel) {
        return usage(format!("--kernel {kernel}: expected an odd number of at most {MOST_KERNEL}"));
    }
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let conv_like = Pattern::ConvLike { kernel: 5 };
    let paper = [Pattern::Full, Pattern::Row, Pattern::Column, Pattern::Conv { kernel }];
    for pattern in paper.into_iter().chain([Pattern::AxialRow, Pattern::AxialColumn, conv_like]) {
        let seen = pattern.dense(layout).iter().filter(|&&sees| sees).count();
        let file = out.join(format!("{}.png", pattern.to_string().replace(':', "-")));
        let side = layout.sequence();
        Picture { width: side, height: side, rgb: pattern.drawing(layout) }.save_png(&file)?;
        say(format_args!(
            "{:<12} {seen:>9} pairs  {:>7} tiles of 32  {}",
            pattern.to_string(),
            pattern.work(layout, 32),
            file.display()
        ))?;
    }
    Ok(())
}
