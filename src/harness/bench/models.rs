//! The benchmarks of models, one function each, on any device; those that draw tokens are in `sampling.rs`. Models have random weights;
//! inputs are random too.

use super::inputs::{ids, random};
use super::sampling::{malevich, sample_l};
use super::timing::{Bench, Timed};
use super::{Benchmark, Emit, counts};
use crate::error::{Error, Result};
use crate::harness::plan::walk;
use crate::mask::paper_order;
use crate::models::clip::Clip;
use crate::models::clip::presets::VitB32;
use crate::models::dvae::Dvae;
use crate::models::presets::{bench_l, bench_s, paper};
use crate::nn;
use crate::random::Rng;
use crate::shape::{ClipShape, DvaeShape, TextTowerShape, TransformerShape};
use crate::spec::{Ema, FirstStageConfig, Optimizer, Plateau, Schedule, TransformerConfig as Config};
use crate::train::transformer_stage::TransformerTrainer;
use crate::train::{Batch, Stage, first_stage};
use dfdx::prelude::*;
use std::hint::black_box;

/// The optimiser of every training work: AdamW with clipping.
const OPTIMIZER: Optimizer = Optimizer {
    method: crate::spec::Method::Adamw,
    lr: Schedule::cosine(1e-4, 1e-4, 0),
    plateau: Plateau::OFF,
    beta1: 0.9,
    beta2: 0.96,
    epsilon: 1e-8,
    weight_decay: 4.5e-2,
    clip: 4.0,
    max_variance: 0.0,
};
const NO_AVERAGE: Ema = Ema { decay: 0.0, every: 1 };

/// In the order in which they are measured.
pub fn benchmarks<D: Timed>() -> [Benchmark<D>; 7]
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
        (super::MALEVICH, malevich),
    ]
}

/// A training step.
fn train<S: TransformerShape, D: Timed>(bench: &Bench<D>, emit: Emit<'_>, batch: usize, kernel: usize) -> Result<()>
where
    Error: From<D::Err>,
{
    let mut stage = TransformerTrainer::<S, D>::new(&config(batch, kernel), 0, bench.device.clone())?;
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

pub(super) fn config(batch: usize, kernel: usize) -> Config {
    Config { steps: 1000, batch, conv_kernel: kernel, optimizer: OPTIMIZER, ema: NO_AVERAGE, ..Config::default() }
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
    let spec = FirstStageConfig {
        steps: 1000,
        batch: SIZE,
        optimizer: OPTIMIZER,
        ema: NO_AVERAGE,
        ..FirstStageConfig::default()
    };
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
    let model: Dvae<paper::Dvae, f32, D> = nn::build(device, 0)?;
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
        black_box(model.decode(&codes, [1, GRID, GRID], device)?);
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
    let model: Clip<VitB32, f32, D> = nn::build(device, 0)?;
    let pixels = random("pixels", SIZE * PIXELS);
    let seconds = bench.median(5, || {
        black_box(model.visual.forward(SIZE, &pixels, device, NoneTape)?);
        Ok(())
    })?;
    let values = PIXELS + <VitB32 as TextTowerShape>::Embed::SIZE;
    let rate = counts::forward(&walk::clip::<VitB32>(1), "image tower", SIZE, values) / seconds;
    emit(bench.bounded("$-images", SIZE as f64 / seconds, "images/s", rate))
}
