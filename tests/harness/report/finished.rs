//! What a finished run leaves behind, made up: three stages, and a caption that tries to break out.

use super::HOSTILE;
use dalle::data::Picture;
use dalle::random::Rng;
use dalle::report::grid::png;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Writes what a finished run leaves behind, with three stages and a caption that tries to break out.
pub fn finished_run(run: &Path) {
    fs::create_dir_all(run.join("images")).unwrap();
    fs::write(run.join("run.json"), facts("done").to_string()).unwrap();
    fs::write(run.join("metrics.jsonl"), metrics()).unwrap();
    fs::write(run.join("spec.yaml"), format!("# the quickstart\nname: quickstart\npreset: mini\nnote: {HOSTILE}\n"))
        .unwrap();
    let resolved = "name: quickstart\npreset: mini\nseed: 7\nfirst_stage: {batch: 16}\ntransformer: {batch: 32}\n";
    fs::write(run.join("spec.resolved.yaml"), resolved).unwrap();
    fs::write(run.join("images/samples.json"), samples(run).to_string()).unwrap();
    fs::write(run.join("images/reconstructions.json"), reconstructions(run).to_string()).unwrap();
    fs::write(run.join("masks.json"), masks(24, 8).to_string()).unwrap();
    fs::create_dir_all(run.join("images/progress")).unwrap();
    for (stage, steps) in [("dvae", [1, 1500, 3000]), ("transformer", [1, 750, 1500])] {
        fs::write(run.join(format!("images/progress/{stage}.json")), progress(run, stage, &steps).to_string()).unwrap();
    }
}

/// Sheets of four rows.
fn progress(run: &Path, stage: &str, steps: &[u64]) -> Value {
    let sheet = |name: String, columns: usize| {
        let pictures: Vec<Picture> = (0..4 * columns as u64).map(|at| picture(at + steps[1])).collect();
        let file = format!("images/progress/{stage}-{name}.png");
        let rows: Vec<u8> = pictures
            .chunks(columns)
            .flat_map(|row| (0..32).flat_map(|y| row.iter().flat_map(move |p| p.rgb[96 * y..96 * (y + 1)].to_vec())))
            .collect();
        fs::write(run.join(&file), png(&Picture { width: 32 * columns, height: 128, rgb: rows }).unwrap()).unwrap();
        file
    };
    let columns = if stage == "dvae" { 1 } else { 2 };
    let list: Vec<Value> =
        steps.iter().map(|&step| json!({"step": step, "file": sheet(step.to_string(), columns)})).collect();
    json!({"captions": ["a red circle", "a blue ring", HOSTILE, "a green square in the middle"], "real": sheet("real".into(), 1), "steps": list})
}

