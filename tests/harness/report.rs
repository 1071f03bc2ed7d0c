//! The report of a run directory: complete, growing, damaged; self-contained, escaped, small; and as a real browser sees it.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use dalle::Error;
use dalle::data::Picture;
use dalle::random::Rng;
use dalle::report;
use dalle::report::grid::png;
use serde_json::{Value, json};

const SECTIONS: [&str; 8] =
    ["samples", "results", "reconstructions", "training", "data", "masks", "provenance", "spec"];
const HOSTILE: &str = "a <script>alert('x')</script> \"circle\" & </style><img src=x onerror=alert(1)>";

/// Writes what a finished run leaves behind, with three stages and a caption that tries to break out.
fn finished_run(run: &Path) {
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

fn facts(status: &str) -> Value {
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

fn save(run: &Path, name: String, index: u64) -> String {
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

fn report(run: &Path) -> String {
    let path = report::write(run).unwrap();
    assert_eq!(path, run.join("report.html"));
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_finished_run_is_shown_whole_and_nothing_comes_from_outside() {
    let run = tempfile::tempdir().unwrap();
    finished_run(run.path());
    let html = report(run.path());
    for section in SECTIONS {
        assert!(
            html.contains(&format!("<section id=\"{section}\">")) && html.contains(&format!("href=\"#{section}\"")),
            "{section}"
        );
    }
    // What was drawn comes first.
    assert!(html.find("id=\"samples\"") < html.find("id=\"results\"") && html.contains("id=\"progress\""));
    for part in [
        "81.2 %",
        "76.5 % to 86.0 %, n = 256",
        "best of 8",
        "−1.042",
        "1f0c3a97b2",
        "preset mini · seed 7 · Example CPU · 8 min 30 s · 2026-03-01T12:00:00Z",
        "Discrete VAE",
        "sharpness",
        "row · 2 of 4 layers",
        // Warnings, what was left out and what was cut, at the top and in full.
        "<b>Transformer</b>: 12 of 800 captions are cut &amp; shortened",
        "Data left out: First stage: 13 filtered, 7 broken of 900 samples; Transformer: 12 captions cut.",
        "filtered: 13 aspect",
        "first decode: IMG_9.jpg: ends early",
        "captions: 12 of 800 cut to 23 tokens, the longest has 31",
        "validation: 100",
        // The checkpoint that was kept, and the pace.
        "step 750 of 1500 (image loss, validation 2.71)",
        "kept at 750.",
        "<td>12.96</td><td>207</td><td>–</td>",
        "<td>8.01</td><td>256</td><td>22558</td>",
        // Sets are columns; a share is a percentage wherever it stands.
        "<th scope=\"col\">validation</th><th scope=\"col\">held out</th><th scope=\"col\">unit</th>",
        "<th scope=\"row\">PSNR of reconstructions</th><td>31.02</td><td>29.57</td><td class=\"detail\">dB <span title=\"higher is better\">↑</span></td>",
        "<td>71.0 %<span class=\"detail\">65.4 % to 76.6 %, n = 256</span></td>",
        "lenient 86.2 %",
        "<summary>Attributes after reconstruction, in detail</summary>",
        "<th scope=\"row\">after reconstruction · by attribute · shape</th><td>77.0 %",
        "<summary>The best picture, by attribute, of the captions that name it</summary>",
        "<th scope=\"row\">1 in the picture</th>",
        "<th scope=\"row\">blue square</th>",
        "everything else",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("Not everything could be shown"));
    // Five captions of eight candidates and a real picture, twelve pairs, three masks, two strips of three steps and reality.
    assert_eq!(html.matches("data:image/png;base64,").count(), 5 * 9 + 12 * 2 + 3 + 2 * 4);
    let addresses = html.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "src=\"/", "<script", "<link", "@import", "url("] {
        assert!(!addresses.contains(outside), "{outside}");
    }
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
    assert!(!run.path().join("report.html.tmp").exists());
}

#[test]
fn candidates_are_shown_by_similarity_with_their_number_as_drawn() {
    let run = tempfile::tempdir().unwrap();
    fs::create_dir(run.path().join("images")).unwrap();
    fs::write(run.path().join("run.json"), "{}").unwrap();
    let write = |judged: bool| {
        let candidates = [Some(3.0), None, Some(9.0), Some(5.0)].iter().enumerate().map(|(index, similarity)| {
            let file = save(run.path(), format!("images/{index}.png"), index as u64);
            let right = similarity.filter(|_| judged).map(|similarity| similarity == 5.0);
            let lenient = right.map(|_| index != 2);
            json!({"file": file, "similarity": similarity, "correct": right, "lenient": lenient})
        });
        let samples = json!([{"caption": "a dot", "candidates": candidates.collect::<Vec<_>>()}]);
        fs::write(run.path().join("images/samples.json"), samples.to_string()).unwrap();
        report(run.path())
    };
    let html = write(true);
    let alts: Vec<&str> =
        html.split("alt=\"a dot; drawn as number ").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let similarity = "; CLIP similarity ";
    assert_eq!(
        alts,
        ["3|9.0, wrong", "4|5.0, right", "1|3.0, right by the lenient reading", "2|–"]
            .map(|alt| alt.replace('|', similarity))
    );
    assert!(html.contains("✓") && html.contains("✗") && html.contains("≈") && html.contains("best of 4 9.0"));
    // Where no oracle judged there is nothing to tick.
    let html = write(false);
    assert!(!html.contains("✓") && !html.contains("✗") && !html.contains("≈") && !html.contains("oracle"));
}

#[test]
fn every_number_of_candidates_has_its_cards_and_runs_of_before_are_read() {
    let run = tempfile::tempdir().unwrap();
    let accuracy =
        json!({"seen": {"best_of_4": {"value": 0.25, "low": 0.1, "high": 0.4}, "best_of_1": 0.125, "chance": 0.0}});
    let facts =
        json!({"results": {"attribute_accuracy": accuracy, "rerank_curve": {"n": [1, 4], "score": [20.5, 22.5]}}});
    fs::write(run.path().join("run.json"), facts.to_string()).unwrap();
    let html = report(run.path());
    assert!(html.contains("<dt>right, seen, best of 4 by CLIP</dt><dd>25.0 %</dd>"), "{html}");
    assert!(html.contains("<dt>CLIP similarity, best of 4</dt><dd>22.5</dd>") && !html.contains(">lenient"));
}

#[test]
fn times_are_those_of_run_json_wherever_they_stand() {
    let run = tempfile::tempdir().unwrap();
    finished_run(run.path());
    let html = report(run.path());
    // The stage in its title and in the table; the total in the header and in the table.
    for (time, times) in [("3 min 52 s", 2), ("3 min 7 s", 2), ("1 min 14 s", 2), ("8 min 30 s", 2), ("12.5 s", 1)] {
        assert_eq!(html.matches(time).count(), times, "{time}");
    }
    // 510 s in all, 505.25 s of them known.
    assert!(html.contains("everything else") && html.contains("4.8 s"));
}

#[test]
fn the_terminal_is_told_the_same_figures() {
    let run = tempfile::tempdir().unwrap();
    finished_run(run.path());
    let text = report::summary::summary(run.path()).unwrap();
    let row = |start: &str| -> Vec<&str> {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    };
    assert_eq!(row("best of 8"), ["best of 8 by CLIP", "81.2 % (76–86)", "48.4 % (40–57)", "32.0 % (24–40)"]);
    assert_eq!(row("PSNR"), ["PSNR of reconstructions", "31.02", "29.57", "dB"]);
    let kept = "step 750 of 1500 (image loss, validation 2.71)";
    assert_eq!(row("Transformer"), ["Transformer", "1500", "3 min 7 s", "8.01", "256", kept]);
    assert_eq!(row("total"), ["total, all sessions", "8 min 30 s"]);
    fs::write(run.path().join("run.json"), "{}").unwrap();
    assert_eq!(report::summary::summary(run.path()).unwrap(), "", "a run without results says nothing");
}

#[test]
fn a_run_that_nobody_writes_is_not_said_to_be_running() {
    let run = tempfile::tempdir().unwrap();
    let status = "stopped (no process writes it)";
    fs::write(run.path().join("run.json"), json!({"name": "killed", "status": status}).to_string()).unwrap();
    let html = report(run.path());
    assert!(
        html.contains(&format!("<span class=\"status stopped\">{status}</span>")) && html.contains("--resume goes on")
    );
}

#[test]
fn captions_names_and_keys_cannot_break_out() {
    let run = tempfile::tempdir().unwrap();
    finished_run(run.path());
    let mut facts = facts(HOSTILE);
    for key in ["name", "preset", "cpu", "started", "error"] {
        facts[key] = json!(HOSTILE);
    }
    facts["results"][HOSTILE] = json!({HOSTILE: HOSTILE, "x": {"value": 1}});
    facts["results"]["attribute_accuracy"][HOSTILE] = json!({HOSTILE: 0.5});
    facts["timings"][HOSTILE] = json!(3);
    facts["warnings"] = json!([{"stage": HOSTILE, "kind": HOSTILE, "text": HOSTILE}, 7]);
    facts["samples"] = json!({HOSTILE: {"seen": 3, "broken": {HOSTILE: 1}}});
    facts["bad_samples"] = json!({HOSTILE: {"by_reason": {HOSTILE: 1}, "examples": {HOSTILE: HOSTILE}}});
    facts["data"] = json!({HOSTILE: {HOSTILE: HOSTILE}});
    facts["kept"] = json!({HOSTILE: {"step": 1, "metric": HOSTILE}});
    facts["results"]["elbo_<b>"] = json!({HOSTILE: HOSTILE});
    facts["results"]["zero_shot"] = json!({HOSTILE: 0.5});
    fs::write(run.path().join("run.json"), facts.to_string()).unwrap();
    let line = json!({"stage": HOSTILE, "step": 1, HOSTILE: 2.0});
    fs::write(run.path().join("metrics.jsonl"), format!("{line}\n")).unwrap();
    let masks = json!({"text": 1, "grid": 1, "layers": [HOSTILE], "patterns": {HOSTILE: ["10", "11"], "x<script>": ["1"], "y": ["2"]}});
    fs::write(run.path().join("masks.json"), masks.to_string()).unwrap();
    let bad = json!([{"caption": HOSTILE, "split": HOSTILE, "real": "../real.png", "candidates": [{"file": HOSTILE}, {"file": "../../secret.png"}, {"file": "/etc/hostname"}]}]);
    fs::write(run.path().join("images/samples.json"), bad.to_string()).unwrap();
    let html = report(run.path());
    assert!(!html.contains("<script") && !html.contains("<img src=x"), "a tag from outside");
    assert_eq!(html.matches("</style>").count(), 1);
    assert!(html.contains("a &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot;circle&quot; &amp;"));
    assert_eq!(html.matches("lies outside the run directory\" title").count(), 3);
    assert!(!report::summary::summary(run.path()).unwrap().is_empty());
}

#[test]
fn a_growing_run_says_what_is_still_missing() {
    let run = tempfile::tempdir().unwrap();
    fs::write(run.path().join("run.json"), json!({"name": "early", "status": "running"}).to_string()).unwrap();
    fs::write(
        run.path().join("metrics.jsonl"),
        "{\"stage\":\"dvae\",\"step\":40,\"loss\":2.5}\nbroken\n{\"stage\":\"dva",
    )
    .unwrap();
    let html = report(run.path());
    for section in SECTIONS {
        assert!(html.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    assert!(html.contains("<span class=\"status running\">running</span>") && html.contains("Discrete VAE at step 40"));
    assert!(html.contains("<code>metrics.jsonl</code>: 1 line that is not"));
    for file in ["spec.yaml", "spec.resolved.yaml", "images/samples.json", "images/reconstructions.json", "masks.json"]
    {
        assert!(html.contains(&format!("<code>{file}</code>: not written")), "{file}");
    }
    fs::write(run.path().join("masks.json"), "{\"text\": 3").unwrap();
    assert!(report(run.path()).contains("<code>masks.json</code>: cannot be read"));
}

#[test]
fn a_folder_without_a_readable_run_json_is_refused() {
    let run = tempfile::tempdir().unwrap();
    assert!(matches!(report::write(run.path()), Err(Error::Data { .. })));
    assert!(matches!(report::write(&run.path().join("nowhere")), Err(Error::Data { .. })));
    fs::write(run.path().join("run.json"), "[1, 2]").unwrap();
    let error = report::write(run.path()).unwrap_err();
    assert!(matches!(error, Error::Data { .. }) && error.to_string().contains("expected a JSON object"), "{error}");
    assert!(!run.path().join("report.html").exists());
}

#[test]
fn long_runs_and_large_pictures_stay_small() {
    let run = tempfile::tempdir().unwrap();
    finished_run(run.path());
    let mut lines = String::new();
    for step in 0..50_000 {
        writeln!(
            lines,
            "{{\"stage\":\"dvae\",\"step\":{step},\"loss\":{},\"nll\":{}}}",
            (step * 7919) % 1013,
            step % 97
        )
        .unwrap();
    }
    for key in 0..200 {
        writeln!(lines, "{{\"stage\":\"dvae\",\"step\":50000,\"layer_{key}\":1}}").unwrap();
    }
    fs::write(run.path().join("metrics.jsonl"), lines).unwrap();
    let mut facts = facts("done");
    facts["warnings"] =
        (0..500).map(|at| json!({"stage": "dvae", "kind": "few-codes", "text": at.to_string()})).collect();
    fs::write(run.path().join("run.json"), facts.to_string()).unwrap();
    let noise: Vec<u8> = (0..3 * 256 * 256)
        .map({
            let mut rng = Rng::new(9, "noise", 0, 0);
            move |_| rng.bits() as u8
        })
        .collect();
    let large = png(&Picture { width: 256, height: 256, rgb: noise }).unwrap();
    fs::write(run.path().join("images/large.png"), large).unwrap();
    let row: Vec<Value> = (0..512).map(|_| json!({"file": "images/large.png", "similarity": 1.0})).collect();
    let many: Vec<Value> = (0..300).map(|_| json!({"caption": "much", "candidates": row})).collect();
    fs::write(run.path().join("images/samples.json"), json!(many).to_string()).unwrap();
    let html = report(run.path());
    assert!(html.len() < 4_000_000, "{} bytes", html.len());
    assert!(
        html.contains("24 of 300 captions are shown")
            && html.contains("8 of 512 are shown")
            && html.contains("Warnings (500)")
            && html.contains("480 more are in run.json")
            && html.contains("left out to keep the report small")
    );
}

#[test]
fn a_browser_shows_every_section_and_complains_of_nothing() {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }) else {
        println!("skipped: Chromium is not installed");
        return;
    };
    let (run, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    finished_run(run.path());
    let page = report::write(run.path()).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for section in SECTIONS {
        assert!(dom.contains(&format!("<section id=\"{section}\">")), "{section} is missing:\n{log}");
    }
    assert!(dom.contains("</main>") && dom.matches("<svg").count() > 20, "{log}");
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}
