//! Opening what is to be used: a run's models, each from the averaged weights of its own stage and nothing else, or published ones
//! from an imported file.

use super::device::Device;
use super::lenders::{CLIP, FIRST_STAGE};
use super::loaded::Loaded;
use super::models::{Architecture, Family, Models};
use super::notice;
use super::run_dir::{self, TOKENIZER};
use crate::checkpoint::{self, BEST, Older};
use crate::error::{Error, Result};
use crate::inference::published::{clip, first_stage, rudalle};
use crate::inference::{AVERAGED, Codec, Generator, ImageTokenizer, Reranker, TokenModel};
use crate::models::presets;
use crate::spec::Keep;
use crate::text::Bpe;
use crate::train::MODEL;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Which checkpoints of a run are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    /// The newest; a damaged one is an error.
    #[default]
    Newest,
    /// An older one where the newest is damaged, which is said.
    OrOlder,
}

/// A run that is opened to be used.
pub struct Opened {
    /// Its folder.
    pub run: PathBuf,
    /// Its spec.
    pub loaded: Loaded,
    /// With the weights that it kept.
    pub models: Models,
    /// Its tokenizer.
    pub bpe: Rc<Bpe>,
    /// What was damaged, for whoever writes down what comes of the models; it has been said on stderr.
    pub warnings: Vec<String>,
}

impl Opened {
    /// The run at `path` with the weights that it kept, on `device`.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no run, a stage has no checkpoint yet, or what there is is damaged; [`Error::Device`]
    /// without that device.
    pub fn open(path: &Path, device: Device, which: Which) -> Result<Opened> {
        let mut run = RunModels::open(path, device)?;
        let models = run.told(which, |run, older| {
            Ok(Models {
                architecture: run.architecture.clone(),
                first: run.trained(run.first_stage(older)?, run.loaded.spec.first_stage.kind.name())?.into(),
                transformer: run.trained(run.transformer(older)?, "transformer")?.into(),
                reranker: run.reranker(older)?.map(|(_, found)| found).ok_or_else(|| missing(&run.run, "clip"))?,
            })
        })?;
        let bpe = run.tokenizer()?;
        let RunModels { run, loaded, warnings, .. } = run;
        Ok(Opened { run, loaded, models, bpe, warnings })
    }
}

/// Where a run's checkpoints lie.
const CHECKPOINTS: &str = "checkpoints";

/// A run whose models can be opened one by one.
pub struct RunModels {
    run: PathBuf,
    loaded: Loaded,
    facts: Value,
    family: Box<dyn Family>,
    architecture: Architecture,
    warnings: Vec<String>,
}

/// A stage's model and the step that its weights are of; none before its first checkpoint.
pub type Found<F> = Option<(u64, Box<F>)>;

impl RunModels {
    /// The run at `path`.
    ///
    /// # Errors
    /// Those of [`run_dir::find`], [`run_dir::read_spec`] and [`Family::architecture`].
    pub fn open(path: &Path, device: Device) -> Result<RunModels> {
        let run = run_dir::find(path)?;
        let loaded = run_dir::read_spec(&run, presets::NAMES)?;
        let family = device.to_use(&loaded.spec)?;
        RunModels::of(run, loaded, family)
    }

    /// The run in `run`, whose models are of `family`.
    ///
    /// # Errors
    /// Those of [`run_dir::read_run`] and [`Family::architecture`].
    pub fn of(run: PathBuf, loaded: Loaded, family: Box<dyn Family>) -> Result<RunModels> {
        let facts = run_dir::read_run(&run)?;
        let architecture = family.architecture(&loaded.spec)?;
        Ok(RunModels { run, loaded, facts, family, architecture, warnings: Vec::new() })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.run
    }

    /// Its spec.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The sizes of its models.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// What was damaged of it, of what was opened.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// [`Error::Data`] where it is missing, was changed, or does not fit the models.
    pub fn tokenizer(&self) -> Result<Rc<Bpe>> {
        run_dir::tokenizer_unchanged(&self.run)?;
        let file = self.run.join(TOKENIZER);
        let bpe = Bpe::load(&file)?;
        self.architecture.text.admits(&bpe, file)?;
        Ok(Rc::new(bpe))
    }