pub fn facts(status: &str) -> Value {
    let share = |value: f64, n: u64| {
        let room = 1.96 * (value * (1.0 - value) / n as f64).sqrt();
        json!({"value": value, "low": value - room, "high": value + room, "n": n})
    };
    let row = |best: f64, one: f64, n| {
        json!({
            "best_of_8": share(best, n), "best_of_1": share(one, n), "chance": share(0.02, n), "any_of_8": share(0.9, n),
            "lenient": {"best_of_8": share(best + 0.05, n), "best_of_1": share(one + 0.1, n)},
            "by_attribute": {"shape": share(0.75, n), "colour": share(0.95, n)},
            "by_objects": {"1": share(0.8, n)}, "by_kind": {"blue square": share(0.6, 20)},
        })
    };
    let set = |psnr: f64| {
        json!({"psnr": psnr, "codes_in_use": 113, "image_token_nats": 28.41,
            "attributes_after_reconstruction": share(0.71, 256), "pairs": 256,
            "after_reconstruction": {"by_attribute": {"shape": share(0.77, 256)}}})
    };
    json!({
        "name": "quickstart", "status": status, "preset": "mini", "seeds": {"spec": 7},
        "results": {
            "attribute_accuracy": {"seen": row(0.8125, 0.53, 256), "held_out": row(0.484, 0.273, 128), "pairs": row(0.32, 0.11, 128)},
            "rerank_curve": {"n": [1, 2, 4, 8], "similarity": [21.2, 23.9, 25.6, 27.1],
                "accuracy": [0.53, 0.66, 0.75, 0.8125], "lenient_accuracy": [0.6, 0.7, 0.8, 0.86]},
            "zero_shot": {"seen": share(0.9, 170), "held_out": share(0.61, 256)},
            "elbo_validation": set(31.02), "elbo_held_out": set(29.57),
            "reconstruction": {"psnr": 24.31, "hard_elbo": -1.0423, "codes_in_use": 113},
            "elbo": {"nats_per_dim": -1.31, "bits_per_dim": -1.89},
        },
        "warnings": [{"stage": "transformer", "kind": "captions-cut", "text": "12 of 800 captions are cut & shortened"}],
        "kept": {"transformer": {"step": 750, "metric": "val_image_loss", "value": 2.71, "of": 1500}},
        "samples": {"first_stage": {"seen": 900, "used": 880, "filtered": {"aspect": 13}, "broken": {"decode": 7}}},
        "bad_samples": {"first_stage": {"by_reason": {"decode": 7}, "examples": {"decode": "IMG_9.jpg: ends early"}}},
        "captions": {"transformer": {"trained_on": {"captions": 800, "cut": 12, "tokens_read": 23, "longest": 31}}},
        "data": {"train": 900, "validation": {"validation": 100}, "held_out_share": 0.1},
        "crate_version": "0.1.0", "git": {"commit": "1f0c3a97b2", "dirty": false}, "cpu": "Example CPU", "threads": 2,
        "argv": ["experiment", "experiments/quickstart.yaml", "--set", "seed=7"],
        "timings": {"dvae": 231.5, "transformer": 187.25, "clip": 74.0, "evaluation": 12.5, "total": 510.0},
        "started": "2026-03-01T12:00:00Z",
    })
}

fn metrics() -> String {
    let mut lines = String::new();
    let mut rng = Rng::new(1, "metrics", 0, 0);
    for step in (0..=3000).step_by(10) {
        let t = step as f64 / 3000.0;
        let noise = 0.02 * rng.normal();
        let fall = (-4.0 * t).exp();
        let spike = if step == 0 { 40.0 } else { 0.0 };
        let psnr = if step % 100 == 0 { json!(14.0 + 10.0 * (1.0 - fall)) } else { Value::Null };
        let line = json!({"stage": "dvae", "step": step, "time": 230.0 * t, "loss": 1.2 + 0.8 * fall + noise + spike,
            "nll": 1.0 + 0.8 * fall + noise, "kl": 0.05 + 0.1 * (1.0 - fall), "elbo": -1.1 - 0.8 * fall + noise,
            "hard_elbo": -1.0 - 0.9 * fall, "temperature": (-2.77 * t).exp(), "kl_weight": 1.65 * (t * 30.0).min(1.0),
            "lr": 1e-3 * (0.5 + 0.5 * (3.0 * t).cos()), "relaxed_elbo": -0.9 - 0.9 * fall, "usage": (20.0 + 95.0 * (1.0 - fall)).floor(), "perplexity": 8.0 + 60.0 * (1.0 - fall),
            "psnr": psnr, "grad_norm": 0.3 * (1.0 + 8.0 * fall) * (0.4 * rng.normal()).exp()});
        writeln!(lines, "{line}").unwrap();
    }
    for step in (0..=1500).step_by(10) {
        let fall = (-3.0 * step as f64 / 1500.0).exp();
        let noise = 0.05 * rng.normal();
        let mut line = json!({"stage": "transformer", "step": step, "time": step as f64 * 0.12, "loss": 1.9 + 2.6 * fall + noise,
            "text_loss": 0.6 + 4.5 * fall + noise, "image_loss": 2.1 + 2.4 * fall + noise, "lr": 4e-4, "grad_norm": 1.0 + fall});
        if step % 150 == 0 {
            line["val_text_loss"] = json!(0.65 + 4.4 * fall);
            line["val_image_loss"] = json!(2.2 + 2.3 * fall);
        }
        writeln!(lines, "{line}").unwrap();
    }
    for step in (0..=800).step_by(10) {
        let fall = (-3.0 * step as f64 / 800.0).exp();
        let line = json!({"stage": "clip", "step": step, "time": step as f64 * 0.09, "loss": 0.4 + 3.2 * fall, "accuracy": 0.9 - 0.85 * fall,
            "val_accuracy": 0.86 - 0.82 * fall, "lr": 5e-4, "sharpness": 2.0 * fall});
        writeln!(lines, "{line}").unwrap();
    }
    lines
}

