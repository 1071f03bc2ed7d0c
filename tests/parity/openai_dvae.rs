//! OpenAI's dVAE, number for number: every case of `openai_dvae/meta.json`, from the published files' own layout.
//!
//! Legend: B pictures, H and W their sides, h and w those of the grid; fixtures are channels first, we are channels last.

use crate::fixture::{self, Entry, assert_forward, assert_near};
use dalle::harness::device::Device;
use dalle::harness::open::{self, Which};
use dalle::import::{Kind, Weights, import};
use dalle::inference::Codec;
use dalle::inference::published::first_stage;
use dalle::models::dvae::{Dvae, reconstruction, squash, unsquash};
use dalle::nn::{self, Init};
use dalle::ops::{Input, PoolOp, to_vec};
use dalle::shape::{DvaeShape, Ranked};
use dfdx::prelude::{Const, ConstDim, Cpu, Tensor, TensorFromVec};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

macro_rules! shape {
    ($name:ident: codes $codes:literal, init $init:literal, widths [$($down:literal),*], [$($up:literal),*], blocks $blocks:literal) => {
        #[derive(Debug, Clone, Copy, Default)]
        struct $name;
        impl DvaeShape for $name {
            type Side = Const<32>;
            type Grid = Const<4>;
            type Codes = Const<$codes>;
            type Init = Const<$init>;
            type Down = dalle::groups!($($down),*);
            type Up = dalle::groups!($($up),*);
            const BLOCKS: usize = $blocks;
        }
    };
}
shape!(Wide: codes 64, init 8, widths [12, 24, 48, 96], [96, 48, 24, 12], blocks 1);
shape!(Deep: codes 64, init 8, widths [8, 16, 32, 64], [64, 32, 16, 8], blocks 2);
shape!(Published: codes 24, init 8, widths [4, 8, 16, 32], [32, 16, 8, 4], blocks 2);

/// Runs `$run` with `$shape` standing for the type that has the configuration's numbers.
macro_rules! with_shape {
    ($case:expr, $config:expr, $shape:ident => $run:expr) => {{
        let number = |key: &str| $config[key].as_u64().unwrap_or_else(|| panic!("{key}: {}", $config));
        match ["group_count", "n_hid", "n_blk_per_group", "n_init", "vocab_size"].map(number) {
            [4, 12, 1, 8, 64] => {
                type $shape = Wide;
                $run
            }
            [4, 8, 2, 8, 64] => {
                type $shape = Deep;
                $run
            }
            [4, 4, 2, 8, 24] => {
                type $shape = Published;
                $run
            }
            other => panic!("case {}: no type has the shape {other:?}", $case),
        }
    }};
}

type Model<S> = Dvae<S, f32, Cpu>;
type Map<C> = Tensor<(usize, usize, usize, C), f32, Cpu>;

fn folder(file: &str) -> String {
    format!("openai_dvae/{file}")
}

/// The model with the parameters of two files, all of which it takes.
fn load<S: DvaeShape>(encoder: &str, decoder: &str) -> Model<S> {
    let [encoder, decoder] = [encoder, decoder].map(|file| Weights::open(fixture::root().join(folder(file))).unwrap());
    let mut model: Model<S> = nn::build_with(&Cpu::default(), 0, |_| Init::Constant(f64::NAN)).unwrap();
    let mut taken = 0;
    nn::import(&mut model, |name, shape| {
        taken += 1;
        let (half, name) = name.split_once('.').unwrap();
        if half == "encoder" { &encoder } else { &decoder }.parameter(name, shape)
    })
    .unwrap();
    assert_eq!(taken, encoder.tensors().len() + decoder.tensors().len());
    model
}

fn map<C: ConstDim>(entry: &Entry) -> Map<C> {
    let values: Vec<f32> = entry.channels_last().iter().map(|&v| v as f32).collect();
    let [b, c, h, w] = entry.shape[..] else { panic!("{:?}", entry.shape) };
    assert_eq!(c, C::SIZE);
    Cpu::default().tensor_from_vec(values, (b, h, w, C::default()))
}

