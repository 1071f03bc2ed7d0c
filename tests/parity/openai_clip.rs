//! CLIP against OpenAI's and Hugging Face's implementations: embeddings, logits both ways, the contrastive loss and its
//! gradients, and the preprocessing to the pixel.
//!
//! A case's shapes are types, named like the case; all else is read. A case of another name fails in
//! `every_listed_case_is_tested`.

use crate::fixture::{self, Tensors, assert_forward, assert_gradient};
use dalle::Result;
use dalle::data::preprocess;
use dalle::import::Weights;
use dalle::models::clip::{Clip, ClipSizes, Text, ends_of_text, hf, normalised, resnet, scaled_cosines, unit};
use dalle::nn::{self, Init};
use dalle::objective::contrastive;
use dalle::ops::{retyped, scalar, to_vec};
use dalle::shape::{ClipShape, TextTowerShape};
use dfdx::prelude::*;
use serde_json::Value;
use shapes::*;
use std::collections::HashMap;

/// The cases that have a test.
const MODELS: [&str; 6] = ["vit_a", "vit_b", "vit_j", "rn_a", "hf_quick_gelu", "hf_gelu"];

mod shapes {
    use dalle::shape::BlockShape;
    use dalle::{block, clip, text_tower};
    use dfdx::shapes::Const;

    block!(Wide: dim 128, heads 2);
    block!(Narrow: dim 64, heads 1);
    clip!(VitA: side 32, patch 8, vision Narrow x 1; context 16, vocab 96, language Narrow x 2, embed 32);
    clip!(VitB: side 24, patch 8, vision Wide x 1; context 77, vocab 80, language Narrow x 1, embed 48);
    clip!(VitJ: side 16, patch 8, vision Narrow x 1; context 12, vocab 60, language Narrow x 1, embed 16);
    text_tower!(RnA: context 16, vocab 100, language Narrow x 1, embed 32);

    /// Hugging Face's cases have four heads and MLPs of twice the width.
    macro_rules! hf_block {
        ($name:ident: $d:literal) => {
            #[derive(Debug, Clone, Copy, Default)]
            pub struct $name;
            impl BlockShape for $name {
                type Dim = Const<$d>;
                type Qkv = Const<{ 3 * $d }>;
                type Mlp = Const<{ 2 * $d }>;
                type Heads = Const<4>;
                type HeadDim = Const<{ $d / 4 }>;
            }
        };
    }
    hf_block!(HfVision: 32);
    hf_block!(HfText: 48);
    clip!(HfQuick: side 32, patch 8, vision HfVision x 2; context 16, vocab 256, language HfText x 2, embed 32);
    clip!(HfExact: side 32, patch 8, vision HfVision x 1; context 16, vocab 256, language HfText x 1, embed 32, gelu ErfGelu);
}

type Matrix<T> = Tensor<(usize, usize), f32, Cpu, T>;

/// One model's two towers, whatever they are made of. `T` of every result is that of the tape given.
trait Towers {
    fn image<T: Tape<f32, Cpu>>(&self, batch: usize, pixels: Vec<f32>, tape: T) -> Matrix<T>;
    fn text<T: Tape<f32, Cpu>>(&self, ids: &[u32], ends: &[usize], tape: T) -> Matrix<T>;
    fn logit_scale(&self) -> &Tensor<(), f32, Cpu>;
    /// Those of the named parameters.
    fn gradients(&mut self, names: &[&str], gradients: &mut Gradients<f32, Cpu>) -> Vec<Vec<f32>>;
}

impl<S: ClipShape> Towers for Clip<S, f32, Cpu> {
    fn image<T: Tape<f32, Cpu>>(&self, batch: usize, pixels: Vec<f32>, tape: T) -> Matrix<T> {
        retyped(self.visual.forward(batch, &pixels, &Cpu::default(), tape).unwrap())
    }

    fn text<T: Tape<f32, Cpu>>(&self, ids: &[u32], ends: &[usize], tape: T) -> Matrix<T> {
        retyped(self.text.forward(ids, ends, tape).unwrap())
    }

    fn logit_scale(&self) -> &Tensor<(), f32, Cpu> {
        &self.text.logit_scale
    }

    fn gradients(&mut self, names: &[&str], gradients: &mut Gradients<f32, Cpu>) -> Vec<Vec<f32>> {
        let mut all = taken(self, gradients);
        names.iter().map(|name| all.remove(*name).unwrap_or_else(|| panic!("no parameter {name}"))).collect()
    }
}

struct ResNetClip<S: TextTowerShape> {
    visual: resnet::ResNet<f32, Cpu>,
    text: Text<S, f32, Cpu>,
}

