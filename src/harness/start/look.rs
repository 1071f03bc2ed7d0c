//! What is in somebody's folder or shards: how many samples, their sizes, their captions, and what cannot be used.

use crate::data::{Extensions, Folder, PictureError, Source, Tally, WebDataset, paths};
use crate::random::Rng;
use crate::spec::DataKind;
use crate::{Error, Result};
use rayon::prelude::*;
use std::fs;
use std::path::Path;

/// Of a larger set so many samples are read, drawn at random.
const LOOK: usize = 512;
/// More than this share of broken samples is nothing to train on.
const MOST_BROKEN: f64 = 0.5;

/// A look at some data.
#[derive(Debug)]
pub(super) struct Look {
    pub kind: DataKind,
    /// How many samples there are.
    pub samples: usize,
    /// How many of them were read.
    pub looked: usize,
    /// Width and height of each picture that could be read.
    pub sides: Vec<(usize, usize)>,
    /// The captions of those.
    pub captions: Vec<String>,
    /// Those that could not, by reason.
    pub broken: Tally,
    /// What was found beside the samples and belongs to none.
    pub left_out: Tally,
}

impl Look {
    /// Opens what `data` names, as shards where that is what lies there.
    pub fn at(data: &str) -> Result<Look> {
        let (root, path) = (Path::new("."), Path::new(data));
        let found = paths::expand(root, data)?;
        if let Some(gone) = found.iter().find(|path| !path.exists()) {
            let gone = gone.strip_prefix(root).unwrap_or(gone);
            return Err(Error::data(
                gone,
                "no such folder or shard: expected a folder of pictures, shards, or a pattern",
            ));
        }
        let shards = found.iter().any(|path| is_shard(path)) || found.iter().any(|path| holds_shards(path));
        let (kind, source): (DataKind, Box<dyn Source>) = match (shards, found.as_slice()) {
            (true, _) => (DataKind::Webdataset, Box::new(WebDataset::open(&WebDataset::find(root, data)?)?)),
            (false, [folder]) => {
                (DataKind::Folder, Box::new(Folder::open(folder.strip_prefix(root).unwrap_or(folder))?))
            }
            (false, files) => (DataKind::Folder, Box::new(Folder::of_files(root, files, &Extensions::default())?)),
        };
        let mut look = Look::of(kind, source.as_ref(), path)?;
        for folder in found.iter().filter(|path| shards && path.is_dir()) {
            if Folder::open(folder).is_ok_and(|pictures| !pictures.is_empty()) {
                let beside = PictureError::new("beside-shards", "pictures that are in no shard are not read");
                look.left_out.add(&beside.of(data));
            }
        }
        Ok(look)
    }

    fn of(kind: DataKind, source: &dyn Source, path: &Path) -> Result<Look> {
        let samples = source.len();
        let mut indices: Vec<usize> = (0..samples).collect();
        if samples > LOOK {
            indices = Rng::new(0, "data/start", 0, 0).permutation(samples);
            indices.truncate(LOOK);
        }
        let looked = indices.len();
        let read = |index: usize| {
            source.get(index).map(|sample| ((sample.picture.width, sample.picture.height), sample.captions))
        };
        let (mut sides, mut captions, mut broken) = (Vec::new(), Vec::new(), Tally::default());
        for sample in indices.into_par_iter().map(read).collect::<Vec<_>>() {
            match sample {
                Ok((side, own)) => {
                    sides.push(side);
                    captions.extend(own);
                }
                Err(bad) => broken.add(&bad),
            }
        }
        let look = Look { kind, samples, looked, sides, captions, broken, left_out: source.left_out() };
        let first = || format!("{}; first: {}", look.broken.summary(), look.broken.first());
        if look.sides.is_empty() {
            return Err(Error::data(path, format!("none of {looked} samples can be used: {}", first())));
        }
        if look.broken_share() > MOST_BROKEN {
            return Err(Error::data(path, format!("{looked} samples looked at: {}", first())));
        }
        if samples < 2 {
            return Err(Error::data(path, "expected at least two samples, one to train on and one to hold out, got 1"));
        }
        Ok(look)
    }

    /// The share of what was looked at that cannot be used at any size.
    pub fn broken_share(&self) -> f64 {
        self.broken.total() as f64 / self.looked as f64
    }

    /// "60 samples in a folder".
    pub fn in_words(&self) -> String {
        let place = if self.kind == DataKind::Webdataset { "in shards" } else { "in a folder" };
        format!("{} samples {place}", self.samples)
    }

    /// Smallest and largest width and height.
    pub fn extremes(&self) -> [(usize, usize); 2] {
        let of = |side: fn(&(usize, usize)) -> usize| {
            let sides = || self.sides.iter().map(side);
            (sides().min().unwrap_or(0), sides().max().unwrap_or(0))
        };
        [of(|side| side.0), of(|side| side.1)]
    }
}

fn is_shard(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    path.is_file() && (name.ends_with(".tar") || name.ends_with(".tgz") || name.contains(".tar."))
}

fn holds_shards(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| is_shard(&entry.path())))
}
