//! The works, one function each. Models have random weights; inputs are random too.

use super::{Machine, Measurement, product, try_median};
use crate::error::{Error, Result};
use crate::generate::{Options, draw};
use crate::harness::load;
use crate::harness::plan::plan;
use crate::mask::{Layout, Pattern};
use crate::models::clip::published::VitB32;
use crate::models::clip::{self, Clip};
use crate::models::dvae::{self, Dvae};
use crate::models::presets::{self, bench_l, bench_s, paper};
use crate::models::transformer::Tokens;
use crate::nn::{self, Precision::*};
use crate::ops::{AttentionOp, Mask};
use crate::random::Rng;
use crate::shape::{DvaeShape, TransformerShape};
use crate::train::config::{Ema, FirstStage, Optimizer, Schedule, TransformerStage as Config};
use crate::train::transformer_stage::TransformerStage;
use crate::train::{Autoregressive, Batch, Stage, first_stage};
use dfdx::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// The optimiser of every training work: AdamW with clipping.
const OPTIMIZER: Optimizer = Optimizer {
    method: crate::train::config::Method::Adamw,
    lr: Schedule::cosine(1e-4, 1e-4, 0),
    beta1: 0.9,
    beta2: 0.96,
    epsilon: 1e-8,
    weight_decay: 4.5e-2,
    clip: 4.0,
    max_variance: 0.0,
};
const NO_AVERAGE: Ema = Ema { decay: 0.0, every: 1 };

/// Products of a training step's and of a sampling step's shapes.
pub fn gemm(machine: &Machine) -> Result<Vec<Measurement>> {
    let each = |(m, k, n): (usize, usize, usize)| {
        let flops = product(m, k, n);
        machine.figure(&format!("$-{m}x{k}x{n}"), flops / 1e9, "GFLOP/s", Some(flops))
    };
    let mut all: Vec<Measurement> = [(2560, 512, 2048), (1280, 2048, 512), (8, 512, 2048)].map(each).into();
    all.push(machine.figure("copy-bandwidth", machine.bytes / 1e9, "GB/s", None));
    Ok(all)
}

/// One layer's attention, forward and backward, at the larger shape.
pub fn attention(machine: &Machine) -> Result<Vec<Measurement>> {
    let (text, grid, kernel) = (256, 32, 11);
    let layout = Layout { text, grid };
    let sequence = layout.sequence();
    let device = Cpu::default();
    let values = random("qkv", sequence * 3 * 512);
    let qkv: Tensor<(usize, usize, Const<1536>), f32, Cpu> =
        device.try_tensor_from_vec(values, (1, sequence, Const))?;
    let mut all = Vec::new();
    for (name, pattern) in [
        ("dense-causal", Pattern::Full),
        ("row", Pattern::Row),
        ("col", Pattern::Column),
        ("conv", Pattern::Conv { kernel }),
    ] {
        let mask = Mask::new(pattern, layout);
        let seconds = try_median(9, || {
            let out = Cpu::attention::<bench_l::Block, _, _, _>(qkv.clone().leaky_traced(), &mask)?;
            black_box(out.try_sum::<(), _>()?.try_backward()?);
            Ok(())
        })?;
        // Scores and sums, forward; four more products backward: 2·2·pairs·width and twice that, for pairs that are seen.
        let pairs = pattern.dense(layout).iter().filter(|&&sees| sees).count();
        let flops = 3.0 * 4.0 * pairs as f64 * 512.0;
        all.push(machine.figure(&format!("$-{name}"), 1e3 * seconds, "ms", Some(flops / seconds)));
    }
    Ok(all)
}

/// A training step of the smaller shape.
pub fn train_s(machine: &Machine) -> Result<Vec<Measurement>> {
    train::<bench_s::Transformer>(machine, "bench-s", 8, 7)
}

/// A training step of the larger shape.
pub fn train_l(machine: &Machine) -> Result<Vec<Measurement>> {
    train::<bench_l::Transformer>(machine, "bench-l", 1, 11)
}

