//! dalle-pytorch's models against their implementation: two published models that are built differently from the same layers,
//! operations and masks, which so prove these. Nothing in the library needs them, so they are here.

#[macro_use]
mod shape;
mod layer;
mod model;
mod vae;

use crate::fixture::{self, Entry, Tensors, assert_forward, assert_gradients, assert_near};
use dalle::Result;
use dalle::mask::{Layout, Pattern};
use dalle::models::feature_map::FeatureMap;
use dalle::models::transformer::Tokens;
use dalle::nn::{self, Init};
use dalle::ops::{Mask, scalar, to_vec};
use dalle::shape::BlockShape;
use dfdx::prelude::{Backward, ConstDim, Cpu, NoneTape, OwnedTape};
use model::{Dalle, IMAGE_WEIGHT, masks};
use serde_json::Value;
use shape::DallePytorchShape;
use std::collections::BTreeSet;
use vae::{DiscreteVae, VaeConfig, normalised};

dalle_pytorch!(
    /// plain
    Plain in plain: width 24, depth 2, heads 3 of 24, text 6, vocab 26, grid 4, codes 20,
    switches [rotary false, shift false, stable false, sandwich false, shared false]);
dalle_pytorch!(
    /// mixed
    Mixed in mixed: width 32, depth 4, heads 2 of 32, text 8, vocab 38, grid 8, codes 24,
    switches [rotary true, shift true, stable false, sandwich false, shared false]);
dalle_pytorch!(
    /// full
    Full in full: width 32, depth 2, heads 2 of 32, text 8, vocab 38, grid 8, codes 24,
    switches [rotary true, shift true, stable false, sandwich false, shared false]);
dalle_pytorch!(
    /// stable
    Stable in stable: width 24, depth 4, heads 2 of 48, text 6, vocab 26, grid 4, codes 20,
    switches [rotary true, shift true, stable true, sandwich true, shared true]);

fn meta() -> Value {
    fixture::json("dalle_pytorch/meta.json")
}

#[test]
fn every_listed_transformer() {
    let meta = meta();
    let models = meta["dalle"].as_object().expect("dalle");
    assert!(!models.is_empty());
    for (name, model) in models {
        println!("{name}");
        match name.as_str() {
            "plain" => check::<Plain>(name, model, &meta),
            "mixed" => check::<Mixed>(name, model, &meta),
            "full" => check::<Full>(name, model, &meta),
            "stable" => check::<Stable>(name, model, &meta),
            _ => panic!("dalle_pytorch/meta.json lists {name}, whose shape no test has"),
        }
    }
}

#[test]
fn every_listed_vae() {
    let meta = meta();
    let models = meta["vae"].as_object().expect("vae");
    assert!(!models.is_empty());
    for (name, model) in models {
        println!("{name}");
        check_vae(name, &vae(name, model));
    }
}

/// The values of `name`, which must be in the file in this shape; it is crossed off.
fn read(weights: &Tensors, left: &mut BTreeSet<String>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    assert_eq!(weights.get(name).shape, shape, "{name}");
    left.remove(name);
    Ok(weights.f32(name))
}

/// All names of a state dict.
fn names(weights: &Tensors) -> BTreeSet<String> {
    weights.names().map(str::to_owned).collect()
}

/// A stored picture or map, channels last.
fn map(entry: &Entry) -> FeatureMap {
    let [batch, channels, height, width] = entry.shape[..] else { panic!("{:?}", entry.shape) };
    let values = entry.channels_last().into_iter().map(|value| value as f32).collect();
    FeatureMap::new([batch, height, width, channels], values).unwrap()
}

fn vae(name: &str, meta: &Value) -> DiscreteVae {
    let config = &meta["config"];
    let number = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("{name}: {key}")) as usize;
    let real = |key: &str| config[key].as_f64().unwrap_or_else(|| panic!("{name}: {key}"));
    let switch = |key: &str| config[key].as_bool().unwrap_or(false);
    let config = VaeConfig {
        codes: number("num_tokens"),
        embed: number("codebook_dim"),
        layers: number("num_layers"),
        blocks: number("num_resnet_blocks"),
        hidden: number("hidden_dim"),
        smooth_l1: switch("smooth_l1_loss"),
        straight_through: switch("straight_through"),
        temperature: real("temperature"),
        divergence_weight: real("kl_div_loss_weight"),
    };
    let weights = fixture::open(&format!("dalle_pytorch/vae_{name}.safetensors"));
    let mut left = names(&weights);
    let vae = DiscreteVae::load(&config, &mut |name, shape| read(&weights, &mut left, name, shape)).unwrap();
    assert!(left.is_empty(), "{name}: parameters that the model does not have: {left:?}");
    vae
}

fn check_vae(name: &str, vae: &DiscreteVae) {
    let io = fixture::open(&format!("dalle_pytorch/vae_{name}_io.safetensors"));
    let near = |what: &str, got: &FeatureMap| {
        assert_forward(&format!("{name}: {what}"), &got.values, &io.get(what).channels_last());
    };
    let image = map(io.get("image"));
    near("image_normalized", &normalised(image.clone()));
    let logits = vae.logits(&image).unwrap();
    near("logits", &logits);
    let indices = io.ids("indices");
    assert_eq!(vae.encode(&image).unwrap(), indices, "{name}: indices");
    near("decoded_hard", &vae.decode(&indices, [logits.batch, logits.height, logits.width]).unwrap());
    let noise = map(io.get("gumbel"));
    near("recon_soft", &vae.relaxed(&logits, &noise.values));
    let losses = vae.losses(&image, &noise.values).unwrap();
    for (what, got) in
        [("recon_loss", losses.reconstruction), ("kl_sum_over_everything", losses.divergence), ("loss", losses.total)]
    {
        assert_near(&format!("{name}: {what}"), &[got], &[io.scalar(what)], 1e-5, 1e-6);
    }
}

