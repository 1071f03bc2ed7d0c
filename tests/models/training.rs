//! Training of every stage: the same bits on any number of threads, and over a checkpoint and a resume.

use crate::common::*;
use dalle::inference::ImageTokenizer;
use dalle::models::presets::tiny;
use dalle::ops::{Products, with_products};
use dalle::spec::{
    ClipConfig, Ema, FirstStageConfig, FirstStageKind, Method, Optimizer, Plateau, Schedule, TransformerConfig,
};
use dalle::train::clip_stage::ClipTrainer;
use dalle::train::transformer_stage::TransformerTrainer;
use dalle::train::{Batch, Files, Learns, Stage, StepReport};
use dfdx::prelude::Cpu;
use std::ops::Range;

/// Averages every other step, so that a resume in between shows.
const EMA: Ema = Ema { decay: 0.9, every: 2 };

/// Every stage, built anew: its name and how to build it from a seed.
const STAGES: [(&str, fn(u64) -> Box<dyn Stage>); 4] = [
    ("dvae", |seed| first_stage(FirstStageKind::Dvae, seed)),
    ("vqvae", |seed| first_stage(FirstStageKind::Vqvae, seed)),
    ("transformer", |seed| {
        // A plateau after every step, so that a resume shows where its state is lost.
        let mut spec = TransformerConfig { steps: 8, ema: EMA, ..Default::default() };
        spec.optimizer.plateau = Plateau { patience: 1, threshold: 0.9, ..Plateau::OFF };
        Box::new(TransformerTrainer::<tiny::Transformer, Cpu>::new(&spec, seed, Cpu::default()).unwrap())
    }),
    ("clip", |seed| {
        let spec = ClipConfig { steps: 8, ema: EMA, ..Default::default() };
        Box::new(ClipTrainer::<tiny::Clip, Cpu>::new(&spec, seed, Cpu::default()).unwrap())
    }),
];

fn first_stage(kind: FirstStageKind, seed: u64) -> Box<dyn Stage> {
    tokenizer(&FirstStageConfig { steps: 8, ema: EMA, ..first_stage_spec(kind) }, seed)
}

/// The batch of a step; CLIP's captions have a slot more than the transformer's.
fn batch_of(name: &str, step: u64, size: usize) -> Batch {
    let mut batch = batch(100 + step, size);
    if name == "clip" {
        batch.text = ids(100 + step, "clip", size * (TEXT + 1), BPE + 2);
    }
    batch
}

fn train(name: &str, stage: &mut dyn Stage, steps: Range<u64>, size: usize) -> Vec<Vec<u64>> {
    let bits = |report: StepReport| report.figures().iter().map(|(_, value)| value.to_bits()).collect();
    steps.map(|step| bits(stage.step(step, &batch_of(name, step, size)).unwrap())).collect()
}

fn assert_same(name: &str, what: &str, got: (Vec<Vec<u64>>, Files), expected: &(Vec<Vec<u64>>, Files)) {
    assert_eq!(got.0, expected.0, "{name}: the numbers depend on {what}");
    assert_eq!(got.1.len(), 4, "{name}: weights, moments, counts and average");
    for ((file, got), (_, expected)) in got.1.iter().zip(&expected.1) {
        assert!(got == expected, "{name}: {file} depends on {what}");
    }
}

#[test]
fn a_step_is_the_same_on_any_number_of_threads() {
    for (name, build) in STAGES {
        let run = |threads| {
            on_threads(threads, || {
                let mut stage = build(1);
                (train(name, &mut *stage, 0..2, 32), stage.checkpoint().unwrap())
            })
        };
        let one = run(1);
        for threads in [2, 4] {
            assert_same(name, "the number of threads", run(threads), &one);
        }
    }
}

/// Factors in bf16: almost the same losses, by other products, and the same bits on any number of threads.
#[test]
fn rounded_products_train_almost_the_same() {
    for (name, build) in STAGES {
        let run = |products, threads| {
            on_threads(threads, || {
                with_products(products, || {
                    let mut stage = build(1);
                    (train(name, &mut *stage, 0..3, 32), stage.checkpoint().unwrap())
                })
            })
        };
        let (exact, rounded) = (run(Products::F32, 1), run(Products::Bf16, 1));
        assert!(exact.1 != rounded.1, "{name}: no factor was rounded");
        for (exact, rounded) in exact.0.iter().zip(&rounded.0) {
            let [exact, rounded] = [exact, rounded].map(|figures| f64::from_bits(figures[0]));
            let error = (exact - rounded).abs() / exact.abs().max(0.1);
            assert!(error < 0.02, "{name}: loss {rounded}, exactly {exact}");
        }
        assert_same(name, "the number of threads", run(Products::Bf16, 4), &rounded);
    }
}