/// The tensors of a case, which must all be compared.
struct Case {
    name: String,
    tensors: fixture::Tensors,
    compared: BTreeSet<String>,
}

impl Case {
    fn new(file: &str) -> Case {
        Case { name: file.to_owned(), tensors: fixture::open(&folder(file)), compared: BTreeSet::new() }
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.names().any(|known| known == name)
    }

    fn get(&mut self, name: &str) -> &Entry {
        self.compared.insert(name.to_owned());
        self.tensors.get(name)
    }

    fn near<S: Ranked>(&mut self, name: &str, got: Tensor<S, f32, Cpu>) {
        let what = format!("{} {name}", self.name);
        assert_forward(&what, &to_vec(got).unwrap(), &self.get(name).channels_last());
    }

    fn done(self) {
        let left: Vec<&str> = self.tensors.names().filter(|&name| !self.compared.contains(name)).collect();
        assert!(left.is_empty(), "{}: nothing compares {left:?}", self.name);
    }
}

/// Everything that a picture size has: logits, tokens, statistics and pictures.
fn compare<S: DvaeShape>(model: &Model<S>, case: &mut Case, size: &str) {
    let name = |part: &str| format!("{size}{part}");
    let pixels: Vec<f32> = case.get(&name("image_u8")).channels_last().iter().map(|&v| v as f32 / 255.0).collect();
    let mapped = case.get(&name("x_mapped")).clone();
    assert_forward(&name("x_mapped"), &squash::<f32>(&pixels), &mapped.channels_last());
    let x: Map<Const<3>> = map(&mapped);
    case.near(&name("enc_logits"), model.encoder.forward(x.clone()).unwrap());

    let tokens = case.get(&name("tokens")).clone();
    let codes: Vec<u32> = tokens.values.iter().map(|&v| v as u32).collect();
    assert_eq!(model.encode(x).unwrap(), codes, "{} {}", case.name, name("tokens"));
    let [b, h, w] = tokens.shape[..] else { panic!("{:?}", tokens.shape) };
    let stats = model.decode(&codes, [b, h, w], &Cpu::default()).unwrap();
    if case.has(&name("recon")) {
        let got = reconstruction(&to_vec(stats.clone()).unwrap());
        let what = format!("{} {}", case.name, name("recon"));
        assert_forward(&what, &got, &case.get(&name("recon")).channels_last());
    }
    case.near(&name("x_stats"), stats);
    if case.has(&name("soft_input")) {
        let soft: Map<S::Codes> = map(case.get(&name("soft_input")));
        case.near(&name("x_stats_soft"), model.decoder.forward(soft).unwrap());
    }
}

/// The output of each part for the first picture of the first size: after a group's pooling, or its upsampling.
fn stages<S: DvaeShape>(
    model: &Model<S>,
    picture: Map<Const<3>>,
    codes: Map<S::Codes>,
) -> Vec<(&'static str, Vec<f32>)> {
    let mut stages = Vec::new();
    macro_rules! stage {
        ($name:literal, $x:expr) => {{
            let x = $x.unwrap();
            stages.push(($name, to_vec(x.clone()).unwrap()));
            x
        }};
    }
    let (encoder, decoder) = (&model.encoder, &model.decoder.trunk);
    stage!("stage_enc_output", encoder.forward(picture.clone()));
    let x = stage!("stage_enc_input", encoder.input.forward(picture, Input::Picture));
    let x = stage!("stage_enc_group_1", Cpu::max_pool(encoder.group_1.forward(x).unwrap()));
    let x = stage!("stage_enc_group_2", Cpu::max_pool(encoder.group_2[0].forward(x).unwrap()));
    let x = stage!("stage_enc_group_3", Cpu::max_pool(encoder.group_3[0].forward(x).unwrap()));
    stage!("stage_enc_group_4", encoder.group_4[0].forward(x));
    stage!("stage_dec_output", model.decoder.forward(codes.clone()));
    let x = stage!("stage_dec_input", model.decoder.input.forward(codes, Input::Linear));
    let x = stage!("stage_dec_group_1", Cpu::upsample(decoder.group_1.forward(x).unwrap()));
    let x = stage!("stage_dec_group_2", Cpu::upsample(decoder.group_2[0].forward(x).unwrap()));
    let x = stage!("stage_dec_group_3", Cpu::upsample(decoder.group_3[0].forward(x).unwrap()));
    stage!("stage_dec_group_4", decoder.group_4[0].forward(x));
    stages
}

