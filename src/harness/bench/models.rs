//! The works of models, one function each, on any device. Models have random weights; inputs are random too.

use super::timing::{Bench, Measurement};
use super::{Emit, Work, counts};
use crate::error::{Error, Result};
use crate::generate::{Options, draw};
use crate::harness::plan::walk;
use crate::mask::paper_order;
use crate::models::clip::published::VitB32;
use crate::models::clip::{self, Clip};
use crate::models::dvae::{self, Dvae};
use crate::models::presets::{bench_l, bench_s, paper};
use crate::models::transformer::Tokens;
use crate::nn::{self, Precision::*};
use crate::ops::Backend;
use crate::random::Rng;
use crate::shape::{BlockShape, ClipShape, DvaeShape, TextTowerShape, TransformerShape};
use crate::train::config::{Ema, FirstStage, Optimizer, Schedule, TransformerStage as Config};
use crate::train::transformer_stage::TransformerStage;
use crate::train::{Autoregressive, Batch, Place, Stage, first_stage};
use dfdx::prelude::*;
use dfdx::tensor::Synchronize;
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

/// A device that works run on and that can be waited for.
pub trait Timed: Backend<f32> + Synchronize {}

impl<D: Backend<f32> + Synchronize> Timed for D {}

/// In the order in which they are measured.
pub fn works<D: Timed>() -> [Work<D>; 6]
where
    Error: From<D::Err>,
{
    [
        ("train-s", |bench, emit| train::<bench_s::Transformer, D>(bench, emit, 8, 7)),
        ("train-l", |bench, emit| train::<bench_l::Transformer, D>(bench, emit, 1, 11)),
        ("sample-l", sample_l),
        ("dvae-train", dvae_train),
        ("dvae-256", dvae_256),
        ("clip-b32", clip_b32),
    ]
}