#[test]
fn a_resumed_run_is_the_run_that_was_never_stopped() {
    for (name, build) in STAGES {
        let mut whole = build(1);
        let mut numbers = train(name, &mut *whole, 0..3, 4);
        let files = whole.checkpoint().unwrap();
        numbers.extend(train(name, &mut *whole, 3..6, 4));
        let expected = (numbers, whole.checkpoint().unwrap());

        let mut resumed = build(1);
        train(name, &mut *resumed, 7..8, 4); // whatever it held before must be gone
        let read = |wanted: &str| Ok(files.iter().find(|(name, _)| *name == wanted).expect("a file").1.clone());
        resumed.restore(&read).unwrap();
        let mut numbers = expected.0[..3].to_vec();
        numbers.extend(train(name, &mut *resumed, 3..6, 4));
        assert_same(name, "whether it was resumed", (numbers, resumed.checkpoint().unwrap()), &expected);
    }
}

/// A stage whose weights are all drawn anew, with its batches in so many parts.
fn in_parts(name: &str, accumulate: usize, recompute: bool) -> Box<dyn Stage> {
    let mut stage: Box<dyn Stage> = if name == "transformer" {
        let spec =
            TransformerConfig { accumulate, recompute, pad_loss: false, steps: 8, ema: EMA, ..Default::default() };
        Box::new(TransformerTrainer::<tiny::Transformer, Cpu>::new(&spec, 1, Cpu::default()).unwrap())
    } else {
        let kind = if name == "dvae" { FirstStageKind::Dvae } else { FirstStageKind::Vqvae };
        tokenizer(&FirstStageConfig { accumulate, steps: 8, ema: EMA, ..first_stage_spec(kind) }, 1)
    };
    randomise(&mut *stage, 5, 0.1);
    stage
}

