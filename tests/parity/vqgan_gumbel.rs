//! VQGAN with both quantisers against its official implementation.

use crate::fixture::{self, Entry, Tensors, assert_forward, assert_near};
use dalle::Result;
use dalle::kernels::cpu::softmax;
use dalle::models::feature_map::FeatureMap;
use dalle::models::vqgan::{self, Config, QuantiserKind, Vqgan};
use serde_json::Value;
use std::collections::BTreeSet;

fn config(meta: &Value) -> Config {
    let sizes = |value: &Value| -> Vec<usize> {
        value.as_array().expect("a list").iter().map(|size| size.as_u64().expect("a size") as usize).collect()
    };
    let dd = &meta["ddconfig"];
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("not a number: {value}")) as usize;
    let multipliers = sizes(&dd["ch_mult"]);
    let resolutions = sizes(&dd["attn_resolutions"]);
    Config {
        channels: number(&dd["ch"]),
        attention: vqgan::attention_levels(multipliers.len(), number(&dd["resolution"]), &resolutions),
        multipliers,
        blocks: number(&dd["num_res_blocks"]),
        inputs: number(&dd["in_channels"]),
        outputs: number(&dd["out_ch"]),
        latent: number(&dd["z_channels"]),
        double: dd["double_z"].as_bool().expect("double_z"),
        codes: number(&meta["n_embed"]),
        embed: number(&meta["embed_dim"]),
    }
}

/// The model of the first file that has each parameter, every tensor of which must be asked for.
fn load(config: &Config, kind: QuantiserKind, files: &[&Tensors]) -> Vqgan {
    let mut left: BTreeSet<&str> = files[0].names().collect();
    let model = Vqgan::load(config, kind, &mut |name, shape| -> Result<Vec<f32>> {
        let file = files.iter().find(|file| file.names().any(|known| known == name));
        let file = file.unwrap_or_else(|| panic!("no tensor {name}"));
        assert_eq!(file.get(name).shape, shape, "{name}");
        left.remove(name);
        Ok(file.f32(name))
    })
    .unwrap();
    assert!(left.is_empty(), "parameters that the model does not have: {left:?}");
    model
}

/// A stored picture or map, channels last.
fn map(entry: &Entry) -> FeatureMap {
    let [batch, channels, height, width] = entry.shape[..] else { panic!("{:?}", entry.shape) };
    let values = entry.channels_last().into_iter().map(|value| value as f32).collect();
    FeatureMap::new([batch, height, width, channels], values).unwrap()
}

struct Case {
    name: &'static str,
    model: Vqgan,
    io: Tensors,
}

impl Case {
    #[track_caller]
    fn near(&self, what: &str, got: &FeatureMap) {
        let expected = self.io.get(&format!("{}.{what}", self.name));
        assert_forward(&format!("{}.{what}", self.name), &got.values, &expected.channels_last());
    }

    #[track_caller]
    fn ids(&self, what: &str, got: &[u32]) {
        let name = format!("{}.{what}", self.name);
        assert_eq!(got, self.io.ids(&name), "{name}");
    }

    #[track_caller]
    fn scalar(&self, what: &str, got: f64) {
        let name = format!("{}.{what}", self.name);
        assert_near(&name, &[got], &[self.io.scalar(&name)], 1e-5, 1e-12);
    }

    /// Decodes the stored codes.
    fn decode(&self, codes: &str) {
        let entry = self.io.get(&format!("{}.{codes}", self.name));
        let sides: [usize; 3] = entry.shape[..].try_into().expect("B, h, w");
        let codes = self.io.ids(&format!("{}.{codes}", self.name));
        let decoded = self.model.decode(&codes, sides).unwrap();
        self.near("decoder_out", &decoded);
        self.near("recon", &vqgan::picture(decoded));
    }
}

fn cases() -> (Value, Case, Case) {
    let meta = fixture::json("vqgan_gumbel/meta.json");
    let config = config(&meta);
    let open = |file: &str| fixture::open(&format!("vqgan_gumbel/{file}.safetensors"));
    let (full, extra) = (open("gumbel_vq"), open("vq_extra"));
    let gumbel = Case { name: "gumbel", model: load(&config, QuantiserKind::Gumbel, &[&full]), io: open("io") };
    let nearest = Case { name: "vq", model: load(&config, QuantiserKind::Nearest, &[&extra, &full]), io: open("io") };
    (meta, gumbel, nearest)
}