impl<S: TextTowerShape> Towers for ResNetClip<S> {
    fn image<T: Tape<f32, Cpu>>(&self, batch: usize, pixels: Vec<f32>, tape: T) -> Matrix<T> {
        self.visual.forward(batch, pixels, &Cpu::default(), tape).unwrap()
    }

    fn text<T: Tape<f32, Cpu>>(&self, ids: &[u32], ends: &[usize], tape: T) -> Matrix<T> {
        retyped(self.text.forward(ids, ends, tape).unwrap())
    }

    fn logit_scale(&self) -> &Tensor<(), f32, Cpu> {
        &self.text.logit_scale
    }

    fn gradients(&mut self, names: &[&str], gradients: &mut Gradients<f32, Cpu>) -> Vec<Vec<f32>> {
        let mut text = taken(&mut self.text, gradients);
        let mut find = |name: &str| self.visual.gradient(name, gradients).or_else(|| text.remove(name));
        names.iter().map(|name| find(name).unwrap_or_else(|| panic!("no parameter {name}"))).collect()
    }
}

fn taken<M: nn::Module<f32, Cpu>>(model: &mut M, gradients: &mut Gradients<f32, Cpu>) -> HashMap<String, Vec<f32>> {
    let mut all = HashMap::new();
    nn::with_gradients(model, gradients, |name, gradient| drop(all.insert(name.to_owned(), gradient))).unwrap();
    all
}

/// A model built empty and filled by `find`; the shapes that it asks for must be the file's.
fn filled<M>(mut find: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>) -> M
where
    M: nn::Module<f32, Cpu>,
{
    let mut model: M = nn::build_with(&Cpu::default(), 0, |_| Init::Constant(f64::NAN)).unwrap();
    nn::import(&mut model, &mut find).unwrap();
    model
}

fn named<'w>(weights: &'w Tensors) -> impl Fn(&str, &[usize]) -> Result<Vec<f32>> + 'w {
    |name, shape| {
        assert_eq!(weights.get(name).shape, shape, "{name}");
        Ok(weights.f32(name))
    }
}

fn shape_in(weights: &Tensors) -> impl Fn(&str) -> Option<Vec<usize>> + '_ {
    |name| weights.names().any(|n| n == name).then(|| weights.get(name).shape.clone())
}

fn nhwc(io: &Tensors, name: &str) -> (usize, Vec<f32>) {
    let pixels = io.get(name).channels_last().into_iter().map(|v| v as f32).collect();
    (io.get(name).shape[0], pixels)
}

/// Row-major transpose of (rows, columns).
fn transposed(x: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| x.iter().skip(c).step_by(columns)).copied().collect()
}

/// Embeddings, logits both ways, the loss and every gradient that `io` lists.
fn assert_parity(case: &str, model: &mut impl Towers, io: &Tensors) {
    assert_outputs(case, model, io, io);
    assert_loss(case, model, io);
}

fn assert_outputs(case: &str, model: &impl Towers, io: &Tensors, expected: &Tensors) {
    let (batch, pixels) = nhwc(io, "images");
    let (ids, context) = (io.ids("tokens"), io.get("tokens").shape[1]);
    let images = model.image(batch, pixels, NoneTape);
    let texts = model.text(&ids, &ends_of_text(&ids, context, None), NoneTape);
    let check = |name: &str, got: &[f32]| assert_forward(&format!("{case}: {name}"), got, &expected.get(name).values);
    check("image_embeds", &to_vec(images.clone()).unwrap());
    check("text_embeds", &to_vec(texts.clone()).unwrap());
    let logits = scaled_cosines(unit(images).unwrap(), unit(texts).unwrap(), model.logit_scale()).unwrap();
    let (captions, logits) = (logits.shape().1, to_vec(logits).unwrap());
    check("logits_per_image", &logits);
    if expected.names().any(|name| name == "logits_per_text") {
        check("logits_per_text", &transposed(&logits, captions));
    }
}

fn assert_loss(case: &str, model: &mut impl Towers, io: &Tensors) {
    let (batch, pixels) = nhwc(io, "images");
    let (ids, context) = (io.ids("tokens"), io.get("tokens").shape[1]);
    let losses: Vec<&str> = io.names().filter(|name| name.starts_with("contrastive_loss_")).collect();
    assert!(!losses.is_empty(), "{case}: no contrastive loss");
    for name in losses {
        let pairs: usize = name.rsplit('_').next().and_then(|n| n.parse().ok()).expect("the number of pairs");
        let pixels = pixels[..pixels.len() / batch * pairs].to_vec();
        let ids = &ids[..pairs * context];
        let images = unit(model.image(pairs, pixels, OwnedTape::default())).unwrap();
        let texts = unit(model.text(ids, &ends_of_text(ids, context, None), OwnedTape::default())).unwrap();
        let loss = contrastive(scaled_cosines(images, texts, model.logit_scale()).unwrap()).unwrap();
        assert_forward(&format!("{case}: {name}"), &[scalar(&loss)], &io.get(name).values);
        let mut gradients = loss.backward();
        let names: Vec<&str> = io.names().filter_map(|key| key.strip_prefix("grad.")).collect();
        assert!(!names.is_empty(), "{case}: no gradients");
        for (name, got) in names.iter().zip(model.gradients(&names, &mut gradients)) {
            let key = format!("grad.{name}");
            assert_gradient(&format!("{case}: {key}"), &got, &io.get(&key).values);
        }
    }
}

