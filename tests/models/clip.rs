//! CLIP: unit features, a text feature read at the end of text, a loss that knows no order of the pairs.

use crate::common::*;
use dalle::models::presets::tiny;
use dalle::random::Rng;
use dalle::spec::ClipConfig as Spec;
use dalle::train::clip_stage::ClipTrainer;
use dalle::train::{Batch, Learns, Stage};
use dfdx::prelude::Cpu;

type TinyStage = ClipTrainer<tiny::Clip, Cpu>;

/// Slots of a caption, and the ids of start and end of text.
const CONTEXT: usize = TEXT + 1;
const START: u32 = BPE as u32;
const END: u32 = BPE as u32 + 1;

fn stage(spec: &Spec) -> TinyStage {
    TinyStage::new(spec, 1, Cpu::default()).unwrap()
}

/// start, words, end, zeros: and where the end is.
fn caption(rng: &mut Rng) -> (Vec<u32>, usize) {
    let end = rng.between(2, CONTEXT - 2);
    let mut ids = vec![0; CONTEXT];
    ids[0] = START;
    ids[1..end].fill_with(|| rng.below(BPE) as u32);
    ids[end] = END;
    (ids, end)
}

fn pairs(seed: u64, size: usize) -> Batch {
    let mut rng = Rng::new(seed, "pairs", 0, 0);
    let text = (0..size).flat_map(|_| caption(&mut rng).0).collect();
    Batch { size, text, pixels: pictures(seed, size), ..Batch::default() }
}

#[test]
fn features_are_unit_vectors_of_each_input_alone() {
    let model = stage(&Spec::default()).frozen().unwrap();
    let pairs = pairs(2, 5);
    let images = model.images(&pairs.pixels).unwrap();
    let texts = model.texts(&pairs.text).unwrap();
    assert_eq!((images.len(), texts.len()), (5 * 16, 5 * 16));
    for feature in images.chunks(16).chain(texts.chunks(16)) {
        let norm: f64 = feature.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    }
    let alone = model.images(&pairs.pixels[2 * VALUES..3 * VALUES]).unwrap();
    assert!(alone.iter().zip(&images[2 * 16..]).all(|(a, b)| (a - b).abs() < 1e-5));
    let alone = model.texts(&pairs.text[3 * CONTEXT..4 * CONTEXT]).unwrap();
    assert!(alone.iter().zip(&texts[3 * 16..]).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn what_follows_the_end_of_text_changes_nothing_and_what_precedes_it_does() {
    let model = stage(&Spec::default()).frozen().unwrap();
    let mut rng = Rng::new(4, "captions", 0, 0);
    for _ in 0..8 {
        let (ids, end) = caption(&mut rng);
        let feature = bits(&model.texts(&ids).unwrap());
        let mut after = ids.clone();
        after[end + 1..].fill_with(|| rng.below(BPE) as u32);
        assert_ne!(after, ids);
        assert_eq!(bits(&model.texts(&after).unwrap()), feature);
        let mut before = ids;
        before[1] = (before[1] + 1) % BPE as u32;
        assert_ne!(bits(&model.texts(&before).unwrap()), feature);
    }
}

#[test]
fn the_loss_knows_the_pairs_but_not_their_order() {
    let loss = |batch: &Batch| number(&stage(&Spec::default()).step(0, batch).unwrap(), "loss");
    let size = 6;
    let pairs = pairs(5, size);
    let reordered = |values: &Batch, order: &[usize], texts: bool| {
        let mut out = Batch { size, ..Batch::default() };
        for (place, &from) in order.iter().enumerate() {
            let text = if texts { from } else { place };
            out.pixels.extend(&values.pixels[from * VALUES..][..VALUES]);
            out.text.extend(&values.text[text * CONTEXT..][..CONTEXT]);
        }
        out
    };
    let order = [3, 0, 5, 1, 4, 2];
    let expected = loss(&pairs);
    let jointly = loss(&reordered(&pairs, &order, true));
    assert!((jointly - expected).abs() < 1e-5, "{jointly}, before {expected}");
    let torn = loss(&reordered(&pairs, &order, false));
    assert!((torn - expected).abs() > 1e-3, "{torn}, before {expected}");
}

#[test]
fn the_loss_is_the_symmetric_cross_entropy_of_the_features() {
    let size = 4;
    let (mut stage, pairs) = (stage(&Spec::default()), pairs(6, size));
    let model = stage.frozen().unwrap();
    let (images, texts) = (model.images(&pairs.pixels).unwrap(), model.texts(&pairs.text).unwrap());
    let logit = |i: usize, j: usize| {
        let cosine: f64 =
            images[i * 16..][..16].iter().zip(&texts[j * 16..][..16]).map(|(a, b)| f64::from(a * b)).sum();
        cosine / 0.07
    };
    let nll = |own: f64, all: &dyn Fn(usize) -> f64| (0..size).map(|k| all(k).exp()).sum::<f64>().ln() - own;
    let each = |i: usize| nll(logit(i, i), &|k| logit(i, k)) + nll(logit(i, i), &|k| logit(k, i));
    let expected = (0..size).map(each).sum::<f64>() / (2.0 * size as f64);
    let got = number(&stage.step(0, &pairs).unwrap(), "loss");
    assert!((got - expected).abs() < 1e-4, "got {got}, expected {expected}");
}

#[test]
fn the_learned_scale_stays_below_its_bound() {
    // The published start, 1/0.07, is above this bound: the first update brings it down.
    let mut stage = stage(&Spec { max_scale: 10.0, ..Spec::default() });
    stage.step(0, &pairs(7, 4)).unwrap();
    let mut seen = None;
    change_weights(&mut stage, |name, x| {
        if name == "logit_scale" {
            seen = Some(x);
        }
        x
    });
    assert_eq!(seen, Some(10f32.ln()));
}
