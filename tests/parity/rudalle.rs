//! ru-dalle's transformer against its official implementation. Its training loss and the reference's own way to sample are here,
//! where alone they are used.

mod greedy;
mod losses;

use crate::fixture::{self, Tensors, assert_forward, assert_gradients, assert_near};
use dalle::Result;
use dalle::import::Weights;
use dalle::inference::published::rudalle;
use dalle::inference::{Codec, Generator, Options, Prompt, Request, sample};
use dalle::mask::{Layout, Pattern};
use dalle::models::rudalle::{Malevich, Rudalle, Version, masks, order};
use dalle::models::transformer::Tokens;
use dalle::nn::{self, Init, Precision};
use dalle::ops::{Mask, to_vec};
use dalle::shape::RudalleShape;
use dalle::text::Yttm;
use dfdx::prelude::{Backward, ConstDim, Cpu, Gradients, NoneTape, OwnedTape};
use greedy::greedy;
use losses::losses;
use serde_json::Value;

dalle::rudalle!(
    /// v3_g4
    Small in small: layers 4, vocab 64, width 48, heads 4, text 16, grid 4, codes 32, sandwich true);
dalle::rudalle!(
    /// v3_g8_plain
    Plain in plain: layers 5, vocab 56, width 32, heads 2, text 16, grid 8, codes 24, sandwich false);
dalle::rudalle!(
    /// v2_g8
    Old in old: layers 4, vocab 56, width 32, heads 4, text 16, grid 8, codes 24, sandwich true);

#[test]
fn every_listed_model() {
    let meta = fixture::json("rudalle/meta.json");
    let models = meta["models"].as_object().expect("models");
    assert!(!models.is_empty());
    for (name, model) in models {
        println!("{name}");
        match name.as_str() {
            "v3_g4" => check::<Small>(name, model),
            "v3_g8_plain" => check::<Plain>(name, model),
            "v2_g8" => check::<Old>(name, model),
            _ => panic!("rudalle/meta.json lists {name}, whose shape no test has"),
        }
    }
}

/// What a case needs beside its tensors.
struct Case<S: RudalleShape> {
    name: String,
    version: Version,
    weight: f32,
    masks: Vec<Mask>,
    model: Rudalle<S, f32, Cpu>,
    io: Tensors,
    batch: usize,
    text: Vec<u32>,
    image: Vec<u32>,
}

fn check<S: RudalleShape>(name: &str, meta: &Value) {
    let case = open::<S>(name, meta);
    forward(&case);
    loss_and_gradients(&case);
    drawn_greedily(&case);
    sampled(&case);
}

fn open<S: RudalleShape>(name: &str, meta: &Value) -> Case<S> {
    let config = &meta["config"];
    let number = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("{name}: {key}")) as usize;
    let version = match config["hf_version"].as_str() {
        Some("v2") => Version::V2,
        Some("v3") => Version::V3,
        other => panic!("{name}: version {other:?}"),
    };
    assert_eq!(number("num_layers"), S::DEPTH, "{name}");
    assert_eq!(config["cogview_sandwich_layernorm"].as_bool(), Some(S::SANDWICH), "{name}");
    let kinds = order(S::DEPTH, version).into_iter().map(|pattern| match pattern {
        Pattern::Row => "row",
        Pattern::Column => "col",
        Pattern::Window { kernel, .. } if Some(kernel as u64) == meta["conv_kernel"].as_u64() => "conv",
        other => panic!("{name}: a layer with {other}"),
    });
    let listed = meta["layer_masks"].as_array().expect("layer_masks").iter().map(|kind| kind.as_str().unwrap());
    assert!(kinds.eq(listed), "{name}: the kinds of the layers");

    let weights = fixture::open(&format!("rudalle/{name}.safetensors"));
    let mut model: Rudalle<S, f32, Cpu> = nn::build_with(&Cpu::default(), 0, |_| Init::Constant(0.0)).unwrap();
    let mut known = Vec::new();
    nn::import(&mut model, |parameter, shape| -> Result<Vec<f32>> {
        assert_eq!(weights.get(parameter).shape, shape, "{name}: {parameter}");
        known.push(parameter.to_owned());
        Ok(weights.f32(parameter))
    })
    .unwrap();
    known.sort();
    assert!(weights.names().eq(known.iter().map(String::as_str)), "{name}: the names of the state dict");

    let io = fixture::open(&format!("rudalle/{name}_io.safetensors"));
    let layout = Layout { text: S::Text::SIZE, grid: S::Grid::SIZE };
    let (mut text, mut image) = (Vec::new(), Vec::new());
    for row in io.ids("input_ids").chunks(layout.sequence()) {
        text.extend_from_slice(&row[..layout.text]);
        image.extend_from_slice(&row[layout.text..]);
    }
    let masks = masks(S::DEPTH, layout, version);
    let weight = number("loss_img_weight") as f32;
    Case { name: name.to_owned(), version, weight, masks, model, batch: io.get("input_ids").shape[0], io, text, image }
}

