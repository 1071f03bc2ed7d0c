//! The codes of training pictures. A picture that looks the same again has the same codes again: they are kept in a file beside the
//! runs of all names, so that each look of a picture is coded once, by whichever run meets it first.
//!
//! `results/tokens/<key>.codes` is a line of JSON, padded to `HEAD` bytes, and then a row for each look of each sample:
//!
//! ```text
//! 8 bytes of blake3(sample ‖ codes)   grid² codes of 16 bits (32 where there are more than 65,536), little-endian
//! ```
//!
//! The key is that of the first stage's weights, the view and the data. A row holds only where its check does, which also covers the
//! bytes of the sample's files: neither a crash, nor a picture that was changed, nor another process that writes the same file
//! gives a picture the codes of another one. Rows that nobody has written take no room on a disk.

#[cfg(test)]
mod tests;

use super::notice;
use super::run_dir::RunDir;
use super::sources::view;
use crate::data::{BadSample, Example, Loader, Picture, Read, Reader, Seen, Source, of_sample};
use crate::error::{Error, Result};
use crate::files;
use crate::inference::{Geometry, ImageTokenizer};
use crate::spec::Spec;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of such files, beside the runs.
pub use crate::spec::check::TOKENS;
/// Bytes before the first row.
const HEAD: usize = 4096;
/// Bytes of a row's check.
const CHECK: usize = 8;

/// The codes of a source's pictures on disk.
struct Kept {
    file: File,
    path: PathBuf,
    samples: usize,
    positions: usize,
    width: usize,
}

/// The codes of training pictures.
pub struct Codes<'a> {
    first: &'a dyn ImageTokenizer,
    source: &'a dyn Source,
    /// Fixed views of each picture; 0: as it is, or another one every time.
    views: usize,
    kept: Option<Arc<Kept>>,
    /// Pictures whose codes were there, and those that were coded.
    pub found: u64,
    /// As `found`.
    pub coded: u64,
    /// Why codes are no longer kept.
    pub failed: Option<String>,
}

impl<'a> Codes<'a> {
    /// Those of `source`, the training set of `spec` whose fingerprint is `data`, by the first stage whose weights have the blake3
    /// `weights`; kept below `folder`, unless pictures look otherwise each time. Where that cannot be written, nothing is kept.
    ///
    /// # Errors
    /// [`Error::Data`] for a file of that name that holds something else.
    pub fn open(
        first: &'a dyn ImageTokenizer,
        source: &'a dyn Source,
        (spec, folder): (&Spec, &Path),
        (weights, data): (&str, &str),
    ) -> Result<Self> {
        let mut codes = Codes { first, source, views: 0, kept: None, found: 0, coded: 0, failed: None };
        let (view, views) = (view(&spec.data, false), spec.data.views);
        let of_views = (!view.is_fixed()).then_some((spec.seed, views));
        if of_views.is_some() && views == 0 {
            return Ok(codes);
        }
        codes.views = of_views.map_or(0, |(_, views)| views);
        let Geometry { side, grid, codes: vocabulary } = first.geometry();
        let bytes = if vocabulary <= 1 << 16 { 2 } else { 4 };
        let facts = json!({
            "format": 1,
            "first_stage": weights,
            "side": side,
            "grid": grid,
            "codes": vocabulary,
            "view": format!("{view:?}"),
            "seed_and_views": of_views,
            "data": data,
            "samples": source.len(),
            "bytes_a_code": bytes,
        });
        match Kept::open(folder, &facts, (source.len(), grid * grid, bytes)) {
            Err(error @ Error::Io { .. }) => codes.failed = Some(error.to_string()),
            opened => codes.kept = Some(Arc::new(opened?)),
        }
        Ok(codes)
    }

    /// Where they are kept.
    pub fn path(&self) -> Option<&Path> {
        self.kept.as_ref().map(|kept| kept.path.as_path())
    }