/// A soft background with a disc or a square.
fn picture(index: u64) -> Picture {
    let mut rng = Rng::new(3, "picture", 0, index);
    let colour = |rng: &mut Rng| [(); 3].map(|()| rng.range(30.0, 230.0));
    let (back, front) = (colour(&mut rng), colour(&mut rng));
    let (x0, y0, radius, disc) = (rng.range(8.0, 24.0), rng.range(8.0, 24.0), rng.range(4.0, 9.0), rng.chance(0.5));
    let mut rgb = Vec::new();
    for y in 0..32 {
        for x in 0..32 {
            let (dx, dy) = (f64::from(x) - x0, f64::from(y) - y0);
            let inside = if disc { dx.hypot(dy) < radius } else { dx.abs().max(dy.abs()) < radius * 0.8 };
            let noise = 6.0 * rng.normal();
            rgb.extend((if inside { front } else { back }).map(|c| (c + noise + f64::from(x) * 0.5) as u8));
        }
    }
    Picture { width: 32, height: 32, rgb }
}

pub fn save(run: &Path, name: String, index: u64) -> String {
    fs::write(run.join(&name), png(&picture(index)).unwrap()).unwrap();
    name
}

fn samples(run: &Path) -> Value {
    let captions = [
        ("a small red circle on a pale yellow background", "seen"),
        ("a large blue square at the top left on a grey background", "seen"),
        ("a small green triangle on a white background", "held_out"),
        ("a red circle above a blue square on a pale yellow background", "pairs"),
        (HOSTILE, "seen"),
    ];
    let candidates = |caption: usize| -> Vec<Value> {
        let mut rng = Rng::new(5, "clip", 0, caption as u64);
        let one = |index: u64, rng: &mut Rng| {
            let file = save(run, format!("images/sample-{caption}-{index}.png"), caption as u64 * 8 + index);
            let correct = if index == 5 { Value::Null } else { json!(rng.chance(0.6)) };
            let lenient = if index == 5 { Value::Null } else { json!(index.is_multiple_of(2) || correct == true) };
            json!({"file": file, "similarity": 24.0 + 3.0 * rng.normal(), "correct": correct, "lenient": lenient})
        };
        (0..8).map(|index| one(index, &mut rng)).collect()
    };
    let rows = captions.iter().enumerate();
    rows.map(|(index, (caption, split))| {
        let real = save(run, format!("images/real-{index}.png"), 60 + index as u64);
        json!({"caption": caption, "split": split, "real": real, "candidates": candidates(index)})
    })
    .collect()
}

fn reconstructions(run: &Path) -> Value {
    let pair = |index: u64| {
        json!({
            "caption": "a small red circle on a pale yellow background", "psnr": 21.0 + index as f64 * 0.37,
            "original": save(run, format!("images/original-{index}.png"), 100 + index),
            "reconstruction": save(run, format!("images/reconstruction-{index}.png"), 100 + index),
        })
    };
    (0..12).map(pair).collect()
}

fn masks(text: usize, grid: usize) -> Value {
    let side = text + grid * grid;
    let pattern = |allowed: &dyn Fn(usize, usize) -> bool| -> Vec<String> {
        let row = |query: usize| {
            let cell = |key: usize| match key {
                key if key > query => '0',
                key if key < text || query < text => '1',
                key => {
                    if allowed(query - text, key - text) {
                        '1'
                    } else {
                        '0'
                    }
                }
            };
            (0..side).map(cell).collect()
        };
        (0..side).map(row).collect()
    };
    json!({"text": text, "grid": grid, "layers": ["row", "col", "row", "conv"], "patterns": {
        "row": pattern(&|query, key| query - key <= grid), "col": pattern(&|query, key| (query - key) % grid == 0),
        "conv": pattern(&|query, key| query / grid - key / grid < 3 && (query % grid).abs_diff(key % grid) < 3),
    }})
}