/// The optimiser's running means: after one step, the gradient times a constant.
fn means(stage: &dyn Stage) -> Vec<f32> {
    let files = stage.checkpoint().unwrap();
    let file = &files.iter().find(|(name, _)| *name == "optimizer.safetensors").expect("the moments").1;
    let file = safetensors::SafeTensors::deserialize(file).unwrap();
    let bytes =
        sorted(&file).into_iter().filter(|(name, _)| name.starts_with("mean.")).flat_map(|(_, mean)| mean.data());
    let bytes: Vec<u8> = bytes.copied().collect();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn a_batch_in_parts_is_the_whole_batch() {
    for name in ["dvae", "vqvae", "transformer"] {
        let mut whole = in_parts(name, 1, false);
        let batch = batch_of(name, 1, 8);
        let expected = whole.step(1, &batch).unwrap();
        for parts in [2, 8] {
            let mut stage = in_parts(name, parts, false);
            let numbers = stage.step(1, &batch).unwrap();
            for ((what, got), (_, expected)) in numbers.figures().into_iter().zip(expected.figures()) {
                assert!(
                    (got - expected).abs() < 1e-4 * expected.abs().max(1e-3),
                    "{name}: {what} of {parts} parts: {got}, {expected}"
                );
            }
            let (got, expected) = (means(&*stage), means(&*whole));
            let largest = expected.iter().fold(0f32, |most, g| most.max(g.abs()));
            let difference = got.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(
                largest > 0.0 && difference < 1e-4 * largest,
                "{name}: {parts} parts differ by {difference} of {largest}"
            );
        }
    }
}

#[test]
fn recomputed_blocks_train_with_the_same_bits() {
    for parts in [1, 2] {
        let run = |recompute| {
            let mut stage = in_parts("transformer", parts, recompute);
            (train("transformer", &mut *stage, 0..3, 4), stage.checkpoint().unwrap())
        };
        assert_same("transformer", "recomputation", run(true), &run(false));
    }
}

#[test]
fn training_lowers_the_loss_of_one_batch() {
    for (name, build) in STAGES {
        let mut stage = build(1);
        let batch = batch_of(name, 0, 4);
        let what = if name == "dvae" { "nll" } else { "loss" }; // the loss rises with β
        let values: Vec<f64> = (0..16).map(|step| number(&stage.step(step, &batch).unwrap(), what)).collect();
        assert!(values[15] < values[0], "{name}: {values:?}");
        assert_eq!(stage.name(), name);
    }
}

#[test]
fn a_checkpoint_of_another_stage_is_refused() {
    let files = (STAGES[3].1)(1).checkpoint().unwrap();
    let read = |wanted: &str| Ok(files.iter().find(|(name, _)| *name == wanted).expect("a file").1.clone());
    let error = (STAGES[2].1)(1).restore(&read).unwrap_err().to_string();
    assert!(error.starts_with("model.safetensors: tensor text_embeddings.weight is missing"), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_is_reported_and_changes_nothing() {
    let mut stage = (STAGES[0].1)(1);
    let before = stage.checkpoint().unwrap();
    let mut batch = batch(1, 2);
    batch.pixels[5] = f32::NAN;
    let error = stage.step(4, &batch).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().starts_with("dvae: step 5: loss is not finite"), "{error}");
    assert!(stage.checkpoint().unwrap() == before);
    // And the stage still trains.
    let fresh = train("dvae", &mut *(STAGES[0].1)(1), 0..1, 4);
    assert_eq!(train("dvae", &mut *stage, 0..1, 4), fresh);
}

/// The bytes of one file of a stage's checkpoint.
fn file(stage: &dyn Stage, name: &str) -> Vec<u8> {
    stage.checkpoint().unwrap().into_iter().find(|(found, _)| *found == name).expect("a file").1
}

#[test]
fn the_first_average_is_the_weights_whatever_the_start_was() {
    let mut stage = tokenizer(
        &FirstStageConfig { steps: 8, ema: Ema { decay: 0.999, every: 2 }, ..first_stage_spec(FirstStageKind::Dvae) },
        1,
    );
    train("dvae", &mut *stage, 0..1, 4);
    assert_ne!(file(&*stage, "ema.safetensors"), file(&*stage, "model.safetensors"));
    train("dvae", &mut *stage, 1..2, 4);
    assert_eq!(file(&*stage, "ema.safetensors"), file(&*stage, "model.safetensors"));
    assert_eq!(stage.share_of_start(), 1.0);
}

#[test]
fn kept_weights_are_used_and_training_goes_on_from_its_own() {
    let build = || first_stage_build(2);
    let mut whole = build();
    train("dvae", &mut *whole, 0..6, 4);
    let mut stage = build();
    train("dvae", &mut *stage, 0..3, 4);
    let pixels = batch(7, 2).pixels;
    let seen = |model: Box<dyn ImageTokenizer>| model.reconstruct(2, &pixels).unwrap().pixels;
    let (kept, before) = (stage.averaged_file().unwrap(), seen(stage.frozen().unwrap()));
    train("dvae", &mut *stage, 3..5, 4);
    assert_ne!(seen(stage.frozen().unwrap()), before);
    let read = |wanted: &str| Ok(kept.iter().find(|(name, _)| *name == wanted).expect("a file").1.clone());
    assert_eq!(seen(stage.frozen_at(&read).unwrap()), before);
    train("dvae", &mut *stage, 5..6, 4);
    assert!(stage.checkpoint().unwrap() == whole.checkpoint().unwrap());
}

fn first_stage_build(seed: u64) -> Box<dyn Learns<dyn ImageTokenizer>> {
    tokenizer(&FirstStageConfig { steps: 8, ema: EMA, ..first_stage_spec(FirstStageKind::Dvae) }, seed)
}

#[test]
fn an_update_to_weights_that_are_not_finite_is_an_error_and_gives_no_checkpoint() {
    for method in [Method::Adamw, Method::Muon] {
        let lr = Schedule { from: 1e300, to: 1e300, ..Schedule::default() };
        let optimizer = Optimizer { method, lr, ..Optimizer::default() };
        let mut stage =
            tokenizer(&FirstStageConfig { optimizer, steps: 1, ..first_stage_spec(FirstStageKind::Dvae) }, 1);
        let error = stage.step(0, &batch(1, 2)).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        let text = error.to_string();
        assert!(text.starts_with("dvae: step 1: weight ") && text.contains("after the update"), "{text}");
        assert_eq!(stage.checkpoint().unwrap_err().exit_code(), 5);
    }
}