    /// What `open` opens of it, with what is damaged refused or told, as `which` says.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn told<T>(&mut self, which: Which, open: impl FnOnce(&RunModels, &mut Older<'_>) -> Result<T>) -> Result<T> {
        let mut warnings = Vec::new();
        let mut tell = |text: &str| {
            notice::line(format_args!("warning: {}: {text}", self.run.display()));
            warnings.push(text.to_owned());
            Ok(())
        };
        let mut older = match which {
            Which::Newest => Older::Refused,
            Which::OrOlder => Older::Told(&mut tell),
        };
        let opened = open(self, &mut older);
        self.warnings.extend(warnings);
        opened
    }

    /// Its first stage; of a published one the step is 0.
    ///
    /// # Errors
    /// [`Error::Data`] for a damaged checkpoint, or best weights that are not there.
    pub fn first_stage(&self, older: &mut Older<'_>) -> Result<Found<dyn ImageTokenizer>> {
        let spec = &self.loaded.spec;
        if spec.first_stage.is_published() {
            return self.published(FIRST_STAGE, |file| {
                Ok(Box::new(first_stage::of_size(file, self.architecture.geometry)?) as Box<dyn ImageTokenizer>)
            });
        }
        let found = self.weights((spec.first_stage.kind.name(), spec.first_stage.keep), older)?;
        found.map(|(step, weights)| Ok((step, self.family.first_stage(spec, &weights)?))).transpose()
    }

    /// Its transformer.
    ///
    /// # Errors
    /// Those of [`RunModels::first_stage`].
    pub fn transformer(&self, older: &mut Older<'_>) -> Result<Found<dyn TokenModel>> {
        let spec = &self.loaded.spec;
        let found = self.weights(("transformer", spec.transformer.keep), older)?;
        found.map(|(step, weights)| Ok((step, self.family.transformer(spec, &weights)?))).transpose()
    }

    /// Its CLIP, with the way that it reads; of a published one the step is 0.
    ///
    /// # Errors
    /// Those of [`RunModels::first_stage`] and [`RunModels::tokenizer`].
    pub fn reranker(&self, older: &mut Older<'_>) -> Result<Option<(u64, Reranker)>> {
        let spec = &self.loaded.spec.clip;
        if spec.is_published() {
            let found = self.published(CLIP, |file| Ok(Box::new(clip::open(file, None)?)))?;
            return Ok(found.map(|(step, found)| (step, *found)));
        }
        let Some((step, weights)) = self.weights(("clip", spec.keep), older)? else { return Ok(None) };
        let model = self.family.clip(&weights)?;
        Ok(Some((step, Reranker::trained(model.into(), self.tokenizer()?, self.architecture.clip_text))))
    }

    /// The model of a file in the run's folder, where that has been brought there.
    fn published<F: ?Sized>(&self, name: &str, open: impl FnOnce(&Path) -> Result<Box<F>>) -> Result<Found<F>> {
        let file = self.run.join(name);
        if !file.is_file() {
            return Ok(None);
        }
        run_dir::file_unchanged(&self.run, &self.facts, name)?;
        Ok(Some((0, open(&file)?)))
    }

    /// The weights that are used of the first stage, the transformer and CLIP: the stage's name, the step, and the safetensors file as
    /// it lies there.
    ///
    /// # Errors
    /// Those of [`RunModels::first_stage`]; [`Error::Data`] before the first checkpoint of one, and for a published file.
    pub fn files(&self, older: &mut Older<'_>) -> Result<[(&'static str, u64, Vec<u8>); 3]> {
        let spec = &self.loaded.spec;
        for (key, published) in [("first_stage", spec.first_stage.is_published()), ("clip", spec.clip.is_published())] {
            if published {
                let what =
                    format!("{key} is a published file, which has its own format: only what was trained is exported");
                return Err(Error::data(&self.run, what));
            }
        }
        let mut file = |stage: &'static str, keep| -> Result<_> {
            let (step, bytes) = self.weights((stage, keep), older)?.ok_or_else(|| missing(&self.run, stage))?;
            Ok((stage, step, bytes))
        };
        Ok([
            file(spec.first_stage.kind.name(), spec.first_stage.keep)?,
            file("transformer", spec.transformer.keep)?,
            file("clip", spec.clip.keep)?,
        ])
    }

    /// The model that was found.
    ///
    /// # Errors
    /// [`Error::Data`] before the first checkpoint of `stage`.
    pub fn trained<F: ?Sized>(&self, found: Found<F>, stage: &str) -> Result<Box<F>> {
        found.map(|(_, model)| model).ok_or_else(|| missing(&self.run, stage))
    }

    /// The weights that are used of a stage, and their step: the best where they are kept, else the newest; the average where there
    /// is one. A stage that is still in training has not said yet which it keeps.
    fn weights(&self, stage: (&str, Keep), older: &mut Older<'_>) -> Result<Option<(u64, Vec<u8>)>> {
        kept_weights((&self.run, &self.facts), stage, older)
    }
}

