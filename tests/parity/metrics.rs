//! Measures against the golden ones, in f64: Fréchet distance, inception score, CLIP score, PSNR, SSIM, codebook use.

use crate::fixture::{self, assert_near};
use dalle::evaluate::clip_score::{clip_score, cosines, percent, percent_of_mean, similarities};
use dalle::evaluate::frechet::Moments;
use dalle::evaluate::inception_score::{inception_scores, mean_and_deviation};
use dalle::evaluate::similarity::{Window, grey, psnr, ssim};
use dalle::inference::first_stage::usage;
use dalle::kernels::cpu::argmax;
use serde_json::Value;

const EXACT: f64 = 1e-10;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list")).iter().map(number).collect()
}

/// The cases that `metrics/meta.json` lists under `key`; at least one.
fn cases(key: &str) -> Vec<(String, Value)> {
    let meta = fixture::json("metrics/meta.json");
    let cases = meta[key].as_object().unwrap_or_else(|| panic!("no {key} in metrics/meta.json"));
    assert!(!cases.is_empty(), "{key}");
    cases.iter().map(|(name, case)| (name.clone(), case.clone())).collect()
}

#[test]
fn every_listed_measure_has_a_test() {
    for name in fixture::json("metrics/meta.json").as_object().expect("a map").keys() {
        let known = ["numpy", "scipy", "skimage", "fid", "inception", "clip", "image", "codebook"];
        assert!(known.contains(&name.as_str()), "no test covers {name}");
    }
}

#[test]
fn frechet_distances() {
    let stored = fixture::open("metrics/fid.safetensors");
    for (name, case) in cases("fid") {
        let width = case["dim"].as_u64().expect("dim") as usize;
        let side = |side: &str| {
            let entry = |what: &str| &stored.get(&format!("{name}.{what}{side}")).values;
            let moments = Moments::of(entry("f"), width).expect("features");
            assert_near(&format!("{name}: mean"), &moments.mean, entry("mu"), EXACT, 1e-14);
            assert_near(&format!("{name}: covariance"), &moments.covariance, entry("sigma"), EXACT, 0.0);
            moments
        };
        let got = side("1").frechet_distance(&side("2")).expect("a distance");
        // Of eigenvalues that should be 0 the reference takes the root of their rounding, which is 1e-8 of the whole.
        let deficient = case["n1"].as_u64() <= case["dim"].as_u64() || case["n2"].as_u64() <= case["dim"].as_u64();
        let tolerance = if deficient { 1e-7 } else { EXACT };
        let scale = number(&case["mean_term"]) + number(&case["tr1"]) + number(&case["tr2"]);
        assert_near(&name, &[got], &[number(&case["fid_symmetric_eig"])], 0.0, tolerance * scale);
        assert_near(&name, &[got], &[number(&case["fid_scipy_sqrtm"])], 0.0, tolerance * scale);
    }
}

#[test]
fn inception_scores_of_every_split() {
    let stored = fixture::open("metrics/inception.safetensors");
    let probabilities = stored.get("probs");
    let classes = probabilities.shape[1];
    for (row, logits) in probabilities.values.chunks(classes).zip(stored.get("logits").values.chunks(classes)) {
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let softmax: Vec<f64> = logits.iter().map(|logit| logit.exp() / total).collect();
        assert_near("probabilities", row, &softmax, EXACT, 0.0);
    }
    for (name, case) in cases("inception") {
        let splits = case["splits"].as_u64().expect("splits") as usize;
        let scores = inception_scores(&probabilities.values, classes, splits);
        assert_near(&name, &scores, &numbers(&case["scores"]), EXACT, 0.0);
        let (mean, deviation) = mean_and_deviation(&scores);
        assert_near(&name, &[mean, deviation], &[number(&case["mean"]), number(&case["std"])], EXACT, 0.0);
    }
}

