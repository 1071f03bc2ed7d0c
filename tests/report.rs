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

const SECTIONS: [&str; 7] = ["results", "samples", "reconstructions", "training", "masks", "provenance", "spec"];
const HOSTILE: &str = "a <script>alert('x')</script> \"circle\" & </style><img src=x onerror=alert(1)>";

/// Writes what a finished run leaves behind, with three stages and a caption that tries to break out.
fn finished_run(run: &Path) {
    fs::create_dir_all(run.join("images")).unwrap();
    fs::write(run.join("run.json"), facts("done").to_string()).unwrap();
    fs::write(run.join("metrics.jsonl"), metrics()).unwrap();
    fs::write(run.join("spec.yaml"), format!("# the quickstart\nname: quickstart\npreset: mini\nnote: {HOSTILE}\n"))
        .unwrap();
    fs::write(run.join("spec.resolved.yaml"), "name: quickstart\npreset: mini\nseed: 7\n").unwrap();
    fs::write(run.join("images/samples.json"), samples(run).to_string()).unwrap();
    fs::write(run.join("images/reconstructions.json"), reconstructions(run).to_string()).unwrap();
    fs::write(run.join("masks.json"), masks(24, 8).to_string()).unwrap();
}

fn facts(status: &str) -> Value {
    let share = |value: f64, n: u64| {
        let room = 1.96 * (value * (1.0 - value) / n as f64).sqrt();
        json!({"value": value, "low": value - room, "high": value + room, "n": n})
    };
    let row = |best: f64, one: f64, n| json!({"best_of_8": share(best, n), "best_of_1": share(one, n), "chance": share(0.02, n)});
    json!({
        "name": "quickstart", "status": status, "preset": "mini", "seeds": {"spec": 7},
        "results": {
            "attribute_accuracy": {"seen": row(0.8125, 0.53, 256), "held_out": row(0.484, 0.273, 128), "pairs": row(0.32, 0.11, 128)},
            "rerank_curve": {"n": [1, 2, 4, 8], "score": [21.2, 23.9, 25.6, 27.1], "accuracy": [0.53, 0.66, 0.75, 0.8125]},
            "reconstruction": {"psnr": 24.31, "hard_elbo": -1.0423, "codes_in_use": 113},
            "elbo": {"nats_per_dim": -1.31, "bits_per_dim": -1.89},
        },
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
            "lr": 1e-3 * (0.5 + 0.5 * (3.0 * t).cos()), "usage": (20.0 + 95.0 * (1.0 - fall)).floor(), "perplexity": 8.0 + 60.0 * (1.0 - fall),
            "psnr": psnr, "grad_norm": 0.3 * (1.0 + 8.0 * fall) * (0.4 * rng.normal()).exp()});
        writeln!(lines, "{line}").unwrap();
    }
    for step in (0..=1500).step_by(10) {
        let fall = (-3.0 * step as f64 / 1500.0).exp();
        let noise = 0.05 * rng.normal();
        let mut line = json!({"stage": "transformer", "step": step, "time": step as f64 * 0.12, "loss": 1.9 + 2.6 * fall + noise,
            "text_loss": 0.6 + 4.5 * fall + noise, "image_loss": 2.1 + 2.4 * fall + noise, "lr": 4e-4, "grad_norm": 1.0 + fall});
        if step % 150 == 0 {
            line["val_loss"] = json!(2.0 + 2.5 * fall);
            line["val_text_loss"] = json!(0.65 + 4.4 * fall);
            line["val_image_loss"] = json!(2.2 + 2.3 * fall);
        }
        writeln!(lines, "{line}").unwrap();
    }
    for step in (0..=800).step_by(10) {
        let fall = (-3.0 * step as f64 / 800.0).exp();
        let line = json!({"stage": "clip", "step": step, "time": step as f64 * 0.09, "loss": 0.4 + 3.2 * fall, "accuracy": 0.9 - 0.85 * fall,
            "val_accuracy": 0.86 - 0.82 * fall, "logit_scale": 14.0 + 20.0 * (1.0 - fall), "lr": 5e-4, "sharpness": 2.0 * fall});
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
            json!({"file": file, "clip": 24.0 + 3.0 * rng.normal(), "correct": correct})
        };
        (0..8).map(|index| one(index, &mut rng)).collect()
    };
    let rows = captions.iter().enumerate();
    rows.map(|(index, (caption, split))| json!({"caption": caption, "split": split, "candidates": candidates(index)}))
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
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("Not everything could be shown"));
    // Five captions of eight candidates in two rows, twelve pairs, three masks.
    assert_eq!(html.matches("data:image/png;base64,").count(), 5 * 8 * 2 + 12 * 2 + 3);
    let addresses = html.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "src=\"/", "<script", "<link", "@import", "url("] {
        assert!(!addresses.contains(outside), "{outside}");
    }
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
    assert!(!run.path().join("report.html.tmp").exists());
}

