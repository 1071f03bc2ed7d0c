//! Losses, the optimiser and the schedules against the golden ones, in f64 to a relative 1e-10: logit-Laplace, Gumbel-softmax,
//! KL to the uniform prior, the bound, weighted cross-entropy, AdamW with clipping and moving average, and every curve.
//!
//! The files hold (B, V, H, W); here the channels come last, as rows (B·H·W, V).

use crate::fixture::{self, Entry, Tensors, assert_near, open};
use dalle::kernels::cpu::adamw::{self, AdamW};
use dalle::kernels::cpu::laplace;
use dalle::models::dvae::{reconstruction, squash};
use dalle::ops::{CrossEntropyOp, GumbelOp, LaplaceOp, scalar, to_vec};
use dalle::spec::{Curve, Schedule, TransformerConfig};
use dfdx::prelude::*;
use serde_json::Value;

const EXACT: f64 = 1e-10;

#[track_caller]
fn assert_exact(what: &str, got: &[f64], expected: &[f64]) {
    assert_near(what, got, expected, EXACT, 0.0);
}

fn meta() -> Value {
    fixture::json("losses/meta.json")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// The prefixes that the names of `file` have before a dot, such as `tau0.5`, with the number that follows `word`.
fn prefixes(file: &Tensors, word: &str) -> Vec<(String, f64)> {
    let mut found: Vec<String> = file
        .names()
        .filter(|name| name.starts_with(word))
        .filter_map(|name| name.rsplit_once('.'))
        .map(|(prefix, _)| prefix.to_owned())
        .collect();
    found.dedup();
    assert!(!found.is_empty(), "no case of {word}");
    found.into_iter().map(|prefix| (prefix.clone(), prefix[word.len()..].parse().expect("a number"))).collect()
}

type Leaf = Tensor<(usize, usize), f64, Cpu>;
type Scalar = Tensor<(), f64, Cpu, OwnedTape<f64, Cpu>>;

/// (B, V, H, W) as rows of V.
fn rows(entry: &Entry) -> Leaf {
    Cpu::default().tensor_from_vec(entry.channels_last(), (entry.values.len() / entry.shape[1], entry.shape[1]))
}

/// The gradient of `loss` with respect to `leaf`, as rows.
fn gradient(loss: Scalar, leaf: &Leaf) -> Vec<f64> {
    to_vec(loss.backward().get(leaf)).expect("the CPU")
}

fn values<S: dalle::shape::Ranked, T: Tape<f64, Cpu>>(x: &Tensor<S, f64, Cpu, T>) -> Vec<f64> {
    to_vec(x.with_empty_tape().split_tape().0).expect("the CPU")
}

/// Pictures of bytes, as φ(x) with the channels last.
fn pictures(entry: &Entry) -> Vec<f64> {
    squash(&entry.channels_last().iter().map(|byte| byte / 255.0).collect::<Vec<f64>>())
}

/// −ln f(x) of each picture, with the statistics as leaf.
fn laplace_of(stats: &Entry, x: &[f64]) -> (Leaf, Tensor<(usize,), f64, Cpu, OwnedTape<f64, Cpu>>) {
    let [batch, channels, height, width] = stats.shape[..] else { panic!("not four axes") };
    let leaf = rows(stats);
    let traced = leaf.leaky_trace().reshape_like(&(batch, height, width, channels));
    let nll = Cpu::logit_laplace(traced, x.to_vec(), None).expect("the CPU");
    (leaf, nll)
}

#[test]
fn every_listed_case_has_a_test() {
    let covered = |name: &str| ["torch", "note", "kl", "elbo", "clip"].contains(&name) || name.starts_with("adamw_");
    for name in meta().as_object().expect("a map").keys() {
        assert!(covered(name), "no test covers {name}");
    }
    let files = ["clip_grad_norm", "elbo", "gumbel_softmax", "kl_uniform", "logit_laplace", "weighted_ce"];
    for entry in std::fs::read_dir(fixture::root().join("losses")).expect("the folder losses") {
        let name = entry.expect("a file").file_name().into_string().expect("UTF-8");
        if let Some(case) = name.strip_suffix(".safetensors") {
            let known = files.contains(&case) || meta().get(case).is_some();
            assert!(known, "no test covers losses/{name}");
        }
    }
}

#[test]
fn logit_laplace() {
    let file = open("losses/logit_laplace.safetensors");
    let (stats, x) = (file.get("x_stats"), pictures(file.get("pixels_u8")));
    assert_exact("x_mapped", &x, &file.get("x_mapped").channels_last());
    let mut nll = vec![0.0; x.len()];
    laplace::forward(&x, &stats.channels_last(), stats.shape[1] / 2, None, &mut nll);
    assert_exact("nll_elementwise", &nll, &file.get("nll_elementwise").channels_last());

    let (leaf, sums) = laplace_of(stats, &x);
    assert_exact("nll_sum_per_image", &values(&sums), &file.get("nll_sum_per_image").values);
    let mean = sums.sum::<(), _>() / x.len() as f64;
    assert_exact("nll_mean", &[scalar(&mean)], &file.get("nll_mean").values);
    let expected = file.get("grad_of_mean_wrt_x_stats").channels_last();
    assert_exact("grad_of_mean_wrt_x_stats", &gradient(mean, &leaf), &expected);
    let picture = reconstruction(&stats.channels_last());
    assert_exact("recon_from_mu", &picture, &file.get("recon_from_mu").channels_last());
}

#[test]
fn gumbel_softmax_soft_and_straight_through() {
    let file = open("losses/gumbel_softmax.safetensors");
    let (noise, weight) = (file.get("gumbel").channels_last(), rows(file.get("weight")));
    let drawn: Vec<f64> = file.get("uniform").channels_last().iter().map(|u| -(-u.ln()).ln()).collect();
    assert_exact("gumbel", &drawn, &noise);
    for (case, tau) in prefixes(&file, "tau") {
        let expected = |what: &str| file.get(&format!("{case}.{what}")).channels_last();
        for (hard, value, slope) in [(false, "soft", "grad_soft"), (true, "hard", "grad_straight_through")] {
            let leaf = rows(file.get("logits"));
            let z = Cpu::relax(leaf.leaky_trace(), noise.clone(), tau, hard).expect("the CPU").0;
            assert_exact(&format!("{case}.{value}"), &values(&z), &expected(value));
            if !hard {
                let log: Vec<f64> = values(&z).iter().map(|z| z.ln()).collect();
                assert_exact(&format!("{case}.log_soft"), &log, &expected("log_soft"));
            }
            let loss = (z * weight.clone()).sum::<(), _>();
            assert_exact(&format!("{case}.{slope}"), &gradient(loss, &leaf), &expected(slope));
        }
    }
}

#[test]
fn kl_to_the_uniform_prior() {
    let file = open("losses/kl_uniform.safetensors");
    let leaf = rows(file.get("logits"));
    let kl = Cpu::kl_uniform(leaf.leaky_trace()).expect("the CPU");
    let each = values(&kl);
    assert_exact("kl_per_position", &each, &file.get("kl_per_position").values);
    let pictures = file.get("kl_per_image").values.len();
    let sums: Vec<f64> = each.chunks(each.len() / pictures).map(|picture| picture.iter().sum()).collect();
    assert_exact("kl_per_image", &sums, &file.get("kl_per_image").values);
    let total = kl.sum::<(), _>();
    let sum = scalar(&total);
    assert_exact("kl_mean_over_batch", &[sum / pictures as f64], &file.get("kl_mean_over_batch").values);
    assert_exact("kl_mean_over_positions", &[sum / each.len() as f64], &file.get("kl_mean_over_positions").values);
    let expected = file.get("grad_of_total_sum_wrt_logits").channels_last();
    assert_exact("grad_of_total_sum_wrt_logits", &gradient(total, &leaf), &expected);
    // What dalle-pytorch takes for a mean over the batch is the sum over everything.
    assert_exact("dalle_pytorch_value", &[sum], &file.get("dalle_pytorch_value").values);
    for (name, expected) in meta()["kl"].as_object().expect("kl") {
        let got = match name.as_str() {
            "dalle_pytorch_batchmean_call" | "total_sum" => sum,
            "true_batchmean" | "sum_over_batch" => sum / pictures as f64,
            _ => panic!("no test covers kl.{name}"),
        };
        assert_exact(name, &[got], &[number(expected)]);
    }
}

#[test]
fn the_bound_for_every_beta() {
    let file = open("losses/elbo.safetensors");
    let x = pictures(file.get("pixels_u8"));
    let cases = prefixes(&file, "beta");
    for name in meta()["elbo"].as_object().expect("elbo").keys() {
        assert!(cases.iter().any(|(case, _)| case == name), "no test covers elbo.{name}");
    }
    for (case, beta) in cases {
        let (stats, nll) = laplace_of(file.get("x_stats"), &x);
        assert_exact("recon_nll_per_image", &values(&nll), &file.get("recon_nll_per_image").values);
        let logits = rows(file.get("enc_logits"));
        let kl = Cpu::kl_uniform(logits.leaky_trace()).expect("the CPU");
        let each = values(&kl);
        let batch = file.get("kl_per_image").values.len();
        let sums: Vec<f64> = each.chunks(each.len() / batch).map(|picture| picture.iter().sum()).collect();
        assert_exact("kl_per_image", &sums, &file.get("kl_per_image").values);

        // As the dVAE's step has it: sums over everything, divided by the number of values.
        let nll = nll.sum::<(), _>() / x.len() as f64;
        let kl = kl.sum::<(), _>() * (beta / x.len() as f64);
        let loss = scalar(&nll) + scalar(&kl);
        assert_exact(&case, &[loss], &file.get(&format!("{case}.loss")).values);
        assert_exact(&case, &[loss], &[number(&meta()["elbo"][&case]["loss"])]);
        let weight = beta * each.len() as f64 / x.len() as f64;
        assert_exact(&case, &[weight], &[number(&meta()["elbo"][&case]["kl_weight_on_mean_kl"])]);
        let expected = file.get(&format!("{case}.grad_enc_logits")).channels_last();
        assert_exact(&format!("{case}.grad_enc_logits"), &gradient(kl, &logits), &expected);
        assert_exact("grad_x_stats", &gradient(nll, &stats), &file.get("grad_x_stats").channels_last());
    }
}

#[test]
fn cross_entropy_of_text_and_image_by_the_default_weights() {
    let file = open("losses/weighted_ce.safetensors");
    let share = TransformerConfig::default().text_weight;
    let mut total = 0.0;
    for (part, share) in [("text", share), ("image", 1.0 - share)] {
        let logits = file.get(&format!("{part}_logits"));
        let width = logits.shape[2];
        let leaf: Leaf = Cpu::default().tensor_from_vec(logits.values.clone(), (logits.values.len() / width, width));
        let targets = file.ids(&format!("{part}_targets"));
        let loss = Cpu::cross_entropy(leaf.leaky_trace(), &targets).expect("the CPU").mean::<(), _>();
        let value = scalar(&loss);
        assert_exact(part, &[value], &file.get(&format!("loss_{part}")).values);
        total += share * value;
        let name = format!("grad_{part}_logits");
        assert_exact(&name, &gradient(loss * share, &leaf), &file.get(&name).values);
    }
    assert_exact("loss", &[total], &file.get("loss").values);
}

/// One parameter of the linear model that AdamW is run on.
struct Parameter {
    name: &'static str,
    weights: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
    average: Vec<f64>,
}

impl Parameter {
    fn of(file: &Tensors, name: &'static str) -> Self {
        let weights = file.get(&format!("{name}0")).values.clone();
        let zeros = vec![0.0; weights.len()];
        Parameter { name, average: weights.clone(), mean: zeros.clone(), variance: zeros, weights }
    }
}

/// mean over rows of Σ (X·Wᵀ + b − Y)²
fn linear_loss(file: &Tensors, weights: &[f64], bias: &[f64]) -> f64 {
    let (x, y) = (file.get("X"), file.get("Y"));
    let (inputs, outputs) = (x.shape[1], y.shape[1]);
    let row = |(x, y): (&[f64], &[f64])| {
        let output = |o: usize| x.iter().zip(&weights[o * inputs..]).map(|(x, w)| x * w).sum::<f64>() + bias[o];
        (0..outputs).map(|o| (output(o) - y[o]).powi(2)).sum::<f64>()
    };
    x.values.chunks(inputs).zip(y.values.chunks(outputs)).map(row).sum::<f64>() / x.shape[0] as f64
}

#[test]
fn adamw_with_clipping_and_average() {
    let meta = meta();
    let cases: Vec<_> =
        meta.as_object().expect("a map").iter().filter(|(name, _)| name.starts_with("adamw_")).collect();
    assert!(!cases.is_empty());
    for (case, constants) in cases {
        let file = open(&format!("losses/{case}.safetensors"));
        let mut parameters = [Parameter::of(&file, "W"), Parameter::of(&file, "b")];
        let log = constants["log"].as_array().expect("a log");
        assert!(!log.is_empty(), "{case}");
        for entry in log {
            let step = entry["step"].as_u64().expect("a step");
            let what = |what: &str| format!("{case}: {what}, step {step}");
            let loss = linear_loss(&file, &parameters[0].weights, &parameters[1].weights);
            assert_exact(&what("loss"), &[loss], &[number(&entry["loss"])]);
            let gradient = |p: &Parameter| file.get(&format!("g{}{step}", p.name)).values.clone();
            let norm = parameters.iter().map(|p| adamw::sum_of_squares(&gradient(p))).sum::<f64>().sqrt();
            let grad_scale = match constants["clip_norm"].as_f64() {
                Some(limit) => {
                    assert_exact(&what("norm"), &[norm], &[number(&entry["grad_norm"])]);
                    adamw::clip_scale(norm, limit)
                }
                None => 1.0,
            };
            for parameter in &mut parameters {
                let (name, g) = (parameter.name, gradient(parameter));
                if constants["clip_norm"].is_number() {
                    let clipped: Vec<f64> = g.iter().map(|g| g * grad_scale).collect();
                    assert_exact(&what("clipped"), &clipped, &file.get(&format!("g{name}{step}_clipped")).values);
                }
                let constants_of_step = AdamW {
                    lr: number(&constants["lr"]),
                    beta1: number(&constants["beta1"]),
                    beta2: number(&constants["beta2"]),
                    epsilon: number(&constants["eps"]),
                    weight_decay: number(&constants["weight_decay"]),
                    step,
                    grad_scale,
                    max_variance: None,
                };
                let Parameter { weights, mean, variance, average, .. } = parameter;
                adamw::update(constants_of_step, weights, &g, mean, variance);
                adamw::average(number(&constants["ema_decay"]), average, weights);
                let stored = |prefix: &str| file.get(&format!("{prefix}{name}{step}")).values.clone();
                assert_exact(&what(name), weights, &stored(""));
                assert_exact(&what("moving average"), average, &stored("ema"));
                // The bias's moments are not stored.
                if file.names().any(|stored| stored == format!("m{name}{step}")) {
                    assert_exact(&what("mean"), mean, &stored("m"));
                    assert_exact(&what("variance"), variance, &stored("v"));
                }
            }
        }
    }
}

#[test]
fn clipping_of_the_global_norm() {
    let (file, meta) = (open("losses/clip_grad_norm.safetensors"), meta());
    let gradients: Vec<(&str, Vec<f64>)> =
        file.names().filter(|name| !name.contains('.')).map(|name| (name, file.get(name).values.clone())).collect();
    let norm = gradients.iter().map(|(_, g)| adamw::sum_of_squares(g)).sum::<f64>().sqrt();
    let cases = prefixes(&file, "max");
    for name in meta["clip"].as_object().expect("clip").keys() {
        assert!(cases.iter().any(|(case, _)| case == name), "no test covers clip.{name}");
    }
    for (case, limit) in cases {
        let scale = adamw::clip_scale(norm, limit);
        let expected = &meta["clip"][&case];
        assert_exact(&case, &[norm, scale], &[number(&expected["total_norm"]), number(&expected["torch_factor"])]);
        for (name, gradient) in &gradients {
            let clipped: Vec<f64> = gradient.iter().map(|g| g * scale).collect();
            assert_exact(&format!("{case}.{name}"), &clipped, &file.get(&format!("{case}.{name}")).values);
        }
    }
}

#[test]
fn every_schedule() {
    let schedules = fixture::json("losses/schedules.json");
    assert!(!schedules.as_object().expect("a map").is_empty());
    for (name, case) in schedules.as_object().expect("a map") {
        let formula = case["formula"].as_str().expect("a formula");
        let steps = case["steps"].as_u64().expect("steps");
        // By the formula's shape: a cosine, a warm-up to a peak, a line.
        let (from, to, curve) = match () {
            () if formula.contains("cos(pi") => (number(&case["start"]), number(&case["end"]), Curve::Cosine),
            () if formula.starts_with("peak*") => (0.0, number(&case["peak"]), Curve::Linear),
            () if formula.starts_with("start+(end-start)*min") => {
                (number(&case["start"]), number(&case["end"]), Curve::Linear)
            }
            () => panic!("no test covers {name}: {formula}"),
        };
        let schedule = Schedule { from, to, steps, curve, warmup: 0 };
        // A warm-up of ours counts the updates from 1, so that the first one moves too.
        let warmup = Schedule { from: to, to, steps: 0, curve, warmup: steps };
        for point in case["table"].as_array().expect("a table") {
            let (step, expected) = (point[0].as_u64().expect("a step"), number(&point[1]));
            let scale = EXACT * from.abs().max(to.abs());
            assert_near(&format!("{name} at {step}"), &[schedule.at(step, 0)], &[expected], EXACT, scale * 1e-4);
            if formula.starts_with("peak*") && step > 0 {
                assert_near(&format!("{name} before {step}"), &[warmup.at(step - 1, 0)], &[expected], EXACT, 0.0);
            }
        }
    }
}