fn meta() -> Value {
    fixture::json("openai_clip/meta.json")
}

/// Does meta.json list the model? A compact copy may leave some out.
fn is_listed(case: &str) -> bool {
    meta()["models"].get(case).is_some()
}

fn official<S: ClipShape>(case: &str) {
    if is_listed(case) {
        let weights = fixture::open(&format!("openai_clip/{case}.safetensors"));
        assert_eq!(ClipSizes::read(&shape_in(&weights)).unwrap(), ClipSizes::of::<S>(), "{case}: the sizes");
        let mut model: Clip<S, f32, Cpu> = filled(named(&weights));
        let parameters = nn::export(&model).unwrap();
        assert_eq!(parameters.len(), weights.names().count(), "{case}: parameters");
        assert_parity(case, &mut model, &fixture::open(&format!("openai_clip/{case}_io.safetensors")));
    }
}

#[test]
fn every_listed_case_is_tested() {
    let meta = meta();
    let listed = meta["models"].as_object().expect("models");
    assert!(!listed.is_empty());
    for case in listed.keys() {
        assert!(MODELS.contains(&case.as_str()), "no test covers openai_clip case {case:?}");
    }
}

#[test]
fn vit_a() {
    official::<VitA>("vit_a");
}

#[test]
fn vit_b() {
    official::<VitB>("vit_b");
}

/// Of this model only the archive is given, with weights rounded to f16: its own outputs are exact, the unrounded weights'
/// loss and gradients are not met.
#[test]
fn vit_j() {
    let case = "vit_j";
    if !is_listed(case) {
        return;
    }
    let archive = fixture::bytes("openai_clip/jit/vit_j_fp16.pt");
    let weights = Weights::from_bytes("vit_j_fp16.pt", archive).unwrap();
    let shape = |name: &str| weights.find(name).map(|tensor| tensor.shape.clone());
    assert_eq!(ClipSizes::read(&shape).unwrap(), ClipSizes::of::<VitJ>(), "{case}: the sizes");
    let model: Clip<VitJ, f32, Cpu> = filled(|name, shape| weights.parameter(name, shape));
    let io = fixture::open("openai_clip/vit_j_io.safetensors");
    let expected = fixture::open("openai_clip/jit/vit_j_fp16_expected.safetensors");
    assert_outputs(case, &model, &io, &expected);
}