fn train<S: TransformerShape>(
    machine: &Machine,
    preset: &str,
    batch: usize,
    kernel: usize,
) -> Result<Vec<Measurement>> {
    let config = config(batch, kernel);
    let mut stage = TransformerStage::<S, Cpu>::new(&config, 0, Cpu::default())?;
    let inputs = Batch {
        size: batch,
        text: ids("text", batch * S::Text::SIZE, S::TextVocab::SIZE),
        codes: ids("codes", batch * S::Image::SIZE, S::Codes::SIZE),
        ..Batch::default()
    };
    let mut step = 0;
    let seconds = try_median(5, || {
        stage.step(step, &inputs)?;
        step += 1;
        Ok(())
    })?;
    let text = format!("{{name: bench, preset: {preset}, transformer: {{batch: {batch}, conv_kernel: {kernel}}}}}");
    let plan = plan(&load::check("bench", &text, &[], presets::NAMES)?)?;
    let flops = plan.stages.iter().find(|stage| stage.name == "transformer").map(|stage| stage.flops.total());
    let tokens = (batch * S::Seq::SIZE) as f64;
    Ok(vec![machine.figure("$", tokens / seconds, "tokens/s", flops.map(|flops| flops / seconds))])
}

fn config(batch: usize, kernel: usize) -> Config {
    Config { steps: 1000, batch, conv_kernel: kernel, optimizer: OPTIMIZER, ema: NO_AVERAGE, ..Config::default() }
}

/// Image tokens 16 to 1023 of one prompt's candidates, whose prefix is computed once.
pub fn sample_l(machine: &Machine) -> Result<Vec<Measurement>> {
    const UNTIMED: usize = 16;
    type Shape = bench_l::Transformer;
    let stage = TransformerStage::<Shape, Cpu>::new(&config(1, 11), 0, Cpu::default())?;
    let (slots, positions) = (<Shape as TransformerShape>::Text::SIZE, <Shape as TransformerShape>::Image::SIZE);
    let codes = stage.codes();
    let prompt = ids("text", slots, <Shape as TransformerShape>::TextVocab::SIZE);
    let mut all = Vec::new();
    for (batch, precision) in [1, 8].into_iter().flat_map(|b| [F32, Bf16, Int8].map(|p| (b, p))) {
        let options = Options { temperature: 1.0, top_k: 0, top_p: 1.0, guidance: 1.0, precision };
        let run = || -> Result<f64> {
            let mut sequence = stage.sequence(1, precision)?;
            let blank = vec![0; positions];
            let first = sequence.advance(Tokens { text: &prompt, image: &blank }, 0..slots + 1)?;
            sequence.repeat(batch);
            let mut logits = first.repeat(batch);
            let text = prompt.repeat(batch);
            let mut image = vec![0; batch * positions];
            let mut started = Instant::now();
            for position in 0..positions {
                if position == UNTIMED {
                    started = Instant::now();
                }
                for (row, logits) in logits.chunks(codes).enumerate() {
                    let u = Rng::new(0, "bench", position as u64, row as u64).uniform();
                    image[row * positions + position] = draw(logits, &options, u);
                }
                if position + 1 < positions {
                    let slot = slots + position + 1;
                    logits = sequence.advance(Tokens { text: &text, image: &image }, slot..slot + 1)?;
                }
            }
            Ok(started.elapsed().as_secs_f64())
        };
        let mut seconds = [run()?, run()?, run()?];
        seconds.sort_by(f64::total_cmp);
        let steps = (positions - UNTIMED) as f64 / seconds[1];
        // A step reads every weight but the tables once.
        let tables = (<Shape as TransformerShape>::TextRows::SIZE + <Shape as TransformerShape>::ImageRows::SIZE) * 512;
        let text_head = <Shape as TransformerShape>::TextVocab::SIZE * 512;
        let weights = stage.num_parameters() - tables - text_head;
        let (suffix, bytes) = match precision {
            F32 => ("", 4.0),
            Bf16 => ("-bf16", 2.0),
            Int8 => ("-int8", 1.0),
        };
        let measured = machine.figure(&format!("$-b{batch}{suffix}"), batch as f64 * steps, "image tokens/s", None);
        let share = (batch == 1).then(|| bytes * weights as f64 * steps / machine.bytes);
        all.push(Measurement { fraction_of_peak: share, ..measured });
    }
    Ok(all)
}