    /// What reads the pictures of a step's batch: none is decoded whose codes are known.
    pub fn reading(&self) -> impl Fn(&Reader<'_>, u64, usize) -> Read<Seen<Vec<u32>>> + Send + Sync + use<'a> {
        let (kept, source) = (self.kept.clone(), self.source);
        move |reader, step, batch| {
            reader.batch_beside(step, batch, &|index, look| kept.as_ref()?.row(source, index, look))
        }
    }

    /// The captions and codes of what was read for a step.
    ///
    /// # Errors
    /// Those of [`Loader::batch`], and what the first stage says.
    pub fn take(&mut self, loader: &mut Loader<'_>, read: Read<Seen<Vec<u32>>>) -> Result<Vec<(String, Vec<u32>)>> {
        let mut seen = loader.take(read)?;
        // What was read ahead may have been coded since.
        for seen in &mut seen {
            if let Seen::Read(example) = seen
                && let Some(codes) = self.known(example)
            {
                *seen = Seen::Known(codes, std::mem::take(&mut example.caption));
            }
        }
        let read: Vec<&Example> =
            seen.iter().filter_map(|seen| if let Seen::Read(example) = seen { Some(example) } else { None }).collect();
        let mut fresh = self.coded(&read)?.into_iter();
        self.found += (seen.len() - read.len()) as u64;
        let pair = |seen| match seen {
            Seen::Known(codes, caption) => Some((caption, codes)),
            Seen::Read(example) => Some((example.caption, fresh.next()?)),
        };
        Ok(seen.into_iter().filter_map(pair).collect())
    }

    /// Puts the reconstructions of the chosen pictures in their places.
    ///
    /// # Errors
    /// What the first stage says.
    pub fn reconstruct(&mut self, examples: &mut [Example], mut chosen: impl FnMut(usize) -> bool) -> Result<()> {
        let chosen: Vec<usize> = (0..examples.len()).filter(|&at| chosen(at)).collect();
        let originals: Vec<&Example> = chosen.iter().map(|&at| &examples[at]).collect();
        let known: Vec<Option<Vec<u32>>> = originals.iter().map(|example| self.known(example)).collect();
        let unknown: Vec<&Example> =
            originals.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(example, _)| *example).collect();
        let mut fresh = self.coded(&unknown)?.into_iter();
        self.found += known.iter().flatten().count() as u64;
        let all: Vec<u32> = known.into_iter().filter_map(|known| known.or_else(|| fresh.next())).flatten().collect();
        let decoded = self.first.decode(&all)?;
        let side = self.first.geometry().side;
        for (&at, values) in chosen.iter().zip(decoded.chunks(3 * side * side)) {
            examples[at].picture = Picture::of_values(values, side, side);
        }
        Ok(())
    }

    /// Codes every look of the samples `indices` that is not known. What is wrong with a sample is told.
    ///
    /// # Errors
    /// What the first stage says.
    pub fn fill(&mut self, reader: &Reader<'_>, indices: Range<usize>, bad: &mut dyn FnMut(BadSample)) -> Result<()> {
        let read: Vec<_> = indices.into_par_iter().map(|index| reader.all_looks(index)).collect();
        let mut examples = Vec::new();
        for read in read {
            match read {
                Ok(looks) => examples.extend(looks),
                Err(wrong) => bad(wrong),
            }
        }
        let known = |example: &&Example| self.known(example).is_some();
        let (known, unknown): (Vec<&Example>, Vec<&Example>) = examples.iter().partition(known);
        self.found += known.len() as u64;
        self.coded(&unknown).map(drop)
    }

