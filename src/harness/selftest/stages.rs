//! Training steps, checkpoints and sampling on a device, beside the CPU's.

use super::super::device::Device;
use super::super::load;
use super::super::models::{Architecture, Family};
use super::{Row, relative};
use crate::error::{Error, Result};
use crate::inference::{Options, Prompt, TokenModel, sample};
use crate::models::presets;
use crate::models::transformer::Tokens;
use crate::nn::Precision;
use crate::random::Rng;
use crate::spec::Schedule;
use crate::spec::Spec;
use crate::train::{Batch, Files, MODEL, Stage};
use safetensors::SafeTensors;

/// A step run twice: dfdx's sums on a GPU are atomic, and their order is not fixed.
const REPEATED: f64 = 1e-5;
/// Losses, gradient norms and logits beside the CPU's.
const NUMBERS: f64 = 1e-4;
/// Weights after a step, as a norm: AdamW's first step has the size of the gradient's sign, which rounding flips near 0.
const WEIGHTS: f64 = 1e-3;
/// Greedy tokens may differ where the two likeliest are nearer than this.
const TIE: f64 = 1e-3;
/// Steps of training before tokens are drawn.
const TRAINED: u64 = 20;
/// Pairs of a batch.
const PAIRS: usize = 4;

/// Rows for every stage, and for sampling.
pub fn rows(device: Device) -> Result<Vec<Row>> {
    let dvae = spec("dvae")?;
    let mut rows = stage(device, &dvae, "dvae", |family, spec| Ok(family.train_first_stage(spec)?))?;
    rows.extend(stage(device, &spec("vqvae")?, "vqvae", |family, spec| Ok(family.train_first_stage(spec)?))?);
    rows.extend(stage(device, &dvae, "transformer", |family, spec| Ok(family.train_transformer(spec)?))?);
    rows.extend(stage(device, &dvae, "clip", |family, spec| Ok(family.train_clip(spec)?))?);
    rows.extend(sampling(device, &dvae)?);
    Ok(rows)
}

fn spec(first: &str) -> Result<Spec> {
    let text = format!("name: selftest\npreset: tiny\nfirst_stage: {{kind: {first}}}\n");
    load::check("selftest", &text, &[], presets::NAMES)
}

/// Random pairs as the stage `name` reads them.
fn batch(architecture: &Architecture, name: &str) -> Batch {
    let mut rng = Rng::new(0, "selftest batch", 0, 0);
    let geometry = architecture.geometry;
    let pixels = (0..PAIRS * geometry.side * geometry.side * 3).map(|_| rng.uniform() as f32).collect();
    let codes =
        (0..PAIRS * geometry.grid * geometry.grid).map(|_| (rng.uniform() * geometry.codes as f64) as u32).collect();
    let text = (0..PAIRS as u32)
        .flat_map(|pair| {
            let words = [pair + 1, pair + 2, 3];
            if name == "clip" { architecture.clip_text.fill(&words) } else { architecture.text.fill(&words) }
        })
        .collect();
    Batch { size: PAIRS, pixels, text, codes }
}

fn stage(
    device: Device,
    spec: &Spec,
    name: &str,
    of: impl Fn(&dyn Family, &Spec) -> Result<Box<dyn Stage>>,
) -> Result<Vec<Row>> {
    let step = |device: Device| -> Result<(Box<dyn Stage>, Vec<f64>, Files)> {
        let family = device.to_train(spec)?;
        let batch = batch(&family.architecture(spec)?, name);
        let mut stage = of(family.as_ref(), spec)?;
        let report = stage.step(0, &batch)?;
        let files = stage.checkpoint()?;
        let told = ["loss", "grad_norm"].iter().filter_map(|name| report.get(name)).collect();
        Ok((stage, told, files))
    };
    let (mut on_device, numbers, files) = step(device)?;
    let (_, again, files_again) = step(device)?;
    let (mut on_cpu, expected, expected_files) = step(Device::Cpu)?;
    let row = |what: &str, error, limit| Row { what: format!("{name}: {what}"), error, limit };
    Ok(vec![
        row("a step twice, loss and gradient norm", relative(&numbers, &again), REPEATED),
        row("a step twice, weights", distance(&weights(&files)?, &weights(&files_again)?), REPEATED),
        row("a step, loss and gradient norm", relative(&expected, &numbers), NUMBERS),
        row("a step, weights", distance(&weights(&expected_files)?, &weights(&files)?), WEIGHTS),
        row("checkpoint to the CPU and back", there_and_back(on_device.as_mut(), on_cpu.as_mut())?, 0.0),
    ])
}

/// ‖a − b‖ / ‖a‖.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let lengths = if a.len() == b.len() { 0.0 } else { f64::NAN };
    lengths + norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut a.iter().copied())
}

/// The weights of a checkpoint, one after the other.
fn weights(files: &Files) -> Result<Vec<f64>> {
    let bytes = read(files, "model.safetensors")?;
    let broken = |error: safetensors::SafeTensorError| Error::data("model.safetensors", error.to_string());
    let tensors = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut named = tensors.tensors();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let numbers = |(_, tensor): &(String, safetensors::tensor::TensorView<'_>)| {
        let values = tensor.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        values.collect::<Vec<_>>()
    };
    Ok(named.iter().flat_map(numbers).collect())
}

fn read(files: &Files, name: &str) -> Result<Vec<u8>> {
    let found = files.iter().find(|(known, _)| *known == name);
    found.map(|(_, bytes)| bytes.clone()).ok_or_else(|| Error::data(name, "expected in the checkpoint, not there"))
}

