//! The models of a spec, behind their erased traits, and those of a finished run with their weights.

use super::device::Device;
use super::load::Loaded;
use super::notice;
use super::run_dir;
pub use super::run_dir::TOKENIZER;
use super::schema::did_you_mean;
use super::spec::Spec;
use crate::error::{Error, Result};
use crate::models::presets;
use crate::ops::Backend;
use crate::shape::Preset;
use crate::text::{Bpe, ClipVocab, TextVocab};
use crate::train::checkpoint::{BEST, Older};
use crate::train::clip_stage::ClipStage;
use crate::train::config::Keep;
use crate::train::transformer_stage::TransformerStage;
use crate::train::{ImageTokenizer, Ranker, Stage, TokenModel, checkpoint, first_stage};
use crate::with_preset;
use dfdx::tensor::Cpu;
use std::path::{Path, PathBuf};

/// All stages of a preset.
pub struct Models {
    /// Pictures to codes.
    pub first: Box<dyn ImageTokenizer>,
    /// Captions to codes.
    pub transformer: Box<dyn TokenModel>,
    /// Captions against pictures.
    pub clip: Box<dyn Ranker>,
    /// The transformer's text ids.
    pub text: TextVocab,
    /// CLIP's text ids.
    pub clip_text: ClipVocab,
}

impl Models {
    /// Fresh models, every parameter drawn from the spec's seed.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown preset or a setting that does not fit it.
    pub fn build(spec: &Spec) -> Result<Models> {
        on_device(spec, &Cpu::default())
    }

    /// The run at `path` with the weights of its last checkpoints, on `device`.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no run, a stage has no checkpoint yet, or what there is is damaged; [`Error::Device`]
    /// without that device.
    pub fn open(path: &Path, device: Device, which: Which) -> Result<Opened> {
        let run = run_dir::find(path)?;
        let loaded = run_dir::read_spec(&run, presets::NAMES)?;
        run_dir::tokenizer_unchanged(&run)?;
        let bpe = Bpe::load(run.join(TOKENIZER))?;
        let mut models = device.models_to_use(&loaded.spec)?;
        models.text.admits(&bpe, run.join(TOKENIZER))?;
        let checkpoints = run.join("checkpoints");
        let mut warnings = Vec::new();
        let mut tell = |text: &str| {
            notice::line(format_args!("warning: {}: {text}", run.display()));
            warnings.push(text.to_owned());
            Ok(())
        };
        let mut older = match which {
            Which::Newest => Older::Refused,
            Which::OrOlder => Older::Told(&mut tell),
        };
        let found = models.restore(&checkpoints, &mut older)?;
        let facts = run_dir::read_run(&run)?;
        let spec = &loaded.spec;
        let keeps = [spec.first_stage.keep, spec.transformer.keep, spec.clip.keep];
        for ((stage, _), keep) in found.into_iter().zip(keeps) {
            // A stage that is still in training has not said yet which weights it keeps.
            let (Keep::Best, Some(step)) = (keep, facts["kept"][stage]["step"].as_u64()) else { continue };
            let folder = checkpoints.join(stage).join(BEST);
            if checkpoint::reaches(&folder, step)? {
                continue;
            }
            let what = format!("expected the best weights, of step {step}: they are not there");
            match &mut older {
                Older::Refused => {
                    let hint = "--resume trains them again, --allow-older-checkpoint uses others";
                    return Err(Error::data(&folder, format!("{what}; {hint}")));
                }
                Older::Told(tell) => tell(&format!("{stage}/{BEST}: {what}; others are used"))?,
            }
        }
        match found.into_iter().find(|(_, step)| step.is_none()) {
            Some((stage, _)) => Err(missing(&checkpoints, stage)),
            None => Ok(Opened { run, loaded, models, bpe, warnings }),
        }
    }

    /// Restores each stage from its newest checkpoint under `checkpoints`, or as `older` says: (stage, step it was written
    /// after, if there is one).
    ///
    /// # Errors
    /// Those of [`restore`].
    pub fn restore(&mut self, checkpoints: &Path, older: &mut Older<'_>) -> Result<[(&'static str, Option<u64>); 3]> {
        let stages = [self.first.as_mut() as &mut dyn Stage, self.transformer.as_mut(), self.clip.as_mut()];
        let mut found = [("", None); 3];
        for (found, stage) in found.iter_mut().zip(stages) {
            *found = (stage.name(), restore(stage, checkpoints, older)?);
            freeze_best(stage, checkpoints, older)?;
        }
        Ok(found)
    }
}

