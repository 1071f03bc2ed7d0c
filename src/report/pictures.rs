//! Samples and reconstructions as rows of pictures, embedded.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::figures::words;
use super::html::{escape, notice};
use super::panels::title;
use super::run::{Candidate, Progress, Reconstruction, Run, Sampled, Sheet};

/// At most so many captions, pictures a row and pairs are shown: a report is to be looked at and passed on.
const CAPTIONS: usize = 24;
const ROW: usize = 8;
const PAIRS: usize = 32;
/// A picture file larger than this is not embedded.
const LARGEST: usize = 256 * 1024;
/// What all embedded pictures together may take.
const BUDGET: usize = 2 * 1024 * 1024;

/// Embeds pictures of a run until the budget is used up.
pub(super) struct Album<'a> {
    run: &'a Run,
    left: usize,
}

impl<'a> Album<'a> {
    /// Of a run, which may take a share of what a report may.
    pub fn of(run: &'a Run, shared_by: usize) -> Self {
        Album { run, left: BUDGET / shared_by.max(1) }
    }

    /// An `<img>` with the picture, or a box that says why there is none.
    pub fn picture(&mut self, file: &str, alt: &str) -> String {
        match self.data(file) {
            Ok(data) => format!("<img src=\"data:image/png;base64,{data}\" alt=\"{}\">", escape(alt)),
            Err(why) => {
                let words = escape(&format!("{alt}: {file} {why}"));
                format!("<span class=\"lost\" role=\"img\" aria-label=\"{words}\" title=\"{words}\">?</span>")
            }
        }
    }

    fn data(&mut self, file: &str) -> Result<String, String> {
        let bytes = self.run.listed(file)?;
        if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Err("is not a PNG file".into());
        }
        if bytes.len() > LARGEST || bytes.len() > self.left {
            return Err(format!("is left out to keep the report small ({} bytes)", bytes.len()));
        }
        self.left -= bytes.len();
        Ok(STANDARD.encode(bytes))
    }
}

/// Per set and caption a real picture, the best candidate by CLIP, and the others in the order of their similarity.
pub(super) fn samples(run: &Run) -> String {
    if run.samples.is_empty() {
        return notice("No samples: images/samples.json is not there, or empty.");
    }
    let mut album = Album::of(run, 1);
    let judged = |pick: fn(&Candidate) -> Option<bool>| {
        run.samples.iter().any(|sampled| sampled.candidates.iter().any(|candidate| pick(candidate).is_some()))
    };
    let mut html = String::from("<p>");
    if run.samples.iter().any(|sampled| sampled.real.is_some()) {
        html += "First a real picture of the caption, then the best candidate by CLIP, ";
    } else {
        html += "First the best candidate by CLIP, ";
    }
    html += "then the others. Below each stands its CLIP similarity (100·cosine).";
    if judged(|candidate| candidate.correct) {
        html += " <span class=\"right\">✓</span> and <span class=\"wrong\">✗</span> say whether an oracle found everything \
                 in it that the caption names";
        html += if judged(|candidate| candidate.lenient) {
            "; <span class=\"lenient\">≈</span> that only its lenient reading did."
        } else {
            "."
        };
    }
    html += "</p>\n";
    let mut sets: Vec<Option<&str>> = Vec::new();
    let shown = || run.samples.iter().take(CAPTIONS);
    shown().for_each(|sampled| {
        if !sets.contains(&sampled.split.as_deref()) {
            sets.push(sampled.split.as_deref());
        }
    });
    for set in sets {
        if let Some(set) = set {
            let _ = writeln!(html, "<h3>{}</h3>", escape(&words(set)));
        }
        html += "<div class=\"samples\">\n";
        let own = shown().filter(|sampled| sampled.split.as_deref() == set);
        own.for_each(|sampled| html += &caption(&mut album, sampled));
        html += "</div>\n";
    }
    if run.samples.len() > CAPTIONS {
        html += &notice(&format!("{CAPTIONS} of {} captions are shown.", run.samples.len()));
    }
    html
}

fn caption(album: &mut Album, sampled: &Sampled) -> String {
    let Sampled { caption, real, candidates, .. } = sampled;
    let ranked = ranked(candidates);
    let mut html = format!("<article>\n<h4>{}</h4>\n<div class=\"sample\">\n", escape(caption));
    if let Some(real) = real {
        let picture = album.picture(real, &format!("a real picture: {caption}"));
        let _ = writeln!(html, "<figure class=\"real\">{picture}<figcaption>real</figcaption></figure>");
    }
    let mut ranked = ranked.into_iter();
    if let Some(best) = ranked.next() {
        let of = match candidates.len() {
            1 => String::new(),
            n => format!("best of {n} "),
        };
        let _ = writeln!(html, "<figure class=\"best\">{}</figure>", figure(album, caption, best, &of));
    }
    html += "<ol class=\"row\">\n";
    for candidate in ranked.by_ref().take(ROW - 1) {
        let _ = writeln!(html, "<li>{}</li>", figure(album, caption, candidate, ""));
    }
    html += "</ol>\n</div>\n";
    if ranked.len() > 0 {
        let _ = writeln!(html, "<p class=\"detail\">{ROW} of {} are shown.</p>", candidates.len());
    }
    html + "</article>\n"
}