struct Case<S: DallePytorchShape> {
    name: String,
    masks: Vec<Mask>,
    model: Dalle<S, f32, Cpu>,
    io: Tensors,
    batch: usize,
    text: Vec<u32>,
    image: Vec<u32>,
}

fn check<S: DallePytorchShape>(name: &str, meta: &Value, all: &Value) {
    let case = open::<S>(name, meta);
    forward(&case);
    loss_and_gradients(&case);
    let codes = case.model.greedy(&case.text, &case.masks).unwrap();
    assert_eq!(codes, case.io.ids("greedy_image_tokens"), "{name}: greedy_image_tokens");
    let first = meta["config"]["vae"].as_str().expect("vae");
    let pictures = vae(first, &all["vae"][first]).decode(&codes, [case.batch, S::Grid::SIZE, S::Grid::SIZE]).unwrap();
    let expected = case.io.get("greedy_images").channels_last();
    assert_forward(&format!("{name}: greedy_images"), &pictures.values, &expected);
}

fn open<S: DallePytorchShape>(name: &str, meta: &Value) -> Case<S> {
    let config = &meta["config"];
    for (key, size) in [
        ("dim", S::Width::SIZE),
        ("depth", S::DEPTH),
        ("heads", <S::Attention as BlockShape>::Heads::SIZE),
        ("dim_head", <S::Attention as BlockShape>::HeadDim::SIZE),
        ("text_seq_len", S::Text::SIZE),
    ] {
        assert_eq!(config[key].as_u64(), Some(size as u64), "{name}: {key}");
    }
    // With the reference's defaults.
    for (key, default, on) in [
        ("rotary_emb", true, S::ROTARY),
        ("shift_tokens", true, S::SHIFT),
        ("stable", false, S::STABLE),
        ("sandwich_norm", false, S::SANDWICH),
        ("share_input_output_emb", false, S::SHARED),
    ] {
        assert_eq!(config[key].as_bool().unwrap_or(default), on, "{name}: {key}");
    }
    let types: Vec<Pattern> = match config["attn_types"].as_array() {
        None => vec![Pattern::Full],
        Some(types) => types.iter().map(|kind| kind.as_str().expect("a name").parse().expect("a pattern")).collect(),
    };
    let weights = fixture::open(&format!("dalle_pytorch/dalle_{name}.safetensors"));
    let mut left = names(&weights);
    let mut model: Dalle<S, f32, Cpu> = nn::build_with(&Cpu::default(), 0, |_| Init::Constant(0.0)).unwrap();
    nn::import(&mut model, |name, shape| read(&weights, &mut left, name, shape)).unwrap();
    if S::SHARED {
        for (part, table) in ["weight", "bias"].into_iter().flat_map(|part| [(part, "text_emb"), (part, "image_emb")]) {
            let repeated = format!("{table}.linear.{part}");
            assert_eq!(weights.f32(&repeated), weights.f32(&format!("to_logits.1.{part}")), "{name}: {repeated}");
            left.remove(&repeated);
        }
    }
    assert!(left.is_empty(), "{name}: parameters that the model does not have: {left:?}");

    let io = fixture::open(&format!("dalle_pytorch/dalle_{name}_io.safetensors"));
    let layout = Layout { text: S::Text::SIZE, grid: S::Grid::SIZE };
    let (batch, text, image) = (io.get("text").shape[0], io.ids("text"), io.ids("image_tokens"));
    Case { name: name.to_owned(), masks: masks(&types, S::DEPTH, layout), model, io, batch, text, image }
}

impl<S: DallePytorchShape> Case<S> {
    fn tokens(&self) -> Tokens<'_> {
        Tokens { text: &self.text, image: &self.image }
    }
}

fn forward<S: DallePytorchShape>(case: &Case<S>) {
    let logits = case.model.forward(case.batch, case.tokens(), &case.masks, NoneTape).unwrap();
    for (what, got) in [("text_logits", logits.text), ("image_logits", logits.image)] {
        let expected = case.io.get(what);
        assert_forward(&format!("{}: {what}", case.name), &to_vec(got).unwrap(), &expected.values);
    }
}

fn loss_and_gradients<S: DallePytorchShape>(case: &Case<S>) {
    let mut model = case.model.clone();
    let (loss, _) = model.loss(case.batch, case.tokens(), &case.masks, IMAGE_WEIGHT, OwnedTape::default()).unwrap();
    for stored in ["loss", "loss_f64"] {
        let expected = case.io.scalar(stored);
        assert_near(&format!("{}: {stored}", case.name), &[scalar(&loss).into()], &[expected], 1e-5, 1e-6);
    }
    let mut gradients = loss.backward();
    assert_gradients(&case.name, &case.io, &mut model, &mut gradients);
}
