//! The codes of a whole training set, before anything is trained on them: what the runs of a sweep, or of a cluster, then find.

use super::codes::{Codes, TOKENS};
use super::device::Device;
use super::load::Loaded;
use super::open::{RunModels, first_stage_of};
use super::progress::Tasks;
use super::run_dir;
use super::sources::{Sources, view};
use crate::checkpoint::Older;
use crate::data::{Fingerprint, Loader, Tally};
use crate::error::{Error, Result};
use crate::inference::ImageTokenizer;
use crate::inference::published::first_stage;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Pictures that are read at once.
const AT_ONCE: usize = 256;

/// What `experiment data encode` did.
#[derive(Debug, Serialize)]
pub struct Encoded {
    /// The file.
    pub path: PathBuf,
    /// Samples of the training set.
    pub samples: usize,
    /// Looks that were coded, and those whose codes were there.
    pub coded: u64,
    /// As `coded`.
    pub found: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Samples that cannot be used, and why.
    pub left_out: String,
}

impl Display for Encoded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Encoded { samples, coded, found, bytes, .. } = self;
        writeln!(f, "{samples} samples: {coded} pictures coded, {found} were there; {bytes} bytes on the disk")?;
        if !self.left_out.is_empty() {
            writeln!(f, "left out: {}", self.left_out)?;
        }
        write!(f, "{}", self.path.display())
    }
}

/// Codes the training set of `loaded` by the first stage that it takes from elsewhere, or that of its newest run below `results`, and
/// keeps the codes where runs below `results` look for them.
///
/// # Errors
/// [`Error::Usage`] where pictures look otherwise each time, or there is no first stage yet; what data, model and disk say.
pub fn encode(loaded: &Loaded, results: &Path, device: Device, progress: bool) -> Result<Encoded> {
    let spec = &loaded.spec;
    let view = view(&spec.data, false);
    if !view.is_fixed() && spec.data.views == 0 {
        let what = "data.augment shows another view of a picture each time: set data.views to code so many of each";
        return Err(Error::Usage(what.into()));
    }
    let architecture = device.to_use(spec)?.architecture(spec)?;
    let (first, weights) = first_stage(loaded, results, device)?;
    let sources = Sources::open(loaded, architecture.geometry.side)?;
    let train = sources.train.as_ref();
    let data = Fingerprint::of(train).hash;
    let side = architecture.geometry.side;
    let loader = Loader::new(train, &sources.name, view, side, (spec.seed, "transformer"), spec.data.max_bad)?
        .with_views(spec.data.views);
    let mut codes = Codes::open(first.as_ref(), train, (spec, &results.join(TOKENS)), (&weights, &data))?;
    let (mut tasks, mut left_out) = (Tasks::new("codes", progress), Tally::default());
    for start in (0..train.len()).step_by(AT_ONCE) {
        tasks.at("pictures", start, train.len());
        codes.fill(loader.reader(), start..train.len().min(start + AT_ONCE), &mut |bad| left_out.add(&bad))?;
        if let Some(why) = &codes.failed {
            return Err(Error::data(results.join(TOKENS), why.clone()));
        }
    }
    let path = codes.path().map(Path::to_owned).unwrap_or_default();
    let bytes = fs::metadata(&path).map_err(Error::io("read", &path))?.blocks() * 512;
    let left_out = if left_out.total() > 0 { left_out.summary() } else { String::new() };
    Ok(Encoded { path, samples: train.len(), coded: codes.coded, found: codes.found, bytes, left_out })
}

/// The first stage, and the blake3 of its weights.
fn first_stage(loaded: &Loaded, results: &Path, device: Device) -> Result<(Box<dyn ImageTokenizer>, String)> {
    let spec = &loaded.spec;
    if let (Some(from), true) = (&spec.first_stage.from, spec.first_stage.is_published()) {
        let file = loaded.folder.join(from);
        let geometry = device.to_use(spec)?.architecture(spec)?.geometry;
        let bytes = fs::read(&file).map_err(Error::io("read", &file))?;
        let model = first_stage::of_size(&file, geometry)?;
        return Ok((Box::new(model), blake3::hash(&bytes).to_hex().to_string()));
    }
    let run = match &spec.first_stage.from {
        Some(from) => run_dir::find(loaded.folder.join(from))?,
        None => run_dir::find_same(results, spec)?.ok_or_else(|| {
            let folder = results.join(&spec.name);
            let what = format!(
                "no run of this spec in {}, and no first_stage.from: expected a first stage that is trained",
                folder.display()
            );
            Error::Usage(what)
        })?,
    };
    let models = RunModels::open(&run, device)?;
    let name = spec.first_stage.kind.name();
    let facts = run_dir::read_run(&run)?;
    if facts["kept"][name]["step"].is_null() {
        return Err(Error::data(
            &run,
            format!("expected a run whose stage {name} is trained to its end: this one's is not"),
        ));
    }
    let model = models.trained(models.first_stage(&mut Older::Refused)?, name)?;
    Ok((model, first_stage_of(&run, &facts)?))
}