/// GumbelVQ's regulariser: the mean over positions of Σ q·ln(q·V + 10⁻¹⁰) with q the softmax of V logits, in nats, times
/// its `weight` in the configuration.
fn gumbel_divergence(logits: &FeatureMap, weight: f64) -> f64 {
    let count = logits.channels as f64;
    let mut probabilities = vec![0.0; logits.values.len()];
    softmax::forward(&logits.values, logits.channels, &mut probabilities);
    let total: f64 = probabilities.iter().map(|&q| f64::from(q) * (f64::from(q) * count + 1e-10).ln()).sum();
    weight * total * count / probabilities.len() as f64
}

/// VQModel's loss of latents z and their codes' vectors e: mean (sg(e) − z)² + `beta`·mean (e − sg(z))². The reference keeps
/// this order, which weighs the commitment by 1 and the codebook by β, for the sake of its published weights.
fn quantisation_loss(latents: &FeatureMap, quantised: &FeatureMap, beta: f64) -> f64 {
    let pairs = latents.values.iter().zip(&quantised.values);
    let total: f64 = pairs.map(|(&z, &e)| f64::from(e - z).powi(2)).sum();
    (1.0 + beta) * total / latents.values.len() as f64
}

#[test]
fn gumbel() {
    let (meta, case, _) = cases();
    let x = vqgan::mapped(map(case.io.get("image")));
    assert_forward("x", &x.values, &case.io.get("x").channels_last());
    let latents = case.model.latents(&x).unwrap();
    case.near("prequant", &latents);
    let logits = case.model.scores(&latents);
    case.near("logits", &logits);
    case.ids("argmax_indices", &vqgan::codes(&logits, None).unwrap());
    case.ids("argmax_indices", &case.model.encode(&x).unwrap());
    let noise = map(case.io.get("gumbel.noise"));
    case.ids("noisy_indices", &vqgan::codes(&logits, Some(&noise.values)).unwrap());
    let weight = meta["kl_weight"].as_f64().expect("kl_weight");
    case.scalar("kl_diff", gumbel_divergence(&logits, weight));
    case.decode("argmax_indices");
}

#[test]
fn nearest() {
    let (meta, _, case) = cases();
    let x = map(case.io.get("x"));
    let latents = case.model.latents(&x).unwrap();
    case.near("prequant", &latents);
    let codes = case.model.encode(&x).unwrap();
    case.ids("indices", &codes);
    let quantised = case.model.lookup(&codes, [latents.batch, latents.height, latents.width]).unwrap();
    let beta = meta["vq_beta"].as_f64().expect("vq_beta");
    case.scalar("loss", quantisation_loss(&latents, &quantised, beta));
    case.decode("indices");
}

#[test]
fn every_stored_tensor_is_compared() {
    let known = [
        "image",
        "x",
        "gumbel.prequant",
        "gumbel.logits",
        "gumbel.argmax_indices",
        "gumbel.noise",
        "gumbel.noisy_indices",
        "gumbel.kl_diff",
        "gumbel.decoder_out",
        "gumbel.recon",
        "vq.prequant",
        "vq.indices",
        "vq.loss",
        "vq.decoder_out",
        "vq.recon",
    ];
    let io = fixture::open("vqgan_gumbel/io.safetensors");
    let unknown: Vec<&str> = io.names().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "no test compares {unknown:?}");
}

#[test]
fn wrong_grids_and_pictures_are_refused() {
    let (_, case, _) = cases();
    let x = map(case.io.get("x"));
    let narrow = FeatureMap::new([1, x.height, x.width - 1, 3], x.values[..x.height * (x.width - 1) * 3].to_vec());
    for error in [
        case.model.encode(&narrow.unwrap()).unwrap_err(),
        case.model.decode(&[0; 3], [1, 2, 2]).unwrap_err(),
        case.model.decode(&[u32::MAX; 4], [1, 2, 2]).unwrap_err(),
    ] {
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}