/// How many files of a checkpoint change on their way from `device` to `cpu`, and from there back.
fn there_and_back(device: &mut dyn Stage, cpu: &mut dyn Stage) -> Result<f64> {
    let differing = |a: &Files, b: &Files| a.iter().zip(b).filter(|(a, b)| a != b).count() + a.len().abs_diff(b.len());
    let files = device.checkpoint()?;
    cpu.restore(&|name| read(&files, name))?;
    let there = cpu.checkpoint()?;
    device.restore(&|name| read(&there, name))?;
    Ok((differing(&files, &there) + differing(&there, &device.checkpoint()?)) as f64)
}

fn sampling(device: Device, spec: &Spec) -> Result<Vec<Row>> {
    let mut spec = spec.clone();
    spec.transformer.optimizer.lr = Schedule::cosine(0.01, 0.01, 0);
    spec.transformer.ema.decay = 0.0;
    let (on_cpu, on_device) = (Device::Cpu.to_train(&spec)?, device.to_train(&spec)?);
    let architecture = on_cpu.architecture(&spec)?;
    let given = batch(&architecture, "transformer");
    // Fresh weights give every token the same logit, whatever an engine makes of them. The CPU trains them, both take them.
    let mut stage = on_cpu.train_transformer(&spec)?;
    (0..TRAINED).try_for_each(|step| stage.step(step, &given).map(drop))?;
    let files = stage.checkpoint()?;
    let weights = read(&files, MODEL)?;
    let (here, there) = (on_cpu.transformer(&spec, &weights)?, on_device.transformer(&spec, &weights)?);
    let tokens = Tokens { text: &given.text, image: &given.codes };
    let wide = |logits: Vec<f32>| logits.into_iter().map(f64::from).collect::<Vec<_>>();
    let expected = wide(here.logits(PAIRS, tokens)?);
    let error = relative(&expected, &wide(there.logits(PAIRS, tokens)?));

    let prompts: Vec<Prompt> = given
        .text
        .chunks(architecture.text.slots)
        .map(|text| Prompt { text: text.to_vec(), seeds: vec![0, 1], forced: Vec::new() })
        .collect();
    let mut rows = vec![Row { what: "transformer: logits".to_owned(), error, limit: NUMBERS }];
    let empty = architecture.text.fill(&[]);
    for (precision, name) in [(Precision::F32, "f32"), (Precision::Bf16, "bf16"), (Precision::Int8, "int8")] {
        let row = |what: &str, error, limit| Row { what: format!("sampling in {name}, {what}"), error, limit };
        let [ours, theirs] = [&here, &there].map(|model| grown(model.as_ref(), tokens, precision));
        rows.push(row("logits", relative(&wide(ours?), &wide(theirs?)), NUMBERS));
        let greedy = Options { temperature: 0.0, top_k: 0, top_p: 1.0, guidance: 1.0, precision };
        let both = |options: &Options| [&here, &there].map(|model| sample(model.as_ref(), &prompts, &empty, options));
        let [ours, theirs] = both(&greedy);
        let gap = widest_gap(here.as_ref(), &given.text, &ours?, &theirs?, precision)?;
        rows.push(row("greedy: gap where tokens differ", gap, TIE));
        let [ours, theirs] = both(&Options { temperature: 1.0, guidance: 1.5, ..greedy });
        let (ours, theirs) = (ours?.concat(), theirs?.concat());
        let differing = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
        // A draw turns where the quantile of its seed meets the edge between two tokens: one in ten thousand by rounding.
        rows.push(row("equal seeds: share that differs", differing as f64 / ours.len() as f64, 0.05));
    }
    Ok(rows)
}

/// The image logits of every row after the text, copies of which then grow by two tokens.
fn grown(model: &dyn TokenModel, tokens: Tokens<'_>, precision: Precision) -> Result<Vec<f32>> {
    let slots = model.layout().text;
    let twice = |tokens: &[u32]| tokens.chunks(tokens.len() / PAIRS).flat_map(|row| row.repeat(2)).collect::<Vec<_>>();
    let (text, image) = (twice(tokens.text), twice(tokens.image));
    let copies = Tokens { text: &text, image: &image };
    let mut sequence = model.sequence(PAIRS, precision)?;
    let mut logits = sequence.advance(tokens, 0..slots + 1)?;
    sequence.repeat(2)?;
    for slot in slots + 1..slots + 3 {
        logits.extend(sequence.advance(copies, slot..slot + 1)?);
    }
    Ok(logits)
}

/// The largest difference of the two likeliest logits where a picture's tokens first differ; 0 where all are equal.
fn widest_gap(
    model: &dyn TokenModel,
    text: &[u32],
    ours: &[Vec<u32>],
    theirs: &[Vec<u32>],
    precision: Precision,
) -> Result<f64> {
    let slots = model.layout().text;
    let mut widest = 0.0;
    for (row, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let Some(first) = ours.iter().zip(theirs).position(|(a, b)| a != b) else { continue };
        // Two pictures for each text.
        let text = &text[row / 2 * slots..][..slots];
        let mut sequence = model.sequence(1, precision)?;
        let mut here = sequence.advance(Tokens { text, image: ours }, 0..slots + first + 1)?;
        here.sort_unstable_by(|a, b| b.total_cmp(a));
        widest = f64::max(widest, f64::from(here[0] - here[1]));
    }
    Ok(widest)
}