/// A run that is opened to be used.
pub struct Opened {
    /// Its folder.
    pub run: PathBuf,
    /// Its spec.
    pub loaded: Loaded,
    /// With the weights of its last checkpoints.
    pub models: Models,
    /// Its tokenizer.
    pub bpe: Bpe,
    /// What was damaged, for whoever writes down what comes of the models; it has been said on stderr.
    pub warnings: Vec<String>,
}

/// Which checkpoints of a run are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    /// The newest; a damaged one is an error.
    #[default]
    Newest,
    /// An older one where the newest is damaged, which is said.
    OrOlder,
}

/// A stage that is to be used has no checkpoint.
pub fn missing(checkpoints: &Path, stage: &str) -> Error {
    Error::data(checkpoints, format!("expected a checkpoint of stage {stage}, found none: has the run got that far?"))
}

/// Restores `stage` from its newest checkpoint under `checkpoints`, or as `older` says: the step it was written after, if there
/// is one.
///
/// # Errors
/// Those of [`checkpoint::latest`], and what the stage says of its files.
pub fn restore(stage: &mut dyn Stage, checkpoints: &Path, older: &mut Older<'_>) -> Result<Option<u64>> {
    match checkpoint::latest(checkpoints.join(stage.name()), older)? {
        Some(found) => {
            stage.restore(&|name| found.read(name))?;
            Ok(Some(found.step))
        }
        None => Ok(None),
    }
}

/// Fixes the best weights of `stage` under `checkpoints` for use: the step they are of, if any are kept there.
///
/// # Errors
/// Those of [`checkpoint::latest`], and what the stage says of its file.
pub fn freeze_best(stage: &mut dyn Stage, checkpoints: &Path, older: &mut Older<'_>) -> Result<Option<u64>> {
    match checkpoint::latest(checkpoints.join(stage.name()).join(checkpoint::BEST), older)? {
        Some(found) => {
            stage.freeze_at(&|name| found.read(name))?;
            Ok(Some(found.step))
        }
        None => Ok(None),
    }
}

/// [`Models::build`] on any device.
///
/// # Errors
/// Those of [`Models::build`], and what the device says.
pub(super) fn on_device<D: Backend<f32>>(spec: &Spec, device: &D) -> Result<Models>
where
    Error: From<D::Err>,
{
    if spec.preset == "paper" {
        let what = "preset paper can be planned (experiment plan), not built: its optimiser state alone is 200 GB";
        return Err(Error::Usage(what.into()));
    }
    let preset = spec.preset.as_str();
    // The paper's would only lengthen the build.
    let found = with_preset!(preset, P => of_preset::<P, D>(spec, device); "tiny" Tiny, "mini" Mini, "emoji" Emoji);
    #[cfg(feature = "cli")]
    let found = found
        .or_else(|| with_preset!(preset, P => of_preset::<P, D>(spec, device); "bench-s" BenchS, "bench-l" BenchL));
    found.unwrap_or_else(|| Err(unknown(preset)))
}

/// [`Models::build`] of a preset's type, whatever the spec calls it.
///
/// # Errors
/// Those of [`Models::build`].
pub fn build<P: Preset>(spec: &Spec) -> Result<Models> {
    of_preset::<P, Cpu>(spec, &Cpu::default())
}

fn of_preset<P: Preset, D: Backend<f32>>(spec: &Spec, device: &D) -> Result<Models>
where
    Error: From<D::Err>,
{
    let () = P::CHECK;
    let slots = <<P::Transformer as crate::shape::TransformerShape>::Text as dfdx::shapes::ConstDim>::SIZE;
    let context = <<P::Clip as crate::shape::TextTowerShape>::Context as dfdx::shapes::ConstDim>::SIZE;
    if spec.text.vocabulary > P::BPE {
        let (asked, most) = (spec.text.vocabulary, P::BPE);
        return Err(Error::Usage(format!("text.vocabulary: preset {} holds {most} tokens, got {asked}", P::NAME)));
    }
    Ok(Models {
        first: first_stage::build::<P::Dvae, D>(&spec.first_stage, spec.seed, device.clone())?,
        transformer: Box::new(TransformerStage::<P::Transformer, D>::new(
            &spec.transformer,
            spec.seed,
            device.clone(),
        )?),
        clip: Box::new(ClipStage::<P::Clip, D>::new(&spec.clip, spec.seed, device.clone())?),
        text: TextVocab { bpe: P::BPE, slots },
        clip_text: ClipVocab { bpe: P::BPE, context },
    })
}

/// No preset of that name; the nearest one is suggested.
pub(super) fn unknown(preset: &str) -> Error {
    let hint = did_you_mean(preset, presets::NAMES).map_or_else(String::new, |hint| format!("; {hint}"));
    Error::Usage(format!("unknown preset {preset:?}: expected one of {}{hint}", presets::NAMES.join(", ")))
}