#[test]
fn rn_a() {
    let case = "rn_a";
    if !is_listed(case) {
        return;
    }
    let weights = fixture::open(&format!("openai_clip/{case}.safetensors"));
    let sizes = resnet::ResNetSizes::of(&shape_in(&weights)).unwrap();
    let config = &meta()["models"][case]["config"];
    let number = |key: &str| config[key].as_u64().expect("a number") as usize;
    let layers: Vec<usize> =
        config["vision_layers"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let expected = (layers, number("vision_width"), number("image_resolution"), number("embed_dim"));
    assert_eq!((sizes.layers.to_vec(), sizes.width, sizes.side, sizes.embed), expected);

    let visual = resnet::ResNet::load(sizes, &Cpu::default(), named(&weights)).unwrap();
    let mut model = ResNetClip::<RnA> { visual, text: filled(named(&weights)) };
    let used = sizes.parameters().len() + nn::export(&model.text).unwrap().len();
    let stored = weights.names().filter(|name| !name.ends_with("num_batches_tracked")).count();
    assert_eq!(used, stored, "{case}: parameters");
    assert_parity(case, &mut model, &fixture::open(&format!("openai_clip/{case}_io.safetensors")));
}

fn hugging_face<S: ClipShape>(case: &str) {
    if !is_listed(case) {
        return;
    }
    let folder = format!("openai_clip/{case}");
    let (weights, io) =
        (fixture::open(&format!("{folder}/model.safetensors")), fixture::open(&format!("{folder}/io.safetensors")));
    let config = hf::Config::parse(&fixture::bytes(&format!("{folder}/config.json")), "config.json").unwrap();
    assert_eq!(config.sizes, ClipSizes::of::<S>(), "{case}: the sizes");

    let mut read = std::collections::BTreeSet::new();
    let model: Clip<S, f32, Cpu> = filled(|name, shape| {
        hf::read(name, shape, |part, shape| {
            read.insert(part.to_owned());
            named(&weights)(part, shape)
        })
    });
    assert!(weights.names().all(|name| read.contains(name)), "{case}: a tensor was not read");

    let (batch, pixels) = nhwc(&io, "pixel_values");
    let ids = io.ids("input_ids");
    let ends = ends_of_text(&ids, config.sizes.context, config.end);
    let check = |name: &str, got: &[f32]| assert_forward(&format!("{case}: {name}"), got, &io.get(name).values);
    let hidden = model.text.hidden(ends.len(), &ids, NoneTape).unwrap();
    check("text_last_hidden", &to_vec(hidden).unwrap());
    let images = Towers::image(&model, batch, pixels, NoneTape);
    // What transformers 5 calls the pooler's output of `get_image_features` is the projection.
    check("vision_pooler", &to_vec(images.clone()).unwrap());
    let images = unit(images).unwrap();
    let texts = unit(Towers::text(&model, &ids, &ends, NoneTape)).unwrap();
    check("image_embeds", &to_vec(images.clone()).unwrap());
    check("text_embeds", &to_vec(texts.clone()).unwrap());
    let logits = to_vec(scaled_cosines(images, texts, &model.text.logit_scale).unwrap()).unwrap();
    check("logits_per_image", &logits);
    check("logits_per_text", &transposed(&logits, ends.len()));
    // The mask hides only what follows the end of text, which the causal mask hides from it already.
    for ((mask, &end), text) in io.ids("attention_mask").chunks(config.sizes.context).zip(&ends).zip(0..) {
        assert!(
            mask[..=end].iter().all(|&m| m == 1),
            "{case}: text {text} is masked before its end, which no model here does"
        );
    }
    check("logits_per_image_with_mask", &logits);
}

#[test]
fn hf_quick_gelu() {
    hugging_face::<HfQuick>("hf_quick_gelu");
}

#[test]
fn hf_gelu() {
    hugging_face::<HfExact>("hf_gelu");
}

/// A file of the preprocessing folder by the first part of its name: `img0` for `img0_97x61.png`.
fn picture(stem: &str) -> Vec<u8> {
    let folder = fixture::root().join("openai_clip/preprocess");
    let mut names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = names.find(|name| name.starts_with(&format!("{stem}_")) && name.ends_with(".png"));
    fixture::bytes(&format!("openai_clip/preprocess/{}", name.unwrap_or_else(|| panic!("no picture {stem}"))))
}

/// CHW of bytes.
fn chw(rgb: &[u8]) -> Vec<f64> {
    (0..3).flat_map(|channel| rgb.iter().skip(channel).step_by(3)).map(|&v| v.into()).collect()
}

#[test]
fn preprocessing_to_the_pixel() {
    let expected = fixture::open("openai_clip/preprocess/expected.safetensors");
    let mut tested = 0;
    for name in expected.names() {
        let values = &expected.get(name).values;
        let (stem, kind) = name.split_once('_').unwrap_or_else(|| panic!("no test covers {name}"));
        let bytes = picture(stem);
        let side = |digits: &str| digits.parse::<usize>().unwrap_or_else(|_| panic!("no test covers {name}"));
        if let Some(digits) = kind.strip_prefix("dalle_lanczos") {
            let got = chw(&preprocess::dalle(&bytes, side(digits)).unwrap().rgb);
            let levels: Vec<f64> = values.iter().map(|v| (v * 255.0).round()).collect();
            assert!(got == levels, "{name}: other pixels");
            assert_forward(name, &got.iter().map(|v| (v / 255.0) as f32).collect::<Vec<_>>(), values);
        } else if let Some(digits) = kind.strip_prefix('n').and_then(|kind| kind.strip_suffix("_u8")) {
            assert!(chw(&preprocess::clip(&bytes, side(digits)).unwrap().rgb) == *values, "{name}: other pixels");
        } else {
            let digits = kind.strip_prefix('n').unwrap_or_else(|| panic!("no test covers {name}"));
            let rgb = preprocess::clip(&bytes, side(digits)).unwrap().rgb;
            let pixels: Vec<f32> = rgb.iter().map(|&v| f32::from(v) / 255.0).collect();
            let got: Vec<f32> = normalised(&pixels);
            let got: Vec<f32> = (0..3).flat_map(|c| got.iter().skip(c).step_by(3)).copied().collect();
            // Within a float's rounding: a level more or less would be 1/60.
            assert_forward(name, &got, values);
        }
        tested += 1;
    }
    assert!(tested > 0);
}