    /// Keeps in `run.json` what became of the pictures of a stage.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn record(&self, run: &mut RunDir, stage: &str) -> Result<()> {
        let name = self.path().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        if self.found + self.coded > 0 {
            run.update(|facts| {
                facts["codes"][stage] =
                    json!({"found": self.found, "coded": self.coded, "views": self.views, "kept_in": name})
            })?;
        }
        match &self.failed {
            Some(why) => run.warn(stage, "codes-not-kept", &format!("pictures are coded each time anew: {why}")),
            None => Ok(()),
        }
    }

    fn known(&self, example: &Example) -> Option<Vec<u32>> {
        self.kept.as_ref()?.row(self.source, example.index, example.look?)
    }

    /// The codes of each of some examples, which are kept.
    fn coded(&mut self, examples: &[&Example]) -> Result<Vec<Vec<u32>>> {
        if examples.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<f32> = examples.iter().flat_map(|example| example.picture.values()).collect();
        let codes = self.first.encode(examples.len(), &values)?;
        let rows: Vec<Vec<u32>> = codes.chunks(codes.len() / examples.len()).map(<[u32]>::to_vec).collect();
        self.coded += examples.len() as u64;
        for (example, row) in examples.iter().zip(&rows) {
            let (Some(kept), Some(look)) = (&self.kept, example.look) else { continue };
            if let Err(error) = kept.keep(self.source, (example.index, look), row) {
                // A full disk is no reason to stop a training: it goes on as if there were no file.
                self.failed = Some(Error::io("write", &kept.path)(error).to_string());
                self.kept = None;
            }
        }
        Ok(rows)
    }
}

/// The blake3 of the first stage whose codes the file at `path` holds; none of a file of something else.
pub fn first_stage(path: &Path) -> Option<String> {
    let mut head = vec![0; HEAD];
    File::open(path).ok()?.read_exact_at(&mut head, 0).ok()?;
    let facts: Value = serde_json::from_slice(&head).ok()?;
    facts["first_stage"].as_str().map(str::to_owned)
}

impl Kept {
    fn open(folder: &Path, facts: &Value, (samples, positions, width): (usize, usize, usize)) -> Result<Kept> {
        let mut head = format!("{facts}\n").into_bytes();
        head.resize(HEAD, b' ');
        let name = format!("{}.codes", &blake3::hash(&head).to_hex()[..16]);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let path = folder.join(name);
        if !path.exists() {
            // Whole from the start: of two processes that make it the later one's rows stay.
            files::write_atomic(&path, &head)?;
        }
        let open = || OpenOptions::new().read(true).write(true).open(&path).map_err(Error::io("open", &path));
        let mut file = open()?;
        let mut found = vec![0; HEAD];
        if file.read_exact_at(&mut found, 0).is_err() || found != head {
            notice::line(format_args!(
                "warning: {}: not the codes that were kept here; pictures are coded again",
                path.display()
            ));
            files::write_atomic(&path, &head)?;
            file = open()?;
        }
        Ok(Kept { file, path, samples, positions, width })
    }

    /// Where a row stands, and its size.
    fn at(&self, index: usize, look: usize) -> (u64, usize) {
        let size = CHECK + self.width * self.positions;
        (HEAD as u64 + (look as u64 * self.samples as u64 + index as u64) * size as u64, size)
    }

    /// The codes of a look of a sample; `None` where they are not kept, or the sample is not what it was.
    fn row(&self, source: &dyn Source, index: usize, look: usize) -> Option<Vec<u32>> {
        let (at, size) = self.at(index, look);
        let mut row = vec![0; size];
        self.file.read_exact_at(&mut row, at).ok()?;
        let (check, codes) = row.split_at(CHECK);
        // Of a row that was never written: no look at the sample.
        if check == [0; CHECK] || check != &self.check(source, index, codes)[..] {
            return None;
        }
        let code = |bytes: &[u8]| bytes.iter().rev().fold(0, |code, &byte| code << 8 | u32::from(byte));
        Some(codes.chunks(self.width).map(code).collect())
    }

    fn keep(&self, source: &dyn Source, (index, look): (usize, usize), codes: &[u32]) -> std::io::Result<()> {
        let bytes: Vec<u8> = codes.iter().flat_map(|code| code.to_le_bytes().into_iter().take(self.width)).collect();
        let (at, _) = self.at(index, look);
        self.file.write_all_at(&[&self.check(source, index, &bytes)[..], &bytes].concat(), at)
    }

    fn check(&self, source: &dyn Source, index: usize, codes: &[u8]) -> [u8; CHECK] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(of_sample(source, index).as_bytes()).update(codes);
        let mut check = [0; CHECK];
        check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
        check
    }
}