#[test]
fn candidates_are_shown_as_drawn_and_by_score() {
    let run = tempfile::tempdir().unwrap();
    fs::create_dir(run.path().join("images")).unwrap();
    fs::write(run.path().join("run.json"), "{}").unwrap();
    let candidates: Vec<Value> = [Some(3.0), None, Some(9.0), Some(5.0)].iter().enumerate().map(|(index, clip)| {
        json!({"file": save(run.path(), format!("images/{index}.png"), index as u64), "clip": clip, "correct": clip.map(|clip| clip == 5.0)})
    }).collect();
    let samples = json!([{"caption": "a dot", "candidates": candidates}]);
    fs::write(run.path().join("images/samples.json"), samples.to_string()).unwrap();
    let html = report(run.path());
    let alts: Vec<&str> =
        html.split("alt=\"a dot; similarity ").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(alts, ["3.0, wrong", "–", "9.0, wrong", "5.0, right", "9.0, wrong", "5.0, right", "3.0, wrong", "–"]);
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
    fs::write(run.path().join("run.json"), facts.to_string()).unwrap();
    let line = json!({"stage": HOSTILE, "step": 1, HOSTILE: 2.0});
    fs::write(run.path().join("metrics.jsonl"), format!("{line}\n")).unwrap();
    let masks = json!({"text": 1, "grid": 1, "layers": [HOSTILE], "patterns": {HOSTILE: ["10", "11"], "x<script>": ["1"], "y": ["2"]}});
    fs::write(run.path().join("masks.json"), masks.to_string()).unwrap();
    let bad = json!([{"caption": HOSTILE, "split": HOSTILE, "candidates": [{"file": HOSTILE}, {"file": "../../secret.png"}, {"file": "/etc/hostname"}]}]);
    fs::write(run.path().join("images/samples.json"), bad.to_string()).unwrap();
    let html = report(run.path());
    assert!(!html.contains("<script") && !html.contains("<img src=x"), "a tag from outside");
    assert_eq!(html.matches("</style>").count(), 1);
    assert!(html.contains("a &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot;circle&quot; &amp;"));
    assert_eq!(html.matches("lies outside the run directory\" title").count(), 4);
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
    let noise: Vec<u8> = (0..3 * 256 * 256)
        .map({
            let mut rng = Rng::new(9, "noise", 0, 0);
            move |_| rng.bits() as u8
        })
        .collect();
    let large = png(&Picture { width: 256, height: 256, rgb: noise }).unwrap();
    fs::write(run.path().join("images/large.png"), large).unwrap();
    let row: Vec<Value> = (0..512).map(|_| json!({"file": "images/large.png", "clip": 1.0})).collect();
    let many: Vec<Value> = (0..300).map(|_| json!({"caption": "much", "candidates": row})).collect();
    fs::write(run.path().join("images/samples.json"), json!(many).to_string()).unwrap();
    let html = report(run.path());
    assert!(html.len() < 4_000_000, "{} bytes", html.len());
    assert!(
        html.contains("24 of 300 captions are shown")
            && html.contains("8 of 512")
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