/// A training step.
fn train<S: TransformerShape, D: Timed>(bench: &Bench<D>, emit: Emit<'_>, batch: usize, kernel: usize) -> Result<()>
where
    Error: From<D::Err>,
{
    let mut stage = TransformerStage::<S, D>::new(&config(batch, kernel), 0, bench.device.clone())?;
    let inputs = Batch {
        size: batch,
        text: ids("text", batch * S::Text::SIZE, S::TextVocab::SIZE),
        codes: ids("codes", batch * S::Image::SIZE, S::Codes::SIZE),
        ..Batch::default()
    };
    let mut step = 0;
    let seconds = bench.median(5, || {
        stage.step(step, &inputs)?;
        step += 1;
        Ok(())
    })?;
    let parts = walk::transformer::<S>(&paper_order(S::DEPTH, kernel), false);
    let rate = counts::training(&parts, batch) / seconds;
    emit(bench.bounded("$", (batch * S::Seq::SIZE) as f64 / seconds, "tokens/s", rate))
}

fn config(batch: usize, kernel: usize) -> Config {
    Config { steps: 1000, batch, conv_kernel: kernel, optimizer: OPTIMIZER, ema: NO_AVERAGE, ..Config::default() }
}

/// Image tokens 16 to 1023 of one prompt's candidates, whose prefix is computed once. Drawing is the host's, and timed.
fn sample_l<D: Timed>(bench: &Bench<D>, emit: Emit<'_>) -> Result<()>
where
    Error: From<D::Err>,
{
    const UNTIMED: usize = 16;
    const KERNEL: usize = 11;
    type Shape = bench_l::Transformer;
    let stage = TransformerStage::<Shape, D>::new(&config(1, KERNEL), 0, bench.device.clone())?;
    let (slots, positions) = (<Shape as TransformerShape>::Text::SIZE, <Shape as TransformerShape>::Image::SIZE);
    let codes = stage.codes();
    let prompt = ids("text", slots, <Shape as TransformerShape>::TextVocab::SIZE);
    // A GPU has the memory for more candidates. Without a sampler on it, weights of fewer bits are the processor's.
    let batches = if D::ON_HOST { &[1, 8][..] } else { &[1, 8, 64] };
    let head = <<Shape as TransformerShape>::Block as BlockShape>::HeadDim::SIZE;
    let precisions = if D::ON_HOST || Place::gpu(head).is_some() { &[F32, Bf16, Int8][..] } else { &[F32] };
    for (&batch, &precision) in batches.iter().flat_map(|b| precisions.iter().map(move |p| (b, p))) {
        let options = Options { temperature: 1.0, top_k: 0, top_p: 1.0, guidance: 1.0, precision };
        let run = || -> Result<f64> {
            let mut sequence = stage.sequence(1, precision)?;
            let blank = vec![0; positions];
            let first = sequence.advance(Tokens { text: &prompt, image: &blank }, 0..slots + 1)?;
            sequence.repeat(batch)?;
            let mut logits = first.repeat(batch);
            let text = prompt.repeat(batch);
            let mut image = vec![0; batch * positions];
            let mut started = Instant::now();
            for position in 0..positions {
                if position == UNTIMED {
                    bench.wait()?;
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
            bench.wait()?;
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
        let patterns = paper_order(<Shape as TransformerShape>::DEPTH, KERNEL);
        let rate = counts::sampling::<Shape>(&patterns, batch, UNTIMED, bytes) / seconds[1];
        let measured = bench.figure(&format!("$-b{batch}{suffix}"), batch as f64 * steps, "image tokens/s", rate);
        let machine = bench.machine.filter(|_| batch == 1);
        let share = machine.map(|machine| bytes * weights as f64 * steps / machine.bytes);
        emit(Measurement { fraction_of_peak: share, ..measured })?;
    }
    Ok(())
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
fn dvae_train<D: Timed>(bench: &Bench<D>, emit: Emit<'_>) -> Result<()>
where
    Error: From<D::Err>,
{
    const SIZE: usize = 8;
    let spec = FirstStage { steps: 1000, batch: SIZE, optimizer: OPTIMIZER, ema: NO_AVERAGE, ..FirstStage::default() };
    let mut stage = first_stage::build::<Quarter, D>(&spec, 0, bench.device.clone())?;
    let pixels = (0..SIZE * 64 * 64 * 3).map(|i| 0.1 + 0.8 * Rng::new(0, "pixels", i as u64, 0).uniform() as f32);
    let batch = Batch { size: SIZE, pixels: pixels.collect(), ..Batch::default() };
    let mut step = 0;
    let seconds = bench.median(5, || {
        stage.step(step, &batch)?;
        step += 1;
        Ok(())
    })?;
    let rate = counts::training(&walk::dvae::<Quarter>(), SIZE) / seconds;
    emit(bench.figure("$", SIZE as f64 / seconds, "images/s", rate))
}

/// The published dVAE: a picture to codes and back.
fn dvae_256<D: Timed>(bench: &Bench<D>, emit: Emit<'_>) -> Result<()>
where
    Error: From<D::Err>,
{
    const SIDE: usize = 256;
    const GRID: usize = 32;
    let device = &bench.device;
    let model: Dvae<paper::Dvae, f32, D> = nn::build(device, 0, dvae::init)?;
    let parts = walk::dvae::<paper::Dvae>();
    let pixels = random("pixels", SIDE * SIDE * 3);
    let mut codes = Vec::new();
    let encode = bench.median(5, || {
        let x = device.try_tensor_from_vec(pixels.clone(), (1usize, SIDE, SIDE, Const::<3>))?;
        codes = model.encode(x)?;
        Ok(())
    })?;
    let rate = counts::forward(&parts, "encoder", 1, SIDE * SIDE * 3 + GRID * GRID) / encode;
    emit(bench.figure("$-encode", encode, "s/image", rate))?;
    let decode = bench.median(5, || {
        black_box(model.decode(&codes, (1usize, GRID, GRID), device)?);
        Ok(())
    })?;
    // Codes are multiplied as one-hot vectors, here and by the peers: less than a hundredth of it.
    let rate = counts::forward(&parts, "decoder", 1, GRID * GRID + SIDE * SIDE * 6) / decode;
    emit(bench.figure("$-decode", decode, "s/image", rate))
}

/// ViT-B/32's picture tower.
fn clip_b32<D: Timed>(bench: &Bench<D>, emit: Emit<'_>) -> Result<()>
where
    Error: From<D::Err>,
{
    const SIZE: usize = 16;
    const PIXELS: usize = 3 * VitB32::SIDE * VitB32::SIDE;
    let device = &bench.device;
    let model: Clip<VitB32, f32, D> = nn::build(device, 0, clip::init::<VitB32>())?;
    let pixels = random("pixels", SIZE * PIXELS);
    let seconds = bench.median(5, || {
        black_box(model.visual.forward(SIZE, &pixels, device, NoneTape)?);
        Ok(())
    })?;
    let values = PIXELS + <VitB32 as TextTowerShape>::Embed::SIZE;
    let rate = counts::forward(&walk::clip::<VitB32>(1), "image tower", SIZE, values) / seconds;
    emit(bench.bounded("$-images", SIZE as f64 / seconds, "images/s", rate))
}

/// Normal numbers.
pub fn random(stream: &str, count: usize) -> Vec<f32> {
    let mut rng = Rng::new(0, stream, 0, 0);
    (0..count).map(|_| rng.normal() as f32).collect()
}

fn ids(stream: &str, count: usize, below: usize) -> Vec<u32> {
    let mut rng = Rng::new(0, stream, 0, 0);
    (0..count).map(|_| rng.below(below) as u32).collect()
}
