//! Both stages of DALL·E trained from code (arXiv 2102.12092, section 2): first pictures to codes, then captions and codes as
//! one sequence. What a stage is told is what a spec may say of it.
//!
//! `cargo run --release --example 03-train-from-code`

use dalle::Result;
use dalle::data::shapes::Split;
use dalle::data::{Loader, Shapes, Source, View, pixels};
use dalle::models::presets::tiny;
use dalle::spec::{FirstStageConfig, Method, TransformerConfig};
use dalle::text::{Bpe, TextVocab};
use dalle::train::transformer_stage::TransformerTrainer;
use dalle::train::{Batch, Stage, first_stage};
use dfdx::prelude::Cpu;

const STEPS: u64 = 60;

fn main() -> Result<()> {
    let shapes = Shapes { side: 16, seed: 0, split: Split::Train, count: 512 };
    let captions = (0..shapes.count).filter_map(|index| shapes.captions(index).ok()).flatten();
    let bpe = Bpe::train(captions, 64)?;
    let text = TextVocab { bpe: 64, slots: 12 }; // as preset tiny has them

    let config = FirstStageConfig::recipe(STEPS, Method::Muon);
    let mut dvae = first_stage::build::<tiny::Dvae, Cpu>(&config, 0, Cpu::default())?;
    let mut loader = Loader::new(&shapes, "shapes", View::EVALUATION, 16, (0, "dvae"), 0.0)?;
    train(dvae.as_mut(), |step| {
        let examples = loader.batch(step, config.batch)?;
        Ok(Batch { size: config.batch, pixels: pixels(&examples), ..Batch::default() })
    })?;
    let tokenizer = dvae.frozen()?; // from here on its weights are fixed

    let config = TransformerConfig::recipe(STEPS, Method::Muon, 4);
    let mut transformer = TransformerTrainer::<tiny::Transformer, Cpu>::new(&config, 0, Cpu::default())?;
    let mut loader = Loader::new(&shapes, "shapes", View::EVALUATION, 16, (0, "transformer"), 0.0)?;
    train(&mut transformer, |step| {
        let examples = loader.batch(step, config.batch)?;
        let codes = tokenizer.encode(config.batch, &pixels(&examples))?;
        let text = examples.iter().flat_map(|example| text.fill(&bpe.encode(&example.caption))).collect();
        Ok(Batch { size: config.batch, text, codes, ..Batch::default() })
    })
}

/// All steps of a stage; its loss must fall.
fn train(stage: &mut dyn Stage, mut batch: impl FnMut(u64) -> Result<Batch>) -> Result<()> {
    println!("{}: {} parameters", stage.name(), stage.num_parameters());
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let report = stage.step(step, &batch(step)?)?;
        losses.push(report.loss);
        if (step + 1).is_multiple_of(20) {
            println!("  step {:>2}: loss {:.4}", step + 1, report.loss);
        }
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&losses[50..]) < mean(&losses[..10]), "{losses:?}");
    Ok(())
}
