//! A finished run, whole: what stands where, with which figures.

use super::finished::{finished_run, save};
use super::{SECTIONS, report};
use serde_json::json;
use std::fs;

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
    let text = dalle::report::summary::summary(run.path()).unwrap();
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
    assert_eq!(dalle::report::summary::summary(run.path()).unwrap(), "", "a run without results says nothing");
}