impl<S: RudalleShape> Case<S> {
    fn tokens(&self) -> Tokens<'_> {
        Tokens { text: &self.text, image: &self.image }
    }
}

fn forward<S: RudalleShape>(case: &Case<S>) {
    let logits = case.model.forward(case.version, case.batch, case.tokens(), &case.masks, NoneTape).unwrap();
    assert_forward(&format!("{}: logits", case.name), &to_vec(logits).unwrap(), &case.io.get("logits").values);
}

fn loss_and_gradients<S: RudalleShape>(case: &Case<S>) {
    let mut model = case.model.clone();
    let batch = (case.batch, case.tokens());
    let losses = losses(&case.model, case.version, batch, &case.masks, case.weight, OwnedTape::default()).unwrap();
    let total = dalle::ops::scalar(&losses.total);
    for (name, got) in [("loss", total), ("loss_text", losses.text), ("loss_image", losses.image)] {
        for stored in [name.to_owned(), format!("{name}_f64")] {
            let expected = case.io.scalar(&stored);
            assert_near(&format!("{}: {stored}", case.name), &[got.into()], &[expected], 1e-5, 1e-6);
        }
    }
    let mut gradients: Gradients<f32, Cpu> = losses.total.backward();
    assert_gradients(&case.name, &case.io, &mut model, &mut gradients);
}

fn drawn_greedily<S: RudalleShape>(case: &Case<S>) {
    let (slots, sequence) = (S::Text::SIZE, S::Seq::SIZE);
    for (stored, cached) in [("greedy_cached", true), ("greedy_uncached", false)] {
        let expected = case.io.ids(stored);
        let text: Vec<u32> = expected.chunks(sequence).flat_map(|row| &row[..slots]).copied().collect();
        let codes: Vec<u32> = expected.chunks(sequence).flat_map(|row| &row[slots..]).copied().collect();
        let got = greedy(&case.model, case.version, &text, &case.masks, cached).unwrap();
        assert_eq!(got.codes, codes, "{}: {stored}", case.name);
        let expected = &case.io.get("greedy_cached_logits").values;
        assert_forward(&format!("{}: logits of {stored}", case.name), &got.logits, expected);
    }
}

/// The sampler's way through the same tokens: the text once, its keys and values shared by two pictures.
fn sampled<S: RudalleShape>(case: &Case<S>) {
    let weights = Weights::open(fixture::root().join(format!("rudalle/{}.safetensors", case.name))).unwrap();
    let model = rudalle::transformer::<S>(&weights, case.version).unwrap();
    let expected = case.io.ids("greedy_cached");
    let (text, image): (Vec<_>, Vec<_>) = expected.chunks(S::Seq::SIZE).map(|row| row.split_at(S::Text::SIZE)).unzip();
    let prompt = |text: &&[u32]| Prompt { text: text.to_vec(), seeds: vec![1, 2], forced: Vec::new() };
    let prompts: Vec<Prompt> = text.iter().map(prompt).collect();
    let likeliest = Options { temperature: 0.0, top_k: 0, top_p: 1.0, guidance: 1.0, precision: Precision::F32 };
    let got = sample(&model, &prompts, &[], &likeliest).unwrap();
    let twice: Vec<&[u32]> = image.iter().flat_map(|image| [*image; 2]).collect();
    assert_eq!(got, twice, "{}", case.name);
    let refused = rudalle::transformer::<Malevich>(&weights, case.version).err().unwrap();
    assert!(refused.to_string().contains("text_embeddings.weight: expected shape [16512, 2048]"), "{refused}");
}