fn compare_stages<S: DvaeShape>(model: &Model<S>, case: &mut Case) {
    let mapped = case.tensors.get("s0_x_mapped");
    let (sides, values) = (&mapped.shape[1..], mapped.values.len() / mapped.shape[0]);
    let picture = Entry { shape: [&[1], sides].concat(), values: mapped.values[..values].to_vec() };
    let tokens = case.tensors.get("s0_tokens");
    let [_, h, w] = tokens.shape[..] else { panic!("{:?}", tokens.shape) };
    let one_hot = |code| (0..h * w).map(move |position| f64::from(u8::from(tokens.values[position] as usize == code)));
    let one_hot = (0..S::Codes::SIZE).flat_map(one_hot).collect();
    let codes = Entry { shape: vec![1, S::Codes::SIZE, h, w], values: one_hot };
    for (name, got) in stages(model, map(&picture), map(&codes)) {
        if case.has(name) {
            let what = format!("{} {name}", case.name);
            assert_forward(&what, &got, &case.get(name).channels_last());
        }
    }
}

fn run<S: DvaeShape>(name: &str, config: &Value) {
    let file = |part: &str| format!("{part}_{name}.safetensors");
    let model: Model<S> = load(&file("encoder"), &file("decoder"));
    let mut case = Case::new(&file("io"));
    let sizes = config["f32_vs_f64"].as_object().unwrap();
    assert!(!sizes.is_empty());
    sizes.keys().for_each(|size| compare(&model, &mut case, size));
    if case.tensors.names().any(|name| name.starts_with("stage_")) {
        compare_stages(&model, &mut case);
    }
    case.done();
}

fn cases() -> serde_json::Map<String, Value> {
    fixture::json(&folder("meta.json"))["configs"].as_object().unwrap().clone()
}

#[test]
fn every_case_gives_the_published_numbers() {
    assert!(!cases().is_empty());
    for (name, config) in cases() {
        with_shape!(name, config["config"], S => run::<S>(&name, &config));
    }
}

#[test]
fn the_scale_of_the_residual_branch_is_that_of_the_pickled_modules() {
    fn gain<S: DvaeShape>() -> f64 {
        S::POST_GAIN
    }
    for half in pickles() {
        let weights = Weights::open(half).unwrap();
        let gains = weights.attributes.iter().filter(|(path, _)| path.ends_with(".post_gain"));
        let gains: Vec<f64> = gains.map(|(_, gain)| gain.as_f64().unwrap()).collect();
        let (name, config) = pickled();
        let expected = with_shape!(name, config, S => gain::<S>());
        assert!(!gains.is_empty() && gains.iter().all(|&gain| gain == expected), "{gains:?}, expected {expected}");
    }
}

fn pickles() -> [PathBuf; 2] {
    ["encoder", "decoder"].map(|half| fixture::root().join(folder(&format!("pkl/{half}.pkl"))))
}

/// The case whose modules are pickled: the one with the configuration that the importer reads from them.
fn pickled() -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let imported = import(Kind::OpenaiDvae, &pickles(), &folder.path().join("dvae.safetensors")).unwrap();
    let found = cases().into_iter().find(|(_, case)| case["config"] == imported.config);
    found.map(|(name, case)| (name, case["config"].clone())).expect("a case with the pickles' configuration")
}

