//! What the tests of the models share.

use dalle::inference::ImageTokenizer;
use dalle::models::presets::tiny;
use dalle::random::Rng;
use dalle::spec::{FirstStageConfig, FirstStageKind};
use dalle::train::{Batch, Learns, Stage, StepReport, first_stage};
use dfdx::prelude::{Const, ConstDim, Cpu};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// Side of the tiny preset's pictures, text slots, image slots and codes.
pub const SIDE: usize = 16;
pub const TEXT: usize = 12;
pub const IMAGE: usize = 16;
pub const CODES: usize = 32;
/// BPE tokens; the ids after them are pads.
pub const BPE: usize = 64;
/// Values of a picture.
pub const VALUES: usize = SIDE * SIDE * 3;

const _: () =
    assert!(<Const<CODES> as ConstDim>::SIZE == <<tiny::Dvae as dalle::shape::DvaeShape>::Codes as ConstDim>::SIZE);

/// A picture of squares of one colour each, values in [0, 1): noise would have the same code everywhere.
pub fn picture(seed: u64, height: usize, width: usize) -> Vec<f32> {
    let colour = |y: usize, x: usize, channel: usize| {
        Rng::new(seed, "picture", (y / 4) as u64, (x / 4) as u64 * 3 + channel as u64).uniform() as f32
    };
    let pixel = |y: usize, x: usize| (0..3).map(move |channel| colour(y, x, channel));
    (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(y, x))).collect()
}

/// `size` pictures.
pub fn pictures(seed: u64, size: usize) -> Vec<f32> {
    (0..size as u64).flat_map(|i| picture(1000 * seed + i, SIDE, SIDE)).collect()
}

/// `n` ids below `vocabulary`.
pub fn ids(seed: u64, stream: &str, n: usize, vocabulary: usize) -> Vec<u32> {
    let mut rng = Rng::new(seed, stream, 0, 0);
    (0..n).map(|_| rng.below(vocabulary) as u32).collect()
}

/// Captions for the transformer: words, then the pads of the slots that are left.
pub fn captions(seed: u64, size: usize) -> Vec<u32> {
    let mut rng = Rng::new(seed, "captions", 0, 0);
    let caption = |_| {
        let words = rng.between(1, TEXT);
        (0..TEXT).map(|slot| if slot < words { rng.below(BPE) } else { BPE + slot } as u32).collect::<Vec<_>>()
    };
    (0..size).flat_map(caption).collect()
}

/// `size` pairs of random pictures, codes and captions.
pub fn batch(seed: u64, size: usize) -> Batch {
    Batch {
        size,
        pixels: pictures(seed, size),
        text: captions(seed, size),
        codes: ids(seed, "codes", size * IMAGE, CODES),
    }
}

/// A first stage.
pub fn tokenizer(spec: &FirstStageConfig, seed: u64) -> Box<dyn Learns<dyn ImageTokenizer>> {
    first_stage::build::<tiny::Dvae, Cpu>(spec, seed, Cpu::default()).expect("a stage")
}

/// A spec of either first stage.
pub fn first_stage_spec(kind: FirstStageKind) -> FirstStageConfig {
    FirstStageConfig { kind, steps: 20, ..FirstStageConfig::default() }
}

/// One of a step's numbers.
pub fn number(report: &StepReport, name: &str) -> f64 {
    report.get(name).unwrap_or_else(|| panic!("no {name} in {report:?}"))
}

/// The tensors of a file by name: its own order is another each time that it is read.
pub fn sorted<'a>(file: &'a SafeTensors<'_>) -> Vec<(&'a str, TensorView<'a>)> {
    let mut tensors: Vec<_> = file.iter().collect();
    tensors.sort_by_key(|(name, _)| *name);
    tensors
}

/// Replaces the weights of a stage by `change(name, value)`, in its average too.
pub fn change_weights<S: Stage + ?Sized>(stage: &mut S, mut change: impl FnMut(&str, f32) -> f32) {
    let mut files = stage.checkpoint().expect("a checkpoint");
    let model = files.iter().find(|(name, _)| *name == "model.safetensors").expect("the weights").1.clone();
    let file = SafeTensors::deserialize(&model).expect("safetensors");
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, view) in sorted(&file) {
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
        let bytes = values.flat_map(|value| change(name, value).to_le_bytes()).collect();
        tensors.push((name.to_owned(), view.shape().to_vec(), bytes));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    let changed = safetensors::serialize(views.collect::<Vec<_>>(), None).expect("safetensors");
    for (_, bytes) in files.iter_mut().filter(|(name, _)| ["model.safetensors", "ema.safetensors"].contains(name)) {
        *bytes = changed.clone();
    }
    let read = |wanted: &str| {
        Ok(files.iter().find(|(name, _)| *name == wanted).unwrap_or_else(|| panic!("no {wanted}")).1.clone())
    };
    stage.restore(&read).expect("the same names and shapes");
}

/// Weights that are all drawn anew: the published initialisation has zero logits, which would hide every fault.
pub fn randomise<S: Stage + ?Sized>(stage: &mut S, seed: u64, std: f64) {
    let mut rng = Rng::new(seed, "weights", 0, 0);
    change_weights(stage, |name, _| {
        (std * rng.normal()) as f32 + if name.contains("norm.weight") || name.contains("ln_") { 1.0 } else { 0.0 }
    });
}

/// `f` on a pool of `threads` threads.
pub fn on_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(f)
}

/// The bits of `values`.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
