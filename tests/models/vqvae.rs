//! The VQ-VAE: nearest codes, and which loss moves what.

use crate::common::*;
use dalle::models::dvae::{self, Encoder};
use dalle::models::presets::tiny;
use dalle::models::vqvae::{Quantised, Vqvae};
use dalle::nn::{self, Init};
use dalle::ops::to_vec;
use dalle::shape::DvaeShape;
use dalle::spec::FirstStageKind;
use dalle::train::Batch;
use dfdx::prelude::*;

type Model = Vqvae<tiny::Dvae, f32, Cpu>;
type Init8 = <tiny::Dvae as DvaeShape>::Init;
type Step = Quantised<f32, Cpu, OwnedTape<f32, Cpu>>;

fn model() -> Model {
    nn::build(&Cpu::default(), 1).unwrap()
}

fn tensor(seed: u64, size: usize) -> Tensor<(usize, usize, usize, Const<3>), f32, Cpu> {
    Cpu::default().tensor_from_vec(dvae::squash(&pictures(seed, size)), (size, SIDE, SIDE, Const))
}

type Scalar = Tensor<(), f32, Cpu, OwnedTape<f32, Cpu>>;

/// `loss`, on the tape of the whole step.
fn alone<S: Shape>(stats: Tensor<S, f32, Cpu, OwnedTape<f32, Cpu>>, loss: Scalar) -> Scalar {
    stats.sum::<(), _>() * 0.0 + loss
}

/// The gradient norms of encoder, codebook and decoder under the loss that `pick` makes of a step.
fn norms(pick: impl Fn(Step) -> Scalar) -> [f64; 3] {
    let mut model = model();

    let mut gradients = pick(model.forward(tensor(2, 2).leaky_traced()).unwrap()).backward();
    let mut norms = [0.0; 3];
    nn::with_gradients(&mut model, &mut gradients, |name, gradient| {
        let part = ["encoder.", "quantize.", "decoder."].iter().position(|prefix| name.starts_with(prefix));
        norms[part.expect("a part of the model")] += gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
    })
    .unwrap();
    norms
}

#[test]
fn the_likelihood_reaches_the_encoder_straight_through_and_not_the_codes() {
    let [encoder, codebook, decoder] = norms(|step| step.stats.square().sum());
    assert!(encoder > 0.0 && decoder > 0.0, "encoder {encoder}, decoder {decoder}");
    assert_eq!(codebook, 0.0);
}

#[test]
fn the_codebook_loss_moves_the_codes_and_the_commitment_loss_the_encoder() {
    let [encoder, codebook, decoder] = norms(|step| alone(step.stats, step.codebook_loss));
    assert!(codebook > 0.0 && encoder == 0.0 && decoder == 0.0, "{encoder} {codebook} {decoder}");
    let [encoder, codebook, decoder] = norms(|step| alone(step.stats, step.commitment_loss));
    assert!(encoder > 0.0 && codebook == 0.0 && decoder == 0.0, "{encoder} {codebook} {decoder}");
}

#[test]
fn codes_are_the_nearest_and_both_losses_their_distance() {
    let model = model();
    let parameters = nn::export(&model).unwrap();
    let find = |name: &str| parameters.iter().find(|p| p.name == name).expect("a parameter").values.clone();
    let mut encoder: Encoder<tiny::Dvae, Init8, f32, Cpu> =
        nn::build_with(&Cpu::default(), 0, |_| Init::Constant(0.0)).unwrap();
    nn::import(&mut encoder, |name, _| Ok(find(&format!("encoder.{name}")))).unwrap();
    let z = to_vec(encoder.forward(tensor(3, 2)).unwrap()).unwrap();
    let codebook = find("quantize.embed.weight");
    let (mut codes, mut total) = (Vec::new(), 0f64);
    for z in z.chunks(Init8::SIZE) {
        let distance = |code: &[f32]| code.iter().zip(z).map(|(e, z)| f64::from(e - z).powi(2)).sum::<f64>();
        let distances: Vec<f64> = codebook.chunks(Init8::SIZE).map(distance).collect();
        let nearest = (0..CODES).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap();
        total += distances[nearest];
        codes.push(nearest as u32);
    }
    let step = model.forward(tensor(3, 2)).unwrap();
    assert_eq!(step.codes, codes);
    assert_eq!(model.encode(tensor(3, 2)).unwrap(), codes);
    assert!(codes.iter().any(|code| *code != codes[0]), "one code for everything shows nothing");
    for loss in [step.codebook_loss.array(), step.commitment_loss.array()] {
        assert!((f64::from(loss) - total).abs() < 1e-4 * total, "got {loss}, expected {total}");
    }
    // Forward, straight-through has the values of the codes.
    let decoded = model.decode(&codes, [2, 4, 4]).unwrap();
    let (stats, decoded) = (to_vec(step.stats).unwrap(), to_vec(decoded).unwrap());
    assert!(stats.iter().zip(&decoded).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn the_loss_of_a_batch_is_the_mean_of_its_halves() {
    let step =
        |batch: &Batch| number(&tokenizer(&first_stage_spec(FirstStageKind::Vqvae), 3).step(0, batch).unwrap(), "loss");
    let batch = batch(4, 4);
    let half = |from: usize| Batch {
        size: 2,
        pixels: batch.pixels[from * VALUES..][..2 * VALUES].to_vec(),
        ..Batch::default()
    };
    let (whole, halves) = (step(&batch), (step(&half(0)) + step(&half(2))) / 2.0);
    assert!((whole - halves).abs() < 1e-5, "{whole}, of the halves {halves}");
}