/// The weights that are used of a stage of a run and their step, as [`RunModels`] opens them.
///
/// # Errors
/// [`Error::Data`] for a damaged checkpoint, or best weights that are not there.
pub fn kept_weights(
    (run, facts): (&Path, &Value),
    (stage, keep): (&str, Keep),
    older: &mut Older<'_>,
) -> Result<Option<(u64, Vec<u8>)>> {
    const FILES: [&str; 2] = [AVERAGED, MODEL];
    let folder = run.join(CHECKPOINTS).join(stage);
    if keep == Keep::Last {
        return checkpoint::latest_file(&folder, &FILES, older);
    }
    let best = folder.join(BEST);
    let found = checkpoint::latest_file(&best, &FILES, older)?;
    if let Some(step) = facts["kept"][stage]["step"].as_u64()
        && found.as_ref().is_none_or(|(found, _)| *found < step)
    {
        let what = format!("expected the best weights, of step {step}: they are not there");
        match older {
            Older::Refused => {
                let hint = "--resume trains them again, --allow-older-checkpoint uses others";
                return Err(Error::data(&best, format!("{what}; {hint}")));
            }
            Older::Told(tell) => tell(&format!("{stage}/{BEST}: {what}; others are used"))?,
        }
    }
    if found.is_some() { Ok(found) } else { checkpoint::latest_file(&folder, &FILES, older) }
}

/// The blake3 of the weights of a run's first stage.
///
/// # Errors
/// Those of [`kept_weights`]; [`Error::Data`] before it is trained.
pub fn first_stage_of(run: &Path, facts: &Value) -> Result<String> {
    let spec = run_dir::read_spec(run, presets::NAMES)?.spec.first_stage;
    let name = spec.kind.name();
    if spec.is_published() {
        return run_dir::sealed(facts, FIRST_STAGE).ok_or_else(|| missing(run, FIRST_STAGE));
    }
    let found = kept_weights((run, facts), (name, spec.keep), &mut Older::Refused)?;
    let (_, weights) = found.ok_or_else(|| missing(run, name))?;
    Ok(blake3::hash(&weights).to_hex().to_string())
}

/// A stage of `run` that is to be used has no checkpoint.
pub fn missing(run: &Path, stage: &str) -> Error {
    let what = format!("expected a checkpoint of stage {stage}, found none: has the run got that far?");
    Error::data(run.join(CHECKPOINTS), what)
}

/// What codes pictures: the first stage of the run at `path`, on `device`, or of the file there that `experiment import`
/// wrote, OpenAI's dVAE or a Gumbel VQGAN.
///
/// # Errors
/// [`Error::Data`] where there is neither, or the file holds another model; [`Error::Usage`] for a file on a GPU.
pub fn codec(path: &Path, device: Device, which: Which) -> Result<Box<dyn Codec>> {
    if path.is_file() {
        device.only_cpu(path)?;
        return first_stage::open(path);
    }
    let mut run = RunModels::open(path, device)?;
    let found = run.told(which, |run, older| run.first_stage(older))?;
    Ok(run.trained(found, run.loaded.spec.first_stage.kind.name())?)
}

/// What ranks pictures: the CLIP of the run at `path`, on `device`, or of the file there that `experiment import` wrote. `merges`
/// is the published tokenizer's file; left out, it lies beside the imported one under its published name.
///
/// # Errors
/// [`Error::Data`] where there is neither, or the file holds another model; [`Error::Usage`] for a file on a GPU.
pub fn reranker(path: &Path, merges: Option<&Path>, device: Device, which: Which) -> Result<Reranker> {
    if path.is_file() {
        device.only_cpu(path)?;
        return clip::open(path, merges);
    }
    let mut run = RunModels::open(path, device)?;
    let found = run.told(which, |run, older| run.reranker(older))?;
    found.map(|(_, reranker)| reranker).ok_or_else(|| missing(&run.run, "clip"))
}

/// What draws pictures: the models of the run at `path`, on `device`.
///
/// # Errors
/// Those of [`Opened::open`].
pub fn generator(path: &Path, device: Device, which: Which) -> Result<Generator> {
    let Opened { loaded, models, bpe, .. } = Opened::open(path, device, which)?;
    Ok(models.generator(&loaded.spec, &bpe))
}

/// ruDALL-E. On a GPU it samples there; everything else runs on the CPU.
///
/// # Errors
/// Those of [`rudalle::open`]; [`Error::Usage`] for a GPU without kernels of our own.
pub fn rudalle(files: rudalle::Files<'_>, device: Device) -> Result<Generator> {
    device.own_kernels("ruDALL-E")?;
    rudalle::open(files)
}
