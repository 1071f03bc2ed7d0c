//! Every switch of a spec changes the numbers of the stage that it belongs to, and of none before.

use crate::support::{Place, facts};
use std::fs;
use std::path::Path;

const STAGES: [&str; 3] = ["dvae", "transformer", "clip"];
const SHORT: &[&str] = &["tiny.yaml", "--set", "expect=[]"];
/// Beside SHORT, so that a run takes a fraction of a second.
const STEPS: [&str; 3] = ["first_stage.steps=3", "transformer.steps=3", "clip.steps=3"];

/// A finished run of three steps a stage, with `switches`.
fn run(switches: &[&str]) -> Place {
    let place = Place::with_spec();
    let sets = STEPS.iter().chain(switches).flat_map(|set| ["--set", *set]);
    let arguments: Vec<&str> = SHORT.iter().copied().chain(sets).collect();
    place.experiment(&arguments).done();
    place
}

/// The trained weights of a stage, and their average.
fn weights(run: &Path, stage: &str) -> Vec<u8> {
    let folder = run.join("checkpoints").join(stage).join("step-3");
    ["model.safetensors", "ema.safetensors"].map(|file| fs::read(folder.join(file)).unwrap_or_default()).concat()
}

/// Asserts that `switches` change the weights from `stage` on and not before.
fn changes(base: &Place, stage: &str, switches: &[&str]) {
    let changed = run(switches);
    for earlier in STAGES.iter().take_while(|name| **name != stage) {
        assert!(weights(&base.run(), earlier) == weights(&changed.run(), earlier), "{switches:?} changes {earlier}");
    }
    assert!(weights(&base.run(), stage) != weights(&changed.run(), stage), "{switches:?} does not change {stage}");
}

#[test]
fn of_the_first_stage() {
    let base = run(&[]);
    for switches in [
        &["first_stage.straight_through=true"][..],
        &["first_stage.precision=bf16"],
        &["first_stage.clamp_log_b=0.1"],
        &["first_stage.temperature.from=0.5"],
        &["first_stage.kl_weight.from=3"],
        &["first_stage.batch=4"],
        &["first_stage.ema.decay=0.05"],
        &["first_stage.optimizer.method=adamw"],
        &["first_stage.optimizer.beta1=0.5"],
        &["first_stage.optimizer.beta2=0.5"],
        &["first_stage.optimizer.weight_decay=0.5"],
        &["first_stage.optimizer.epsilon=0.001"],
        &["first_stage.optimizer.clip=0.001"],
        &["first_stage.optimizer.max_variance=1e-9"],
        &["first_stage.optimizer.lr.warmup=2"],
        &["first_stage.optimizer.lr.curve=linear"],
        &["data.flip=true"],
    ] {
        changes(&base, "dvae", switches);
    }
}

#[test]
fn of_the_transformer_and_of_clip() {
    let base = run(&[]);
    for switches in [
        &["transformer.attention=[row, col]"][..],
        &["transformer.precision=bf16"],
        &["data.flip_pairs=true"],
        &["transformer.conv_kernel=1"],
        &["transformer.text_weight=0.5"],
        &["transformer.pad_loss=false"],
        &["transformer.caption_dropout=0.9"],
        &["transformer.optimizer.method=adamw"],
        &["text.dropout=0.5"],
        &["text.vocabulary=50"],
    ] {
        changes(&base, "transformer", switches);
    }
    changes(&base, "clip", &["clip.optimizer.method=adamw"]);
    changes(&base, "clip", &["clip.max_scale=1"]);
    changes(&base, "clip", &["clip.reconstructed=0.5"]);
    changes(&base, "clip", &["clip.precision=bf16"]);
    let products = facts(&run(&["clip.precision=bf16"]).run())["products"].clone();
    assert_eq!((&products["clip"]["factors"], &products["transformer"]), (&"bf16".into(), &serde_json::Value::Null));
    assert!(products["clip"]["unit"].is_string(), "{products}");
}

#[test]
fn of_the_vqvae_and_of_sampling() {
    let vqvae = ["first_stage.kind=vqvae", "first_stage.commitment=0.25"];
    let [base, changed] = [vqvae, ["first_stage.kind=vqvae", "first_stage.commitment=4"]].map(|sets| run(&sets));
    assert!(weights(&base.run(), "vqvae") != weights(&changed.run(), "vqvae"));

    // Without an average the transformer has learned something after three steps.
    let learned = ["transformer.ema.decay=0", "transformer.optimizer.lr={from: 0.02, to: 0.02}"];
    let base = run(&learned);
    let switches = [
        "sample.temperature=0.2",
        "sample.top_k=1",
        "sample.top_p=0.1",
        "sample.candidates=3",
        "evaluate.captions=tuning",
    ];
    for switch in switches {
        let changed = run(&[learned[0], learned[1], switch]);
        let drawn = |place: &Place| fs::read(place.run().join("images/samples.json")).unwrap();
        assert!(drawn(&base) != drawn(&changed), "{switch}");
        assert!(weights(&base.run(), "clip") == weights(&changed.run(), "clip"), "{switch}");
    }
    let pairs = |place: &Place| facts(&place.run())["results"]["attribute_accuracy"]["pairs"]["chance"]["n"].as_u64();
    assert_eq!((pairs(&base), pairs(&run(&["evaluate.two_objects=2"]))), (Some(4), Some(2)));
}
