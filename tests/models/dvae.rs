//! The dVAE: pictures of any size, and a loss that depends on no batch size.

use crate::common::*;
use dalle::inference::ImageTokenizer;
use dalle::spec::{FirstStageConfig, FirstStageKind, Schedule};
use dalle::train::{Batch, Learns};

fn dvae(spec: FirstStageConfig) -> Box<dyn Learns<dyn ImageTokenizer>> {
    tokenizer(&spec, 3)
}

fn spec() -> FirstStageConfig {
    first_stage_spec(FirstStageKind::Dvae)
}

/// As [`dvae`], with logits so far apart that no noise changes a code: a step depends on the pictures alone.
fn noiseless() -> Box<dyn Learns<dyn ImageTokenizer>> {
    let mut stage = dvae(FirstStageConfig { kl_weight: Schedule::cosine(2.0, 2.0, 0), ..spec() });
    change_weights(&mut *stage, |name, x| if name == "encoder.blocks.output.conv.w" { 1e5 * x } else { x });
    stage
}

fn part(batch: &Batch, pictures: std::ops::Range<usize>) -> Batch {
    let pixels = batch.pixels[pictures.start * VALUES..pictures.end * VALUES].to_vec();
    Batch { size: pictures.len(), pixels, ..Batch::default() }
}

#[test]
fn the_loss_of_a_batch_is_the_mean_of_its_halves() {
    let batch = batch(4, 4);
    let names = ["loss", "nll", "kl", "elbo"];
    let step = |batch: &Batch| {
        let numbers = noiseless().step(0, batch).unwrap();
        names.map(|name| number(&numbers, name))
    };
    let (whole, first, second) = (step(&batch), step(&part(&batch, 0..2)), step(&part(&batch, 2..4)));
    for (i, name) in names.iter().enumerate() {
        let mean = (first[i] + second[i]) / 2.0;
        assert!((whole[i] - mean).abs() < 1e-5, "{name}: {}, of the halves {mean}", whole[i]);
    }
    assert!((first[0] - second[0]).abs() > 1e-4, "halves that are alike show nothing");
}

#[test]
fn the_loss_counts_the_divergence_per_position_at_the_papers_scale() {
    let numbers = noiseless().step(0, &batch(4, 2)).unwrap();
    let [loss, nll, kl] = ["loss", "nll", "kl"].map(|name| number(&numbers, name));
    // β = 2, and a position stands for 768/16 = 48 values.
    assert!((loss - (nll + 2.0 * kl / 48.0)).abs() < 1e-5, "loss {loss}, nll {nll}, kl {kl}");
    assert!((kl - (CODES as f64).ln()).abs() < 0.1, "saturated logits are far from the uniform: {kl}");
}

#[test]
fn the_divergence_is_between_none_and_that_of_a_single_code() {
    for mut stage in [dvae(spec()), noiseless()] {
        let most = f64::from((CODES as f32).ln());
        let kl = stage.frozen().unwrap().reconstruct(3, &pictures(5, 3)).unwrap().kl;
        assert_eq!(kl.len(), 3);
        assert!(kl.iter().all(|kl| (0.0..=IMAGE as f64 * most).contains(kl)), "{kl:?}");
        let step = number(&stage.step(0, &batch(6, 3)).unwrap(), "kl");
        assert!((0.0..=most).contains(&step), "{step}");
    }
}

#[test]
fn a_picture_of_any_sides_is_coded_and_decoded() {
    let model = dvae(spec()).frozen().unwrap();
    let pixels = picture(7, 24, 40);
    let codes = model.encode_any([1, 24, 40], &pixels).unwrap();
    assert_eq!(codes.len(), 6 * 10);
    assert!(codes.iter().all(|&code| (code as usize) < CODES));
    let decoded = model.decode_any([1, 6, 10], &codes).unwrap();
    assert_eq!(decoded.len(), 24 * 40 * 3);
    assert!(decoded.iter().all(|x| (0.0..=1.0).contains(x)));
}

#[test]
fn run_time_sides_give_what_typed_sides_give() {
    let model = dvae(spec()).frozen().unwrap();
    let pixels = pictures(8, 3);
    let codes = model.encode(3, &pixels).unwrap();
    let decoded = model.decode(&codes).unwrap();
    assert!(codes.iter().any(|code| *code != codes[0]), "one code for everything shows nothing");
    for picture in 0..3 {
        let (here, there) = (picture * VALUES..(picture + 1) * VALUES, picture * IMAGE..(picture + 1) * IMAGE);
        let alone = model.encode_any([1, SIDE, SIDE], &pixels[here.clone()]).unwrap();
        assert_eq!(alone, codes[there]);
        let alone = model.decode_any([1, 4, 4], &alone).unwrap();
        assert_eq!(bits(&alone), bits(&decoded[here]));
    }
    assert_eq!(model.encode_any([3, SIDE, SIDE], &pixels).unwrap(), codes);
    assert_eq!(bits(&model.decode_any([3, 4, 4], &codes).unwrap()), bits(&decoded));
}

#[test]
fn a_reconstruction_is_the_picture_of_its_codes() {
    let model = dvae(spec()).frozen().unwrap();
    let pixels = pictures(9, 2);
    let reconstruction = model.reconstruct(2, &pixels).unwrap();
    assert_eq!(reconstruction.codes, model.encode(2, &pixels).unwrap());
    assert_eq!(bits(&reconstruction.pixels), bits(&model.decode(&reconstruction.codes).unwrap()));
    assert!(reconstruction.nll.iter().all(|nll| nll.is_finite()) && reconstruction.nll.len() == 2);
}

#[test]
fn straight_through_and_temperature_change_a_step() {
    let loss = |spec: FirstStageConfig| number(&dvae(spec).step(0, &batch(4, 2)).unwrap(), "nll");
    let soft = loss(spec());
    assert_ne!(soft, loss(FirstStageConfig { straight_through: true, ..spec() }));
    assert_ne!(soft, loss(FirstStageConfig { temperature: Schedule::cosine(0.2, 0.2, 0), ..spec() }));
}
