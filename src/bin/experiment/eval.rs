//! `experiment eval`: a finished run measured on its validation sets.

use crate::device::{CheckpointArgs, DeviceArgs};
use crate::output::Output;
use crate::{say, usage};
use clap::Args;
use dalle::evaluate::estimate::Estimate;
use dalle::evaluate::network::{Network, Reading};
use dalle::harness::device::Device;
use dalle::harness::eval::{Asked, evaluate};
use dalle::harness::{notice, open};
use dalle::inference::Reranker;
use dalle::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The run directory.
    run: PathBuf,
    /// Pairs of each validation set; 0: all.
    #[arg(long, default_value_t = 256)]
    pairs: usize,
    /// An ONNX network for the Fréchet distance and the inception score, after which they are named.
    #[arg(long)]
    network: Option<PathBuf>,
    /// Side of its pictures, where the file does not say.
    #[arg(long, requires = "network")]
    side: Option<usize>,
    /// What it takes from values in [0, 1]: one number, or one for red, green and blue each.
    #[arg(long, requires = "network", value_delimiter = ',', default_value = "0.5")]
    mean: Vec<f32>,
    /// What it divides them by then.
    #[arg(long, requires = "network", value_delimiter = ',', default_value = "0.5")]
    std: Vec<f32>,
    /// Draws with replacement for the distance's interval, each as costly as the distance; 0: none.
    #[arg(long, default_value_t = 20)]
    resamples: usize,
    /// A file of `import openai-clip` or `hf-clip` to judge with instead of the run's own CLIP.
    #[arg(long)]
    clip: Option<PathBuf>,
    /// The merges of its tokenizer, if they do not lie beside it.
    #[arg(long, requires = "clip")]
    merges: Option<PathBuf>,
    /// The captions are MS-COCO's: published figures go beside.
    #[arg(long)]
    coco: bool,
    #[command(flatten)]
    older: CheckpointArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    output: Output,
}

pub fn eval(args: &EvalArgs, device: Device) -> Result<()> {
    let reading =
        Reading { side: args.side, mean: channels("--mean", &args.mean)?, std: channels("--std", &args.std)? };
    if reading.std.contains(&0.0) {
        return usage("--std: expected numbers other than 0");
    }
    const MOST_RESAMPLES: usize = 100_000;
    if args.resamples > MOST_RESAMPLES {
        return usage(format!("--resamples {}: expected at most {MOST_RESAMPLES}", args.resamples));
    }
    let judge = |path: &PathBuf| -> Result<(String, Reranker)> {
        Ok((path.display().to_string(), open::reranker(path, args.merges.as_deref(), Device::Cpu, args.older.which())?))
    };
    let asked = Asked {
        pairs: args.pairs,
        network: args.network.as_deref().map(|path| Network::open(path, reading)).transpose()?,
        judge: args.clip.as_ref().map(judge).transpose()?,
        resamples: args.resamples,
        which: args.older.which(),
        coco: args.coco,
    };
    let (run, found) = evaluate(&args.run, device, &asked, &mut |line| notice::line(line))?;
    if args.output.json {
        let report = dalle::report::write(&run)?;
        return args.output.end(&json!({"run": run, "evaluation": found, "report": report}));
    }
    for (name, set) in found.sets.iter() {
        say(name)?;
        let (rows, details) = set.rows();
        rows.iter().chain(&details).try_for_each(|row| line(&row.title, &row.estimate, row.unit))?;
        for of in set.network.iter().flat_map(|network| &network.by_radius) {
            line(&format!("distance, radius {}", of.radius), &of.distance, "")?;
            line(&format!("inception score, radius {}", of.radius), &of.inception_score, "")?;
        }
    }
    say(dalle::report::write(&run)?.display())
}

/// One number for all channels, or one each.
fn channels(option: &str, numbers: &[f32]) -> Result<[f32; 3]> {
    match *numbers {
        [all] if all.is_finite() => Ok([all; 3]),
        [r, g, b] if numbers.iter().all(|n| n.is_finite()) => Ok([r, g, b]),
        _ => Err(Error::Usage(format!("{option}: expected one number or three, got {numbers:?}"))),
    }
}

/// A figure, its interval and its unit.
fn line(title: &str, estimate: &Estimate, unit: &str) -> Result<()> {
    let number = |value: f64| format!("{value:.4}");
    let interval =
        estimate.interval.map_or(String::new(), |ends| format!("({} to {})", number(ends[0]), number(ends[1])));
    say(format!("  {title:<60} {:>10}  {interval} {unit}", number(estimate.value)).trim_end())
}
