//! Pictures to codes and back: the discrete VAE's posterior, its relaxation, and both terms of its bound (arXiv 2102.12092,
//! sections 2.1 and A.2). The model has learned nothing yet; `03-train-from-code` trains one.
//!
//! `cargo run --release --example 02-dvae`

use dalle::Result;
use dalle::data::shapes::Split;
use dalle::data::{Loader, Shapes, View, pixels};
use dalle::inference::first_stage::gumbel_noise;
use dalle::models::dvae::{self, Dvae};
use dalle::models::presets::tiny;
use dalle::nn;
use dalle::ops::{GumbelOp, LaplaceOp, to_vec};
use dfdx::prelude::{Const, Cpu, TensorFromVec};

fn main() -> Result<()> {
    // Two pictures of 16 × 16 pixels, mapped by φ to (0.1, 0.9), where the logit-Laplace lives.
    let shapes = Shapes { side: 16, seed: 0, split: Split::Train, count: 64 };
    let mut loader = Loader::new(&shapes, "shapes", View::EVALUATION, 16, (0, "example"), 0.0)?;
    let values: Vec<f32> = dvae::squash(&pixels(&loader.batch(0, 2)?));

    let device = Cpu::default();
    let model: Dvae<tiny::Dvae, f32, Cpu> = nn::build(&device, 0)?;
    // (B, H, W, 3): how many pictures and their sides are known when it runs, their channels when it compiles.
    let x = device.try_tensor_from_vec(values.clone(), (2usize, 16usize, 16usize, Const::<3>))?;

    // Codes are the likeliest of 32 at each of 4 × 4 positions.
    let codes = model.encode(x.clone())?;
    codes.chunks(16).for_each(|picture| println!("codes {picture:?}"));
    assert!(codes.len() == 2 * 16 && codes.iter().all(|&code| code < 32));

    // In training a code is a mixture: softmax((logits + Gumbel noise)/τ), the harder the lower τ.
    let logits = model.encoder.forward(x)?;
    for tau in [1.0, 1.0 / 16.0] {
        let (z, _) = Cpu::relax(logits.clone(), gumbel_noise::<tiny::Dvae>((0, 0), 0, 2), tau, false)?;
        let largest = to_vec(z)?.chunks(32).map(|z| z.iter().fold(0f32, |most, &z| most.max(z))).sum::<f32>() / 32.0;
        println!("τ = {tau}: the largest weight is {largest:.2} in the mean");
    }

    // The bound, in nats per value of a picture: −ln p(x | z) with the hard codes, and the KL to a uniform prior.
    let stats = model.decode(&codes, [2, 4, 4], &device)?;
    let nll = to_vec(Cpu::logit_laplace(stats.clone(), values, None)?)?;
    let kl = to_vec(Cpu::kl_uniform(logits)?)?;
    println!("-ln p(x | z) {:.3}, KL {:.3}", nll.iter().sum::<f32>() / 1536.0, kl.iter().sum::<f32>() / 1536.0);
    assert!(kl.iter().all(|&kl| (0.0..=32f32.ln()).contains(&kl)));

    // What the decoder holds likeliest, as a picture again.
    let picture = dalle::data::Picture::of_values(&dvae::reconstruction(&to_vec(stats)?)[..768], 16, 16);
    println!("{}", dalle::Image::from(picture));
    Ok(())
}
