//! `experiment eval` on a tiny run.

#[cfg(feature = "onnx")]
#[path = "../onnx/mod.rs"]
mod onnx;

use crate::support::*;
#[cfg(feature = "onnx")]
use serde_json::Value;
#[cfg(feature = "onnx")]
use std::fs;

#[cfg(feature = "onnx")]
#[test]
fn a_run_is_measured_and_the_report_shows_it() {
    let place = Place::with_run().write("means.onnx", onnx::means(8));
    let eval = ["eval", "results/tiny", "--pairs", "12", "--network", "means.onnx", "--resamples", "3"];
    let said = place.experiment(&[&eval[..], &["--coco"]].concat());
    let report = fs::read_to_string(place.path(said.done().last().unwrap())).unwrap();
    assert!(
        report.contains("FID-like (means), radius 8") && !report.contains("CogView"),
        "only an FID has published peers"
    );
    assert!(report.contains("left out"));
    let found: Value = serde_json::from_slice(&fs::read(place.run().join("evaluation.json")).unwrap()).unwrap();
    let set = &found["sets"]["validation"];
    for figure in ["psnr", "ssim", "joint_nats", "first_stage_hard_elbo_nats_per_dim"] {
        let at = |end: &str| set[figure][end].as_f64().unwrap();
        assert!(at("low") < at("value") && at("value") < at("high"), "{figure}: {}", set[figure]);
    }
    assert!(set["codes_in_use"].is_u64());
    assert_eq!(set["samples"]["retrieval_of_captions"]["at_5"]["n"], 12);
    let similarity = set["samples"]["similarity"]["value"].as_f64().unwrap();
    assert!((-100.0..=100.0).contains(&similarity) && similarity.abs() > 2.5, "{similarity}");
    assert!(set["samples"].get("clip_score").is_none(), "the run's own CLIP has never read the score's prefix");
    assert!(set["joint_bits_per_value"]["value"].as_f64().unwrap() > 0.0);
    for row in set["network"]["by_radius"].as_array().unwrap() {
        assert_eq!(row["pixels"].as_f64(), row["radius"].as_f64().map(|radius| radius * 16.0 / 256.0));
        assert!(row["distance"]["value"].as_f64().unwrap() >= -1e-9 && row["distance"]["low"].is_f64());
        assert!((1.0..=2.0).contains(&row["inception_score"]["value"].as_f64().unwrap()));
    }
    // The same again.
    let before = fs::read(place.run().join("evaluation.json")).unwrap();
    place.experiment(&[&eval[..], &["--coco"]].concat()).done();
    assert_eq!(fs::read(place.run().join("evaluation.json")).unwrap(), before);
}

#[test]
fn wrong_arguments_are_refused() {
    let place = Place::with_run().write("a.onnx", "no network");
    place.experiment(&["eval", "nowhere"]).failed(4, "nowhere");
    place.experiment(&["eval", "results/tiny", "--clip", "a.onnx"]).failed(4, "a.onnx");
    let eval = ["eval", "results/tiny", "--network", "a.onnx", "--side", "8"];
    place.experiment(&[&eval[..], &["--mean", "1,2"]].concat()).failed(2, "--mean");
    place.experiment(&[&eval[..], &["--std", "0"]].concat()).failed(2, "--std");
}

#[cfg(not(feature = "onnx"))]
#[test]
fn a_network_is_refused_with_the_feature_that_brings_it() {
    let place = Place::with_run().write("a.onnx", "no network");
    place.experiment(&["eval", "results/tiny", "--network", "a.onnx"]).failed(2, "build it with --features onnx");
}

#[cfg(feature = "onnx")]
#[test]
fn wrong_networks_are_refused() {
    let place = Place::with_run().write("means.onnx", onnx::means(0));
    let eval = ["eval", "results/tiny", "--network"];
    place.experiment(&[&eval[..], &["means.onnx"]].concat()).failed(2, "say which");
    place.experiment(&[&eval[..], &["missing.onnx"]].concat()).failed(4, "missing.onnx");
}
