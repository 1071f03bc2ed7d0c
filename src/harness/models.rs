//! The models of a spec, behind their erased traits, and those of a finished run with their weights.

use super::device::Device;
use super::run_dir;
use super::schema::did_you_mean;
use super::spec::Spec;
use crate::error::{Error, Result};
use crate::models::presets;
use crate::ops::Backend;
use crate::shape::Preset;
use crate::text::{Bpe, ClipVocab, TextVocab};
use crate::train::clip_stage::ClipStage;
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

    /// The models of the run at `path` with the weights of their last checkpoints, on `device`, and its tokenizer.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no run, or a stage has no checkpoint yet; [`Error::Device`] without that device.
    pub fn open(path: &Path, device: Device) -> Result<(PathBuf, Spec, Models, Bpe)> {
        let run = run_dir::find(path)?;
        let spec = run_dir::read_spec(&run, presets::NAMES)?.spec;
        let bpe = Bpe::load(run.join(TOKENIZER))?;
        let mut models = device.models_to_use(&spec)?;
        let checkpoints = run.join("checkpoints");
        let found = models.restore(&checkpoints)?;
        match found.into_iter().find(|(_, step)| step.is_none()) {
            Some((stage, _)) => Err(missing(&checkpoints, stage)),
            None => Ok((run, spec, models, bpe)),
        }
    }

    /// Restores each stage from its newest good checkpoint under `checkpoints`: (stage, step it was written after, if there
    /// is one).
    ///
    /// # Errors
    /// Those of [`restore`].
    pub fn restore(&mut self, checkpoints: &Path) -> Result<[(&'static str, Option<u64>); 3]> {
        let stages = [self.first.as_mut() as &mut dyn Stage, self.transformer.as_mut(), self.clip.as_mut()];
        let mut found = [("", None); 3];
        for (found, stage) in found.iter_mut().zip(stages) {
            *found = (stage.name(), restore(stage, checkpoints)?);
        }
        Ok(found)
    }
}

/// A stage that is to be used has no checkpoint.
pub fn missing(checkpoints: &Path, stage: &str) -> Error {
    Error::data(checkpoints, format!("expected a checkpoint of stage {stage}, found none: has the run got that far?"))
}

/// The tokenizer's file in a run.
pub const TOKENIZER: &str = "tokenizer.json";

/// Restores `stage` from its newest good checkpoint under `checkpoints`: the step it was written after, if there is one.
pub fn restore(stage: &mut dyn Stage, checkpoints: &Path) -> Result<Option<u64>> {
    match checkpoint::latest(checkpoints.join(stage.name()))? {
        Some(found) => {
            stage.restore(&|name| found.read(name))?;
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
        let what = "preset paper can be planned (experiment plan), not built: its optimiser's moments alone are 98 GB";
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