/// A codec whose picture of a code is four grey pixels.
struct Grey(usize);

impl Codec for Grey {
    fn stride(&self) -> usize {
        2
    }

    fn vocabulary(&self) -> usize {
        self.0
    }

    fn encode_any(&self, [size, height, width]: [usize; 3], _: &[f32]) -> Result<Vec<u32>> {
        Ok(vec![3; size * height * width / 4])
    }

    fn decode_any(&self, [_, height, width]: [usize; 3], codes: &[u32]) -> Result<Vec<f32>> {
        let picture = |codes: &[u32]| {
            let pixel = |y: usize, x: usize| [codes[y / 2 * width + x / 2] as f32 / 255.0; 3];
            (0..2 * height).flat_map(|y| (0..2 * width).flat_map(move |x| pixel(y, x))).collect::<Vec<f32>>()
        };
        Ok(codes.chunks(height * width).flat_map(picture).collect())
    }
}

#[test]
fn captions_become_pictures_through_any_codec() {
    let weights = Weights::open(fixture::root().join("rudalle/v2_g8.safetensors")).unwrap();
    let model = || Box::new(rudalle::transformer::<Old>(&weights, Version::V2).unwrap());
    let yttm = Yttm::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/yttm/bpe.model")).unwrap();
    let refused = Generator::rudalle(model(), Box::new(Grey(25)), yttm.clone(), None).err().unwrap();
    assert!(refused.to_string().contains("draws 24 codes, the decoder knows 25"), "{refused}");
    let generator = Generator::rudalle(model(), Box::new(Grey(24)), yttm, None).unwrap();
    assert_eq!((generator.grid(), generator.side()), (8, 16));
    // Captions whose ids are below this small model's vocabulary.
    let options = Options { temperature: 1.0, top_k: 0, top_p: 1.0, guidance: 1.0, precision: Precision::F32 };
    let request = Request { candidates: 3, seed: 5, forced: Vec::new(), options };
    let draw = |captions: &[&str], request: &Request| generator.draw(captions, request, &mut |_| Ok(()));
    let drawn = draw(&["кот"], &request).unwrap();
    let [one] = &drawn[..] else { panic!("{} captions", drawn.len()) };
    assert!(one.scores.is_none() && one.pictures.iter().all(|p| (p.width, p.height) == (16, 16)));
    assert_eq!((one.order(), one.pictures[0] == one.pictures[1]), (vec![0, 1, 2], false));
    // What else is drawn changes nothing, and a caption that stands again goes on.
    let two = Request { candidates: 2, ..request.clone() };
    let drawn = draw(&["ток", "кот", "кот"], &two).unwrap();
    assert_eq!([0, 1, 2].map(|at| drawn[at].first), [0, 0, 2]);
    assert_eq!([&drawn[1].pictures[..], &drawn[2].pictures[..1]].concat(), one.pictures);
    let ended = generator.draw(&["кот"], &two, &mut |_| Err(dalle::Error::Usage("enough".into())));
    assert_eq!(ended.err().unwrap().exit_code(), 2);
    let forced: Vec<Option<u32>> = generator.encode(&[0.0; 16 * 16 * 3]).unwrap().into_iter().map(Some).collect();
    let given = draw(&["кот"], &Request { forced, ..request.clone() }).unwrap();
    assert!(given[0].pictures[0].rgb.iter().all(|&v| v == 3));
    let guided = Request { options: Options { guidance: 2.0, ..options }, ..request };
    assert_eq!(draw(&["кот"], &guided).err().unwrap().exit_code(), 2);
}