/// OpenAI's encoder and decoder with a quarter of the width, on 64 × 64.
#[derive(Debug, Clone, Copy, Default)]
struct Quarter;

impl DvaeShape for Quarter {
    type Side = Const<64>;
    type Grid = Const<8>;
    type Codes = Const<1024>;
    type Init = Const<64>;
    type Down = crate::groups!(64, 128, 256, 512);
    type Up = crate::groups!(512, 256, 128, 64);
    const BLOCKS: usize = 2;
}

/// A training step of the dVAE.
pub fn dvae_train(machine: &Machine) -> Result<Vec<Measurement>> {
    const SIZE: usize = 8;
    let spec = FirstStage { steps: 1000, batch: SIZE, optimizer: OPTIMIZER, ema: NO_AVERAGE, ..FirstStage::default() };
    let mut stage = first_stage::build::<Quarter, Cpu>(&spec, 0, Cpu::default())?;
    let pixels = (0..SIZE * 64 * 64 * 3).map(|i| 0.1 + 0.8 * Rng::new(0, "pixels", i as u64, 0).uniform() as f32);
    let batch = Batch { size: SIZE, pixels: pixels.collect(), ..Batch::default() };
    let mut step = 0;
    let seconds = try_median(5, || {
        stage.step(step, &batch)?;
        step += 1;
        Ok(())
    })?;
    Ok(vec![machine.figure("$", SIZE as f64 / seconds, "images/s", None)])
}

/// The published dVAE: a picture to codes and back.
pub fn dvae_256(machine: &Machine) -> Result<Vec<Measurement>> {
    let device = Cpu::default();
    let model: Dvae<paper::Dvae, f32, Cpu> = nn::build(&device, 0, dvae::init)?;
    let pixels = random("pixels", 256 * 256 * 3);
    let mut codes = Vec::new();
    let encode = try_median(5, || {
        let x = device.try_tensor_from_vec(pixels.clone(), (1usize, 256usize, 256usize, Const::<3>))?;
        codes = model.encode(x)?;
        Ok(())
    })?;
    let decode = try_median(5, || {
        black_box(model.decode(&codes, (1usize, 32usize, 32usize), &device)?);
        Ok(())
    })?;
    let figure = |part: &str, seconds: f64| machine.figure(&format!("$-{part}"), seconds, "s/image", None);
    Ok(vec![figure("encode", encode), figure("decode", decode)])
}

/// ViT-B/32's picture tower.
pub fn clip_b32(machine: &Machine) -> Result<Vec<Measurement>> {
    const SIZE: usize = 16;
    let device = Cpu::default();
    let model: Clip<VitB32, f32, Cpu> = nn::build(&device, 0, clip::init::<VitB32>())?;
    let pixels = random("pixels", SIZE * 3 * 224 * 224);
    let seconds = try_median(5, || {
        black_box(model.visual.forward(SIZE, &pixels, &device, NoneTape)?);
        Ok::<(), Error>(())
    })?;
    // 12 blocks of 12·768² weights over 50 slots, the patches, and the scores.
    let flops = 2.0
        * SIZE as f64
        * (50.0 * 12.0 * 12.0 * 768.0 * 768.0 + 49.0 * 3072.0 * 768.0 + 12.0 * 2.0 * 50.0 * 50.0 * 768.0);
    Ok(vec![machine.figure("$-images", SIZE as f64 / seconds, "images/s", Some(flops / seconds))])
}

fn random(stream: &str, count: usize) -> Vec<f32> {
    let mut rng = Rng::new(0, stream, 0, 0);
    (0..count).map(|_| rng.normal() as f32).collect()
}

fn ids(stream: &str, count: usize, below: usize) -> Vec<u32> {
    let mut rng = Rng::new(0, stream, 0, 0);
    (0..count).map(|_| rng.below(below) as u32).collect()
}
