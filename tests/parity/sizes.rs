//! Every published size with random weights, and one pass through each; Malevich takes 6 GB, so all of it is left out unless
//! asked for: `cargo test --release --test parity sizes -- --ignored --nocapture`.
//!
//! Into the folder that `DALLE_EXPORT` names, the dVAE and the CLIPs are written with the published names, and beside them what
//! went in and what came out: `scripts/check_export.py` holds the official implementations against that.

use dalle::mask::Layout;
use dalle::models::clip::presets::{Rn50, VitB16, VitB32, VitL14};
use dalle::models::clip::{self, Clip, Text, resnet};
use dalle::models::dvae::Dvae;
use dalle::models::feature_map::FeatureMap;
use dalle::models::presets::paper;
use dalle::models::rudalle::{self, Malevich, Rudalle, Version};
use dalle::models::transformer::Tokens;
use dalle::models::vqgan::{Config, QuantiserKind, Vqgan};
use dalle::nn::{self, Init, Parameter};
use dalle::ops::to_vec;
use dalle::random::Rng;
use dalle::shape::{ClipShape, TextTowerShape};
use dalle::{Error, Result};
use dfdx::prelude::{Const, ConstDim, Cpu, NoneTape, TensorFromVec};
use safetensors::tensor::TensorView;
use std::path::{Path, PathBuf};

/// What a pass gives: how many parameters it went through, and the values at its end. It saves to the folder given.
type Pass = Result<(usize, Vec<f32>)>;

fn run(name: &str, pass: impl FnOnce(Option<&Path>) -> Pass) {
    let save = std::env::var_os("DALLE_EXPORT").map(PathBuf::from);
    if let Some(folder) = &save {
        std::fs::create_dir_all(folder).unwrap();
    }
    let (parameters, values) = pass(save.as_deref()).unwrap();
    assert!(values.iter().all(|value| value.is_finite()), "{name}");
    let (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    println!("{name:<22} {parameters:>13} parameters, {} values in [{low:.3}, {high:.3}]", values.len());
}

macro_rules! sizes {
    ($($test:ident: $name:literal, $pass:expr;)*) => {$(
        #[test]
        #[ignore = "a published size: up to 6 GB and a minute"]
        fn $test() {
            run($name, $pass);
        }
    )*};
}
sizes! {
    the_dvae: "openai-dvae", openai_dvae;
    clip_vit_b_32: "clip-vit-b-32", |save| vision_transformer::<VitB32>("clip-vit-b-32", save);
    clip_vit_b_16: "clip-vit-b-16", |save| vision_transformer::<VitB16>("clip-vit-b-16", save);
    clip_vit_l_14: "clip-vit-l-14", |save| vision_transformer::<VitL14>("clip-vit-l-14", save);
    clip_rn50: "clip-rn50", rn50;
    rudalle_malevich: "rudalle-malevich", malevich;
    taming_gumbel: "taming-gumbel-f8-8192", gumbel;
}

fn random(name: &str, shape: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let scale = (shape[1..].iter().product::<usize>().max(1) as f64).powf(-0.5);
    let mut rng = Rng::new(0, name, 0, 0);
    (0..count).map(|_| (scale * rng.normal()) as f32).collect()
}

/// Writes named tensors to `folder/name.safetensors`.
fn write(folder: &Path, name: &str, tensors: &[Parameter<f32>]) -> Result<()> {
    let path = folder.join(name).with_extension("safetensors");
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let mut views = Vec::new();
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytes);
        views.push((&tensor.name, view.map_err(|e| Error::data(&path, e.to_string()))?));
    }
    let file = safetensors::serialize(views, None).map_err(|e| Error::data(&path, e.to_string()))?;
    std::fs::write(&path, file).map_err(Error::io("write", &path))
}

fn named(name: &str, shape: &[usize], values: &[f32]) -> Parameter<f32> {
    Parameter { name: name.into(), shape: shape.to_vec(), values: values.to_vec() }
}

fn openai_dvae(save: Option<&Path>) -> Pass {
    let cpu = Cpu::default();
    let model: Dvae<paper::Dvae, f32, Cpu> = nn::build(&cpu, 0)?;
    let picture = random("picture", &[256 * 256 * 3, 1]);
    let x = cpu.try_tensor_from_vec(picture.clone(), (1usize, 256usize, 256usize, Const::<3>))?;
    let codes = model.encode(x)?;
    let stats = to_vec(model.decode(&codes, [1, 32, 32], &cpu)?)?;
    if let Some(folder) = save {
        write(folder, "openai-dvae", &nn::export(&model)?)?;
        let codes: Vec<f32> = codes.iter().map(|&code| code as f32).collect();
        let (x, codes) = (named("x", &[1, 256, 256, 3], &picture), named("codes", &[1, 32, 32], &codes));
        write(folder, "openai-dvae-io", &[x, codes, named("stats", &[1, 256, 256, 6], &stats)])?;
    }
    Ok((nn::size::<Dvae<paper::Dvae, f32, Cpu>, f32, Cpu>(), stats))
}

