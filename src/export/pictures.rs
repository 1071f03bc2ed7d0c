//! A run's pictures as sheets.

use crate::Result;
use crate::data::Picture;
use crate::report::grid;
use crate::report::run::{Candidate, Progress, Run};
use std::fs;
use std::path::Path;

/// At most so many rows of a sheet.
pub(super) const ROWS: usize = 16;
/// And candidates in one.
const COLUMNS: usize = 8;
/// Smaller pictures are enlarged to about this side.
const SIDE: usize = 64;

/// What a stage drew while it trained; `None` for a stage that draws nothing, or has not yet.
pub(super) fn progress(run: &Path, stage: &str) -> Option<Progress> {
    serde_json::from_slice(&fs::read(run.join(format!("images/progress/{stage}.json"))).ok()?).ok()
}

/// The sides of a PNG, as its header says them.
pub(super) fn sides(png: &[u8]) -> Option<[u32; 2]> {
    let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(8..16)?;
    let side = |at: usize| header[at..at + 4].try_into().map(u32::from_be_bytes).ok();
    Some([side(0)?, side(4)?])
}

/// Captions' candidates, a row a caption, the best by CLIP first; `None` before there are any.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for a file that is no picture.
pub(super) fn samples(run: &Run) -> Result<Option<Picture>> {
    let best = |candidates: &[Candidate]| -> Vec<String> {
        let score = |candidate: &Candidate| candidate.similarity.filter(|s| s.is_finite()).unwrap_or(f64::NEG_INFINITY);
        let mut ranked: Vec<&Candidate> = candidates.iter().collect();
        ranked.sort_by(|a, b| score(b).total_cmp(&score(a)));
        ranked.into_iter().take(COLUMNS).map(|candidate| candidate.file.clone()).collect()
    };
    sheet(run, run.samples.iter().map(|sampled| best(&sampled.candidates)))
}

/// Real pictures, each beside what the first stage makes of it; `None` before there are any.
///
/// # Errors
/// Those of [`samples`].
pub(super) fn reconstructions(run: &Run) -> Result<Option<Picture>> {
    sheet(run, run.reconstructions.iter().map(|pair| vec![pair.original.clone(), pair.reconstruction.clone()]))
}

/// Rows of picture files. Files that are not there leave no gap: the report says which they are.
fn sheet(run: &Run, rows: impl Iterator<Item = Vec<String>>) -> Result<Option<Picture>> {
    let rows: Vec<Vec<String>> = rows.take(ROWS).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let there = rows.iter().flatten().map(|file| run.path.join(file)).filter(|file| file.is_file());
    let pictures = there.map(Picture::open).collect::<Result<Vec<_>>>()?;
    let scale = pictures.first().map_or(1, |first| SIDE.div_ceil(first.width.max(1)));
    Ok((!pictures.is_empty()).then(|| grid::grid(&pictures, columns, scale)))
}
