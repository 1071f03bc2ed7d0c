//! What the groups drew for the same captions, side by side.

use super::super::figures::words;
use super::super::html::{escape, notice};
use super::super::pictures::{Album, figure, ranked};
use super::super::run::{Run, Sampled};
use std::fmt::Write;

/// At most so many captions.
const CAPTIONS: usize = 24;

/// A row for each caption that two of the runs drew, a column for each run: the best candidate by the run's own CLIP.
pub(super) fn section(runs: &[Run], names: &[&str]) -> String {
    let mut captions: Vec<(&Sampled, Vec<Option<&Sampled>>)> = Vec::new();
    for sampled in runs.iter().flat_map(|run| &run.samples) {
        let same = |other: &&Sampled| other.caption == sampled.caption && other.split == sampled.split;
        if captions.iter().any(|(known, _)| same(known)) {
            continue;
        }
        let columns: Vec<Option<&Sampled>> = runs.iter().map(|run| run.samples.iter().find(same)).collect();
        captions.push((sampled, columns));
    }
    let alone = runs.len().min(2);
    let (common, others): (Vec<_>, Vec<_>) =
        captions.into_iter().partition(|(_, columns)| columns.iter().flatten().count() >= alone.max(1));
    if common.is_empty() {
        let why = if others.is_empty() {
            "none of the runs kept samples"
        } else {
            "captions follow the seed, and no seed is the same"
        };
        return notice(&format!("No captions in common: {why}."));
    }
    let mut albums: Vec<Album<'_>> = runs.iter().map(|run| Album::of(run, runs.len())).collect();
    let mut html = String::from(
        "<p>The best candidate of each run by its own CLIP, with that CLIP's similarity (100·cosine): those of two runs are on two \
         scales.",
    );
    if common
        .iter()
        .flat_map(|(_, columns)| columns.iter().flatten())
        .any(|of| of.candidates.iter().any(|c| c.correct.is_some()))
    {
        html += " <span class=\"right\">✓</span>, <span class=\"lenient\">≈</span> and <span class=\"wrong\">✗</span>: right, right by \
                 the lenient reading, wrong, as the oracle reads it.";
    }
    html += "</p>\n<div class=\"samples\">\n";
    for (sampled, columns) in common.iter().take(CAPTIONS) {
        let set = sampled
            .split
            .as_deref()
            .map_or(String::new(), |set| format!(" <small class=\"detail\">{}</small>", escape(&words(set))));
        let _ = writeln!(html, "<article>\n<h4>{}{set}</h4>\n<div class=\"sample\">", escape(&sampled.caption));
        let real = columns.iter().zip(0..).find_map(|(column, at)| Some((at, column.as_ref()?.real.as_ref()?)));
        if let Some((at, real)) = real {
            let picture = albums[at].picture(real, &format!("a real picture: {}", sampled.caption));
            let _ = writeln!(html, "<figure class=\"real\">{picture}<figcaption>real</figcaption></figure>");
        }
        for ((column, album), name) in columns.iter().zip(&mut albums).zip(names) {
            let best = column.as_ref().and_then(|sampled| ranked(&sampled.candidates).into_iter().next());
            let shown =
                best.map_or("–".into(), |best| figure(album, &sampled.caption, best, &format!("{} ", escape(name))));
            let _ = writeln!(html, "<figure>{shown}</figure>");
        }
        html += "</div>\n</article>\n";
    }
    html += "</div>\n";
    let left = common.len().saturating_sub(CAPTIONS);
    if left > 0 {
        html += &notice(&format!("{left} more captions are left out."));
    }
    html
}