/// A start, two words and an end of text.
fn text<S: TextTowerShape>() -> Vec<u32> {
    let words = S::Vocab::SIZE as u32;
    let mut ids = vec![words - 2, 320, 1929, words - 1];
    ids.resize(S::Context::SIZE, 0);
    ids
}

/// What went into a CLIP and what came out, before it is made a unit vector.
fn write_clip(folder: &Path, name: &str, side: usize, pixels: &[f32], ids: &[u32], out: [&[f32]; 2]) -> Result<()> {
    let ids: Vec<f32> = ids.iter().map(|&id| id as f32).collect();
    let inputs = [named("x", &[1, side, side, 3], pixels), named("ids", &[1, ids.len()], &ids)];
    let outputs = [named("image", &[1, out[0].len()], out[0]), named("text", &[1, out[1].len()], out[1])];
    write(folder, &format!("{name}-io"), &[inputs, outputs].concat())
}

fn vision_transformer<S: ClipShape>(name: &str, save: Option<&Path>) -> Pass {
    let cpu = Cpu::default();
    let model: Clip<S, f32, Cpu> = nn::build(&cpu, 0)?;
    let pixels = random("picture", &[3 * S::SIDE * S::SIDE, 1]);
    let ids = text::<S>();
    let image = to_vec(model.visual.forward(1, &pixels, &cpu, NoneTape)?)?;
    let words = to_vec(model.text.forward(&ids, &clip::ends_of_text(&ids, S::Context::SIZE, None), NoneTape)?)?;
    if let Some(folder) = save {
        write(folder, name, &nn::export(&model)?)?;
        write_clip(folder, name, S::SIDE, &pixels, &ids, [&image, &words])?;
    }
    Ok((nn::size::<Clip<S, f32, Cpu>, f32, Cpu>(), [image, words].concat()))
}

fn rn50(save: Option<&Path>) -> Pass {
    let cpu = Cpu::default();
    let sizes = resnet::ResNetSizes::RN50;
    let mut weights = Vec::new();
    let visual = resnet::ResNet::<f32, Cpu>::load(sizes, &cpu, |name, shape| {
        // Running variances are positive.
        let constant = name.ends_with("running_var").then(|| vec![1.0; shape.iter().product()]);
        let values = constant.unwrap_or_else(|| random(name, shape));
        weights.push(named(name, shape, &values));
        Ok(values)
    })?;
    let tower: Text<Rn50, f32, Cpu> = nn::build_with(&cpu, 0, |_| Init::Normal(0.02))?;
    weights.extend(nn::export(&tower)?);
    let (pixels, ids) = (random("picture", &[3 * sizes.side * sizes.side, 1]), text::<Rn50>());
    let image = to_vec(visual.forward(1, pixels.clone(), &cpu, NoneTape)?)?;
    let ends = clip::ends_of_text(&ids, <Rn50 as TextTowerShape>::Context::SIZE, None);
    let words = to_vec(tower.forward(&ids, &ends, NoneTape)?)?;
    if let Some(folder) = save {
        write(folder, "clip-rn50", &weights)?;
        write_clip(folder, "clip-rn50", sizes.side, &pixels, &ids, [&image, &words])?;
    }
    Ok((weights.iter().map(|weight| weight.values.len()).sum(), [image, words].concat()))
}

fn malevich(_: Option<&Path>) -> Pass {
    let cpu = Cpu::default();
    let model: Rudalle<Malevich, f32, Cpu> = nn::build(&cpu, 0)?;
    let version = Version::V3;
    let masks = rudalle::masks(24, Layout { text: 128, grid: 32 }, version);
    let tokens = Tokens { text: &[5; 128], image: &[7; 1024] };
    let logits = model.forward(version, 1usize, tokens, &masks, NoneTape)?;
    Ok((nn::size::<Rudalle<Malevich, f32, Cpu>, f32, Cpu>(), to_vec(logits)?))
}

fn gumbel(_: Option<&Path>) -> Pass {
    let mut parameters = 0;
    let model = Vqgan::load(&Config::gumbel_f8_8192(), QuantiserKind::Gumbel, &mut |name: &str, shape: &[usize]| {
        parameters += shape.iter().product::<usize>();
        Ok(random(name, shape))
    })?;
    let picture = FeatureMap::new([1, 256, 256, 3], random("picture", &[256 * 256 * 3, 1]))?;
    let codes = model.encode(&picture)?;
    let decoded = model.decode(&codes, [1, 32, 32])?;
    Ok((parameters, decoded.values))
}
