//! A loss term of one's own: written with differentiable operations, added to the dVAE's bound (arXiv 2102.12092, section A.2) and
//! trained with the library's optimiser. The term asks that all codes be used alike.
//!
//! `cargo run --release --example 07-your-own-loss`

use dalle::Result;
use dalle::data::shapes::Split;
use dalle::data::{Loader, Shapes, View, pixels};
use dalle::inference::first_stage::{gumbel_noise, usage};
use dalle::models::{dvae, presets::tiny};
use dalle::nn;
use dalle::ops::{GumbelOp, LaplaceOp};
use dalle::spec::{Ema, Optimizer};
use dalle::train::Trainer;
use dfdx::prelude::*;
use dfdx::tensor::CpuError;

type Traced<S> = Tensor<S, f32, Cpu, OwnedTape<f32, Cpu>>;

/// Σ p̄ ln p̄ in nats, p̄ being the mean of the rows' distributions: 0 where all rows choose one code, −ln V where the codes are used
/// alike. logits (R, V).
fn unevenness(logits: Traced<(usize, usize)>) -> std::result::Result<Traced<()>, CpuError> {
    let mean = logits.try_softmax::<Axis<1>>()?.try_mean::<(usize,), Axis<0>>()?;
    mean.with_empty_tape().try_add(1e-9)?.try_ln()?.try_mul(mean)?.try_sum()
}

/// The perplexity of the codes of 64 pictures after 40 steps with the term at `weight`.
fn train(weight: f32) -> Result<f64> {
    let shapes = Shapes { side: 16, seed: 0, split: Split::Train, count: 256 };
    let mut loader = Loader::new(&shapes, "shapes", View::EVALUATION, 16, (0, "dvae"), 0.0)?;
    let device = Cpu::default();
    let mut picture = |step, size| -> Result<_> {
        let values: Vec<f32> = dvae::squash(&pixels(&loader.batch(step, size)?));
        let x = device.try_tensor_from_vec(values.clone(), (size, 16usize, 16usize, Const::<3>))?;
        Ok((x, values))
    };
    let model: dvae::Dvae<tiny::Dvae, f32, Cpu> = nn::build(&device, 0)?;
    let mut trainer = Trainer::new("own", model, device.clone(), Optimizer::default(), Ema::default(), 40)?;
    for step in 0..40 {
        let (x, values) = picture(step, 16)?;
        let (model, count) = (trainer.model(), values.len() as f32);
        let logits = model.encoder.forward(x.leaky_traced())?;
        let term = unevenness(logits.with_empty_tape().try_reshape_like(&(16 * 16, 32))?)?;
        let (z, kl) = Cpu::relax(logits, gumbel_noise::<tiny::Dvae>((0, step), 0, 16), 1.0, false)?;
        let nll = Cpu::logit_laplace(model.decoder.forward(z)?, values, Some(1.0))?.try_sum::<(), _>()?;
        let bound = nll.try_add(kl.try_sum::<(), _>()?)?.try_div(count)?;
        trainer.add(step, bound.try_add(term.try_mul(weight)?)?)?;
        trainer.update(step)?;
    }
    let (used, perplexity) = usage(&trainer.model().encode(picture(0, 64)?.0)?, 32);
    println!("weight {weight}: {used} of 32 codes in use, perplexity {perplexity:.1}");
    Ok(perplexity)
}

fn main() -> Result<()> {
    assert!(train(0.0)? < train(1.0)?);
    Ok(())
}
