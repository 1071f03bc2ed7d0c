//! Samples and reconstructions as rows of pictures, embedded.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::html::{escape, notice};
use super::run::{Candidate, Reconstruction, Run, Sampled};

/// At most so many captions, pictures a row and pairs are shown: a report is to be looked at and passed on.
const CAPTIONS: usize = 24;
const ROW: usize = 8;
const PAIRS: usize = 32;
/// A picture file larger than this is not embedded.
const LARGEST: usize = 256 * 1024;
/// What all embedded pictures together may take.
const BUDGET: usize = 2 * 1024 * 1024;

/// Embeds pictures of a run until the budget is used up.
struct Album<'a> {
    run: &'a Run,
    left: usize,
}

impl Album<'_> {
    /// An `<img>` with the picture, or a box that says why there is none.
    fn picture(&mut self, file: &str, alt: &str) -> String {
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

/// Per caption the candidates in the order drawn, and by CLIP score, best first.
pub(super) fn samples(run: &Run) -> String {
    if run.samples.is_empty() {
        return notice("No samples: images/samples.json is not there, or empty.");
    }
    let mut album = Album { run, left: BUDGET };
    let mut html = String::from(
        "<p>The upper row shows candidates in the order drawn, the lower row the best by CLIP. \
         The score is below each picture; <span class=\"right\">✓</span> and <span class=\"wrong\">✗</span> say whether every \
         attribute that the caption names is in the picture.</p>\n<div class=\"samples\">\n",
    );
    for sampled in run.samples.iter().take(CAPTIONS) {
        html += &caption(&mut album, sampled);
    }
    html += "</div>\n";
    if run.samples.len() > CAPTIONS {
        html += &notice(&format!("{CAPTIONS} of {} captions are shown.", run.samples.len()));
    }
    html
}

fn caption(album: &mut Album, sampled: &Sampled) -> String {
    let Sampled { caption, split, candidates } = sampled;
    let tag = split.as_ref().map(|split| format!(" <span class=\"tag\">{}</span>", escape(&split.replace('_', " "))));
    let mut ranked: Vec<&Candidate> = candidates.iter().collect();
    let score = |candidate: &Candidate| {
        candidate.similarity.filter(|similarity| similarity.is_finite()).unwrap_or(f64::NEG_INFINITY)
    };
    // A stable sort: equal scores stay in the order drawn.
    ranked.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let drawn: Vec<&Candidate> = candidates.iter().collect();
    let of = if candidates.len() > ROW { format!(", {ROW} of {}", candidates.len()) } else { String::new() };
    let mut html = format!("<article>\n<h3>{}{}</h3>\n", escape(caption), tag.unwrap_or_default());
    for (name, class, row) in [("as drawn", "drawn", drawn), ("by CLIP", "ranked", ranked)] {
        let _ = writeln!(html, "<p class=\"row-name\">{name}{of}</p>\n<ol class=\"row {class}\">");
        for candidate in row.into_iter().take(ROW) {
            let _ = writeln!(html, "<li>{}</li>", figure(album, caption, candidate));
        }
        html += "</ol>\n";
    }
    html + "</article>\n"
}

fn figure(album: &mut Album, caption: &str, candidate: &Candidate) -> String {
    let score = candidate.similarity.map_or("–".into(), score);
    let (mark, words) = match candidate.correct {
        Some(true) => (" <span class=\"right\">✓</span>", ", right"),
        Some(false) => (" <span class=\"wrong\">✗</span>", ", wrong"),
        None => ("", ""),
    };
    let picture = album.picture(&candidate.file, &format!("{caption}; similarity {score}{words}"));
    format!("{picture}<span class=\"score\">{score}{mark}</span>")
}

/// With as many decimals as fit below a picture, for cosines as for scaled logits.
fn score(clip: f64) -> String {
    let decimals = if clip.abs() < 1.0 { 3 } else { 1 };
    format!("{clip:.decimals$}").replace('-', "−")
}

/// Originals beside what the first stage makes of them.
pub(super) fn reconstructions(run: &Run) -> String {
    if run.reconstructions.is_empty() {
        return notice("No reconstructions: images/reconstructions.json is not there, or empty.");
    }
    let mut album = Album { run, left: BUDGET };
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
