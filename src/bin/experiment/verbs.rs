//! The verbs besides running a spec: each reads its inputs, asks the library, prints a result.

use crate::device::{CheckpointArgs, DeviceArgs};
use crate::output::Output;
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
use serde::Serialize;
use serde_json::json;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

pub fn selftest(device: Device, output: Output) -> Result<()> {
    let test = Selftest::run(device)?;
    output.tell(&json!({"checks": test.0, "failed": test.failed()}), || Ok(test.to_string()))?;
    match (test.failed(), test.0.len()) {
        (0, _) => Ok(()),
        (failed, checks) => Err(Error::Selftest { failed, checks }),
    }
}

pub fn plan(path: &Path, sets: &[String], output: Output) -> Result<()> {
    let loaded = fit(load::load(path, sets, presets::NAMES)?, false)?;
    output.say(&dalle::harness::plan::plan(&loaded.spec)?)
}

/// The most pixels that `encode` and `decode` take at once: a model holds hundreds of bytes for each.
const MAX_PIXELS: usize = 1 << 20;

pub fn encode(
    run: &Path,
    image: &Path,
    out: Option<&Path>,
    (device, output): (Device, Output),
    which: Which,
) -> Result<()> {
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
        Some(path) => {
            write_atomic(path, tokens.as_bytes())?;
            output.end(&json!({"tokens": path}))
        }
        None => say(tokens),
    }
}

pub fn decode(run: &Path, tokens: &Path, out: &Path, (device, output): (Device, Output), which: Which) -> Result<()> {
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
    output.tell(&json!({"picture": out}), || Ok(out.display().to_string()))
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
    #[command(flatten)]
    output: Output,
}

/// A picture against captions, best first.
#[derive(Debug, Serialize)]
struct Matched<'a> {
    picture: &'a Path,
    captions: Vec<Match<'a>>,
}

#[derive(Debug, Serialize)]
struct Match<'a> {
    caption: &'a str,
    /// 100·cosine.
    similarity: f32,
    /// Among the captions, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f32>,
}

impl Display for Matched<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Matched { picture, captions } = self;
        if let [Match { similarity, probability: None, .. }] = captions[..] {
            return writeln!(f, "{similarity:>6.2}  {}", picture.display());
        }
        writeln!(f, "{}", picture.display())?;
        captions.iter().try_for_each(|Match { caption, similarity, probability }| {
            writeln!(f, "  {similarity:>6.2}  {:>5.1} %  {caption}", 100.0 * probability.unwrap_or(f32::NAN))
        })
    }
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
    let matched: Vec<Matched<'_>> = if let [caption] = &captions[..] {
        let one = |&i: &usize| Match { caption, similarity: 100.0 * scores[i], probability: None };
        rank(&scores).iter().map(|i| Matched { picture: &args.images[*i], captions: vec![one(i)] }).collect()
    } else {
        let likely = probabilities(&scores, captions.len(), reranker.scale());
        let rows = scores.chunks(captions.len()).zip(likely.chunks(captions.len()));
        let of = |(picture, (row, likely)): (_, (&[f32], &[f32]))| {
            let one =
                |&i: &usize| Match { caption: &captions[i], similarity: 100.0 * row[i], probability: Some(likely[i]) };
            Matched { picture, captions: rank(row).iter().map(one).collect() }
        };
        args.images.iter().map(PathBuf::as_path).zip(rows).map(of).collect()
    };
    args.output.tell(&matched, || Ok(matched.iter().map(ToString::to_string).collect()))
}

pub fn masks(text: usize, side: usize, kernel: usize, (out, output): (&Path, Output)) -> Result<()> {
    let layout = Layout { text, grid: side };
    if text == 0 || side == 0 || layout.sequence() > 4096 {
        return usage(format!("--text {text} --grid {side}: expected both at least 1 and at most 4096 slots together"));
    }
    if !is_kernel(kernel) {
        return usage(format!("--kernel {kernel}: expected an odd number of at most {MOST_KERNEL}"));
    }
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let conv_like = Pattern::ConvLike { kernel: 5 };
    let mut drawn = Vec::new();
    let paper = [Pattern::Full, Pattern::Row, Pattern::Column, Pattern::Conv { kernel }];
    for pattern in paper.into_iter().chain([Pattern::AxialRow, Pattern::AxialColumn, conv_like]) {
        let seen = pattern.dense(layout).iter().filter(|&&sees| sees).count();
        let file = out.join(format!("{}.png", pattern.to_string().replace(':', "-")));
        let side = layout.sequence();
        Picture { width: side, height: side, rgb: pattern.drawing(layout) }.save_png(&file)?;
        let (name, tiles) = (pattern.to_string(), pattern.work(layout, 32));
        output.line(format_args!("{name:<12} {seen:>9} pairs  {tiles:>7} tiles of 32  {}", file.display()))?;
        drawn.push(json!({"pattern": name, "pairs": seen, "tiles_of_32": tiles, "picture": file}));
    }
    output.end(&drawn)
}