#[test]
fn clip_scores_in_all_forms() {
    let stored = fixture::open("metrics/clip_score.safetensors");
    let (images, texts) = (stored.get("image_embeds"), stored.get("text_embeds"));
    let width = images.shape[1];
    let found = cosines(&images.values, &texts.values, width);
    assert_near("cosine", &found, &stored.get("cosine").values, EXACT, 0.0);
    let matrix = similarities(&images.values, &texts.values, width);
    assert_near("similarity_matrix", &matrix, &stored.get("similarity_matrix").values, EXACT, 0.0);
    for (name, expected) in cases("clip") {
        let got = match name.as_str() {
            "hessel_w2_5_mean" => clip_score(&found),
            "torchmetrics_100_mean_of_clipped" => percent(&found),
            "torchmetrics_100_clip_of_mean" => percent_of_mean(&found),
            "retrieval_top1_text_for_image" => {
                let best: Vec<f64> = matrix.chunks(texts.shape[0]).map(|row| argmax(row) as f64).collect();
                assert_eq!(best, numbers(&expected), "{name}");
                continue;
            }
            _ => panic!("no test covers clip.{name}"),
        };
        assert_near(&name, &[got], &[number(&expected)], EXACT, 0.0);
    }
}

/// Height, width, channels, and the values in [0, 1].
fn picture(path: &str) -> ([usize; 3], Vec<f64>) {
    let picture = image::load_from_memory(&fixture::bytes(path)).expect("a picture").into_rgb8();
    let shape = [picture.height() as usize, picture.width() as usize, 3];
    (shape, picture.into_raw().into_iter().map(|byte| f64::from(byte) / 255.0).collect())
}

#[test]
fn psnr_and_ssim_of_every_pair() {
    for (name, case) in cases("image") {
        let (shape, a) = picture(&format!("metrics/{name}_a.png"));
        let (other, b) = picture(&format!("metrics/{name}_b.png"));
        assert_eq!(shape, other, "{name}");
        let flat = [shape[0], shape[1], 1];
        let channel = |of: &[f64], channel: usize| of.iter().skip(channel).step_by(3).copied().collect::<Vec<_>>();
        for (key, expected) in case.as_object().expect("a map") {
            let got = match key.as_str() {
                "size_hw" => shape[..2].iter().map(|&side| side as f64).collect(),
                "mse_255" => vec![255f64.powi(2) * 10f64.powf(-psnr(&a, &b) / 10.0)],
                "l1_255" => vec![a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f64>() * 255.0 / a.len() as f64],
                "psnr_data_range_255" => vec![psnr(&a, &b)],
                "ssim_uniform7_default" => vec![ssim(&a, &b, shape, Window::Uniform)],
                "ssim_gaussian_wang" => vec![ssim(&a, &b, shape, Window::Gaussian)],
                "ssim_gaussian_wang_gray" => vec![ssim(&grey(&a), &grey(&b), flat, Window::Gaussian)],
                "ssim_gaussian_wang_per_channel" => {
                    let one = |c: usize| ssim(&channel(&a, c), &channel(&b, c), flat, Window::Gaussian);
                    (0..3).map(one).collect()
                }
                _ => panic!("no test covers {name}.{key}"),
            };
            let expected = if expected.is_array() { numbers(expected) } else { vec![number(expected)] };
            assert_near(&format!("{name}.{key}"), &got, &expected, EXACT, 0.0);
        }
    }
}

#[test]
fn codebook_use_and_perplexity() {
    let meta = &fixture::json("metrics/meta.json")["codebook"];
    let tokens: Vec<u32> = numbers(&meta["tokens"]).into_iter().map(|token| token as u32).collect();
    let vocabulary = number(&meta["vocab"]);
    let (used, perplexity) = usage(&tokens, vocabulary as usize);
    assert_eq!(used as f64, number(&meta["used"]));
    assert_eq!(used as f64 / vocabulary, number(&meta["usage"]));
    assert_near("perplexity", &[perplexity], &[number(&meta["perplexity"])], EXACT, 0.0);
}