/// The candidates of a caption, the best by CLIP first, with their places in the order drawn.
pub(super) fn ranked(candidates: &[Candidate]) -> Vec<(usize, &Candidate)> {
    let mut ranked: Vec<(usize, &Candidate)> = (1..).zip(candidates).collect();
    let score = |candidate: &Candidate| candidate.similarity.filter(|s| s.is_finite()).unwrap_or(f64::NEG_INFINITY);
    // A stable sort: equal ones stay in the order drawn.
    ranked.sort_by(|a, b| score(b.1).total_cmp(&score(a.1)));
    ranked
}

pub(super) fn figure(album: &mut Album, caption: &str, (drawn, candidate): (usize, &Candidate), of: &str) -> String {
    let similarity = candidate.similarity.map_or("–".into(), similarity);
    let (mark, words) = match (candidate.correct, candidate.lenient) {
        (Some(true), _) => (" <span class=\"right\">✓</span>", ", right"),
        (Some(false), Some(true)) => (" <span class=\"lenient\">≈</span>", ", right by the lenient reading"),
        (Some(false), _) => (" <span class=\"wrong\">✗</span>", ", wrong"),
        (None, _) => ("", ""),
    };
    let alt = format!("{caption}; drawn as number {drawn}; CLIP similarity {similarity}{words}");
    let picture = album.picture(&candidate.file, &alt);
    format!("{picture}<span class=\"score\">{of}{similarity}{mark}</span>")
}

/// With as many decimals as fit below a picture.
fn similarity(value: f64) -> String {
    let decimals = if value.abs() < 1.0 { 3 } else { 1 };
    format!("{value:.decimals$}").replace('-', "−")
}

/// What the stages made of the same pairs as their training went on: a column for each step.
pub(super) fn progress(run: &Run) -> String {
    let mut album = Album::of(run, 1);
    let mut html = String::from(
        "<p>The same validation pairs after more and more steps: what the first stage makes of the pictures, and what the \
         transformer draws for their captions, always with the same noise. Last the real pictures.</p>\n",
    );
    for (stage, Progress { captions, real, steps }) in &run.progress {
        let rows = captions.len().max(1);
        let _ =
            writeln!(html, "<h3>{}</h3>\n<div class=\"wide strip\" style=\"--rows:{rows}\">", escape(&title(stage)));
        let names: String =
            captions.iter().map(|caption| format!("<li><span>{}</span></li>", escape(caption))).collect();
        let _ = writeln!(html, "<ol>{names}</ol>");
        let kept = run.kept(stage).map(|kept| kept.step);
        for Sheet { step, file } in steps {
            let picture = album.picture(file, &format!("{} after step {step}", title(stage)));
            let kept = if kept == Some(*step) { " kept" } else { "" };
            let _ = writeln!(html, "<figure>{picture}<figcaption>step {step}{kept}</figcaption></figure>");
        }
        if let Some(real) = real {
            let picture = album.picture(real, "the real pictures");
            let _ = writeln!(html, "<figure>{picture}<figcaption>real</figcaption></figure>");
        }
        html += "</div>\n";
    }
    html
}

/// Originals beside what the first stage makes of them.
pub(super) fn reconstructions(run: &Run) -> String {
    if run.reconstructions.is_empty() {
        return notice("No reconstructions: images/reconstructions.json is not there, or empty.");
    }
    let mut album = Album::of(run, 1);
    let mut html = String::from(
        "<p>Left the original, right its reconstruction from the codes alone.</p>\n<div class=\"pairs\">\n",
    );
    for Reconstruction { caption, original, reconstruction, psnr } in run.reconstructions.iter().take(PAIRS) {
        let psnr = psnr.map_or(String::new(), |psnr| format!("<b>{psnr:.1} dB</b> "));
        let left = album.picture(original, &format!("original: {caption}"));
        let right = album.picture(reconstruction, &format!("reconstruction: {caption}"));
        let _ = writeln!(html, "<figure>{left}{right}<figcaption>{psnr}{}</figcaption></figure>", escape(caption));
    }
    html += "</div>\n";
    if run.reconstructions.len() > PAIRS {
        html += &notice(&format!("{PAIRS} of {} pairs are shown.", run.reconstructions.len()));
    }
    html
}