#[test]
fn half_precision_weights_give_the_published_numbers() {
    if !fixture::holds("openai_dvae/pkl/half_expected.safetensors") {
        return;
    }
    fn run<S: DvaeShape>(name: &str) {
        let model: Model<S> = load("pkl/encoder_half.pkl", "pkl/decoder_half.pkl");
        let io = fixture::open(&folder(&format!("io_{name}.safetensors")));
        let mut case = Case::new("pkl/half_expected.safetensors");
        let x: Map<Const<3>> = map(io.get("s0_x_mapped"));
        case.near("enc_logits", model.encoder.forward(x.clone()).unwrap());
        let tokens = case.get("tokens").clone();
        let codes = model.encode(x).unwrap();
        assert_eq!(codes, tokens.values.iter().map(|&v| v as u32).collect::<Vec<_>>());
        let [b, h, w] = tokens.shape[..] else { panic!("{:?}", tokens.shape) };
        case.near("x_stats", model.decode(&codes, [b, h, w], &Cpu::default()).unwrap());
        case.done();
    }
    let (name, config) = pickled();
    with_shape!(name, config, S => run::<S>(&name));
}

/// A picture through the imported file, as the command line takes it.
#[test]
fn an_imported_file_codes_and_decodes_pictures_of_any_sides() {
    fn run<S: DvaeShape>(name: &str, file: &Path) {
        let codec = first_stage::dvae::<S>(&Weights::open(file).unwrap()).unwrap();
        assert_eq!(codec.vocabulary(), S::Codes::SIZE);
        let io = fixture::open(&folder(&format!("io_{name}.safetensors")));
        let (pictures, tokens) = (io.get("s0_image_u8"), io.get("s0_tokens"));
        let ([b, _, height, width], [_, h, w]) = (&pictures.shape[..], &tokens.shape[..]) else { panic!("shapes") };
        let [b, height, width, h, w] = [b, height, width, h, w].map(|&side| side);
        let pixels: Vec<f32> = pictures.channels_last().iter().map(|&v| v as f32 / 255.0).collect();
        let expected = io.get("s0_recon").channels_last();
        for (index, pixels) in pixels.chunks(pixels.len() / b).enumerate() {
            assert_eq!((height / codec.stride(), width / codec.stride()), (h, w));
            let codes = codec.encode_any([1, height, width], pixels).unwrap();
            assert_eq!(codes, io.ids("s0_tokens")[index * h * w..(index + 1) * h * w]);
            let values = codec.decode_any([1, h, w], &codes).unwrap();
            assert_eq!(values.len(), 3 * height * width);
            assert_forward("recon", &values, &expected[index * values.len()..(index + 1) * values.len()]);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (name, config) = pickled();
    let out = folder.path().join("dvae.safetensors");
    import(Kind::OpenaiDvae, &pickles(), &out).unwrap();
    with_shape!(name, config, S => run::<S>(&name, &out));
    // The command line's model is the released one, sixty-four times as wide.
    let refused = open::codec(&out, Device::Cpu, Which::Newest).err().unwrap();
    assert!(refused.to_string().contains("encoder.blocks.input.w: expected shape [256, 3, 7, 7]"), "{refused}");
}

#[test]
fn pixels_are_mapped_and_mapped_back() {
    let mut case = Case::new("pixels.safetensors");
    let values = |entry: &Entry| entry.values.iter().map(|&v| v as f32).collect::<Vec<_>>();
    let mapped: Vec<f32> = squash(&values(case.get("map_in")));
    assert_forward("map_pixels", &mapped, &case.get("map_out").values);
    let unmapped: Vec<f64> = case.get("unmap_in").values.iter().map(|&x| unsquash(x)).collect();
    assert_near("unmap_pixels", &unmapped, &case.get("unmap_out").values, 1e-5, 1e-6);
    case.done();
}
