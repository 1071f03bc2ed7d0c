//! The models of a preset on a device, behind their erased traits: in training, and with the weights of a run.

use super::device::Device;
use super::load::Loaded;
use super::notice;
use super::run_dir;
pub use super::run_dir::TOKENIZER;
use super::schema::did_you_mean;
use super::spec::Spec;
use crate::error::{Error, Result};
use crate::inference::{
    AVERAGED, Embedder, FrozenClip, FrozenFirstStage, FrozenTransformer, Geometry, ImageTokenizer, TokenModel, masks,
};
use crate::mask::{Layout, Pattern};
use crate::models::{clip::Clip, dvae::Dvae, presets, transformer::Transformer, vqvae::Vqvae};
use crate::nn::{describe, weights};
use crate::ops::Backend;
use crate::shape::{DvaeShape, Preset, TextTowerShape, TransformerShape};
use crate::text::{Bpe, ClipVocab, TextVocab};
use crate::train::checkpoint::{self, BEST, Older};
use crate::train::clip_stage::ClipTrainer;
use crate::train::config::{FirstStageKind, Keep};
use crate::train::transformer_stage::{TransformerTrainer, patterns};
use crate::train::{Learns, MODEL, first_stage};
use crate::with_preset;
use dfdx::nn::TensorCollection;
use dfdx::prelude::{ConstDim, Cpu};
use serde_json::Value;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// The sizes of a spec's models, without any of them.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// The first stage's.
    pub geometry: Geometry,
    /// The transformer's text slots and grid.
    pub layout: Layout,
    /// The attention pattern of each of its layers.
    pub patterns: Vec<Pattern>,
    /// Its text ids.
    pub text: TextVocab,
    /// CLIP's text ids.
    pub clip_text: ClipVocab,
    /// What first stage, transformer and CLIP learn.
    pub parameters: [usize; 3],
}

/// The models of a preset on a device: in training, and with weights that are fixed, those of a safetensors file by name.
pub trait Family {
    /// The sizes of the spec's models.
    ///
    /// # Errors
    /// [`Error::Usage`] for a setting that does not fit the preset.
    fn architecture(&self, spec: &Spec) -> Result<Architecture>;
    /// The first stage, every parameter drawn from the spec's seed.
    fn train_first_stage(&self, spec: &Spec) -> Result<Box<dyn Learns<dyn ImageTokenizer>>>;
    /// The transformer, every parameter drawn from the spec's seed.
    fn train_transformer(&self, spec: &Spec) -> Result<Box<dyn Learns<dyn TokenModel>>>;
    /// CLIP, every parameter drawn from the spec's seed.
    fn train_clip(&self, spec: &Spec) -> Result<Box<dyn Learns<dyn Embedder>>>;
    /// The first stage of some weights.
    fn first_stage(&self, spec: &Spec, weights: &[u8]) -> Result<Box<dyn ImageTokenizer>>;
    /// The transformer of some weights.
    fn transformer(&self, spec: &Spec, weights: &[u8]) -> Result<Box<dyn TokenModel>>;
    /// The CLIP of some weights.
    fn clip(&self, weights: &[u8]) -> Result<Box<dyn Embedder>>;
}

/// The family of a preset's type.
struct Of<P, D> {
    device: D,
    preset: PhantomData<P>,
}

impl<P: Preset, D: Backend<f32>> Family for Of<P, D>
where
    Error: From<D::Err>,
{
    fn architecture(&self, spec: &Spec) -> Result<Architecture> {
        let () = P::CHECK;
        if spec.text.vocabulary > P::BPE {
            let (asked, most) = (spec.text.vocabulary, P::BPE);
            return Err(Error::Usage(format!("text.vocabulary: preset {} holds {most} tokens, got {asked}", P::NAME)));
        }
        let slots = <P::Transformer as TransformerShape>::Text::SIZE;
        let first = match spec.first_stage.kind {
            FirstStageKind::Dvae => parameters::<Dvae<P::Dvae, f32, Cpu>>(),
            FirstStageKind::Vqvae => parameters::<Vqvae<P::Dvae, f32, Cpu>>(),
        };
        Ok(Architecture {
            geometry: Geometry {
                side: <P::Dvae as DvaeShape>::Side::SIZE,
                grid: <P::Dvae as DvaeShape>::Grid::SIZE,
                codes: <P::Dvae as DvaeShape>::Codes::SIZE,
            },
            layout: Layout { text: slots, grid: <P::Transformer as TransformerShape>::Grid::SIZE },
            patterns: patterns(&spec.transformer, <P::Transformer as TransformerShape>::DEPTH)?,
            text: TextVocab { bpe: P::BPE, slots },
            clip_text: ClipVocab { bpe: P::BPE, context: <P::Clip as TextTowerShape>::Context::SIZE },
            parameters: [
                first,
                parameters::<Transformer<P::Transformer, f32, Cpu>>(),
                parameters::<Clip<P::Clip, f32, Cpu>>(),
            ],
        })
    }

    fn train_first_stage(&self, spec: &Spec) -> Result<Box<dyn Learns<dyn ImageTokenizer>>> {
        first_stage::build::<P::Dvae, D>(&spec.first_stage, spec.seed, self.device.clone())
    }

    fn train_transformer(&self, spec: &Spec) -> Result<Box<dyn Learns<dyn TokenModel>>> {
        let device = self.device.clone();
        Ok(Box::new(TransformerTrainer::<P::Transformer, D>::new(&spec.transformer, spec.seed, device)?))
    }

    fn train_clip(&self, spec: &Spec) -> Result<Box<dyn Learns<dyn Embedder>>> {
        Ok(Box::new(ClipTrainer::<P::Clip, D>::new(&spec.clip, spec.seed, self.device.clone())?))
    }

    fn first_stage(&self, spec: &Spec, weights: &[u8]) -> Result<Box<dyn ImageTokenizer>> {
        let (device, spec) = (self.device.clone(), &spec.first_stage);
        let (clamp, straight) = (spec.clamp_log_b, spec.straight_through);
        Ok(match spec.kind {
            FirstStageKind::Dvae => {
                let model: Dvae<P::Dvae, f32, D> = weights::model(&device, weights, AVERAGED)?;
                Box::new(FrozenFirstStage::<P::Dvae, _, D>::new(model, device, clamp, straight))
            }
            FirstStageKind::Vqvae => {
                let model: Vqvae<P::Dvae, f32, D> = weights::model(&device, weights, AVERAGED)?;
                Box::new(FrozenFirstStage::<P::Dvae, _, D>::new(model, device, clamp, straight))
            }
        })
    }

    fn transformer(&self, spec: &Spec, weights: &[u8]) -> Result<Box<dyn TokenModel>> {
        let Architecture { patterns, layout, .. } = self.architecture(spec)?;
        let (masks, model) = (masks(&patterns, layout), weights::model(&self.device, weights, AVERAGED)?);
        Ok(Box::new(FrozenTransformer::<P::Transformer, D>::new(model, patterns, masks, spec.transformer.pad_loss)))
    }

    fn clip(&self, weights: &[u8]) -> Result<Box<dyn Embedder>> {
        let model = weights::model(&self.device, weights, AVERAGED)?;
        Ok(Box::new(FrozenClip::<P::Clip, D>::new(model, self.device.clone())))
    }
}

fn parameters<M: TensorCollection<f32, Cpu>>() -> usize {
    describe::<M, f32, Cpu>().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// The family of a preset's type on the CPU, whatever the spec calls it.
///
/// # Errors
/// None.
pub fn of<P: Preset>(_: &Spec) -> Result<Box<dyn Family>> {
    Ok(Box::new(Of::<P, Cpu> { device: Cpu::default(), preset: PhantomData }))
}

/// The family that the spec names, on the CPU.
///
/// # Errors
/// [`Error::Usage`] for an unknown preset, or one that is only planned.
pub fn named(spec: &Spec) -> Result<Box<dyn Family>> {
    on_device(spec, &Cpu::default())
}

/// [`named`] on any device.
///
/// # Errors
/// Those of [`named`].
pub(super) fn on_device<D: Backend<f32>>(spec: &Spec, device: &D) -> Result<Box<dyn Family>>
where
    Error: From<D::Err>,
{
    if spec.preset == "paper" {
        let what = "preset paper can be planned (experiment plan), not built: its optimiser's moments alone are 98 GB";
        return Err(Error::Usage(what.into()));
    }
    let preset = spec.preset.as_str();
    // The paper's would only lengthen the build.
    let found = with_preset!(preset, P => boxed::<P, D>(device); "tiny" Tiny, "mini" Mini, "emoji" Emoji);
    #[cfg(feature = "cli")]
    let found = found.or_else(|| with_preset!(preset, P => boxed::<P, D>(device); "bench-s" BenchS, "bench-l" BenchL));
    found.ok_or_else(|| unknown(preset))
}

fn boxed<P: Preset, D: Backend<f32>>(device: &D) -> Box<dyn Family>
where
    Error: From<D::Err>,
{
    Box::new(Of::<P, D> { device: device.clone(), preset: PhantomData })
}

/// No preset of that name; the nearest one is suggested.
pub(super) fn unknown(preset: &str) -> Error {
    let hint = did_you_mean(preset, presets::NAMES).map_or_else(String::new, |hint| format!("; {hint}"));
    Error::Usage(format!("unknown preset {preset:?}: expected one of {}{hint}", presets::NAMES.join(", ")))
}

/// First stage, transformer and CLIP with their weights fixed.
pub struct Models {
    /// Their sizes.
    pub architecture: Architecture,
    /// Pictures to codes.
    pub first: Box<dyn ImageTokenizer>,
    /// Captions to codes.
    pub transformer: Box<dyn TokenModel>,
    /// Captions against pictures.
    pub clip: Box<dyn Embedder>,
}

impl Models {
    /// Models that have learned nothing, drawn from the spec's seed.
    ///
    /// # Errors
    /// Those of [`named`] and [`Family::architecture`].
    pub fn untrained(spec: &Spec) -> Result<Models> {
        let family = named(spec)?;
        Ok(Models {
            architecture: family.architecture(spec)?,
            first: family.train_first_stage(spec)?.frozen()?,
            transformer: family.train_transformer(spec)?.frozen()?,
            clip: family.train_clip(spec)?.frozen()?,
        })
    }

    /// The run at `path` with the weights that it kept, on `device`.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no run, a stage has no checkpoint yet, or what there is is damaged; [`Error::Device`]
    /// without that device.
    pub fn open(path: &Path, device: Device, which: Which) -> Result<Opened> {
        let mut source = Source::open(path, device)?;
        let models = source.told(which, |source, older| {
            let (first, transformer, clip) =
                (source.first_stage(older)?.1, source.transformer(older)?.1, source.clip(older)?.1);
            let missing = |stage| missing(&source.run.join(CHECKPOINTS), stage);
            let first_name = source.loaded.spec.first_stage.kind.name();
            Ok(Models {
                architecture: source.architecture.clone(),
                first: first.ok_or_else(|| missing(first_name))?,
                transformer: transformer.ok_or_else(|| missing("transformer"))?,
                clip: clip.ok_or_else(|| missing("clip"))?,
            })
        })?;
        let bpe = source.tokenizer()?;
        let Source { run, loaded, warnings, .. } = source;
        Ok(Opened { run, loaded, models, bpe, warnings })
    }
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

/// Where a run's checkpoints lie.
const CHECKPOINTS: &str = "checkpoints";

/// A run whose models can be opened one by one: each reads its own stage's files and no other's.
pub struct Source {
    run: PathBuf,
    loaded: Loaded,
    facts: Value,
    family: Box<dyn Family>,
    architecture: Architecture,
    warnings: Vec<String>,
}

/// The step of a stage's newest checkpoint and its model, where there is one.
pub type Found<F> = (Option<u64>, Option<Box<F>>);

impl Source {
    /// The run at `path`.
    ///
    /// # Errors
    /// Those of [`run_dir::find`], [`run_dir::read_spec`] and [`Family::architecture`].
    pub fn open(path: &Path, device: Device) -> Result<Source> {
        let run = run_dir::find(path)?;
        let loaded = run_dir::read_spec(&run, presets::NAMES)?;
        let family = device.to_use(&loaded.spec)?;
        Source::of(run, loaded, family)
    }

    /// The run in `run`, whose models are of `family`.
    ///
    /// # Errors
    /// Those of [`run_dir::read_run`] and [`Family::architecture`].
    pub fn of(run: PathBuf, loaded: Loaded, family: Box<dyn Family>) -> Result<Source> {
        let facts = run_dir::read_run(&run)?;
        let architecture = family.architecture(&loaded.spec)?;
        Ok(Source { run, loaded, facts, family, architecture, warnings: Vec::new() })
    }

    /// Its spec.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The sizes of its models.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// [`Error::Data`] where it is missing, was changed, or does not fit the models.
    pub fn tokenizer(&self) -> Result<Bpe> {
        run_dir::tokenizer_unchanged(&self.run)?;
        let file = self.run.join(TOKENIZER);
        let bpe = Bpe::load(&file)?;
        self.architecture.text.admits(&bpe, file)?;
        Ok(bpe)
    }

    /// What `open` opens of it, with what is damaged refused or told, as `which` says.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn told<T>(&mut self, which: Which, open: impl FnOnce(&Source, &mut Older<'_>) -> Result<T>) -> Result<T> {
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

    /// Its first stage.
    ///
    /// # Errors
    /// [`Error::Data`] for a damaged checkpoint, or best weights that are not there.
    pub fn first_stage(&self, older: &mut Older<'_>) -> Result<Found<dyn ImageTokenizer>> {
        let spec = &self.loaded.spec;
        let found = self.weights((spec.first_stage.kind.name(), spec.first_stage.keep), older)?;
        split(found, |weights| self.family.first_stage(spec, &weights))
    }

    /// Its transformer.
    ///
    /// # Errors
    /// Those of [`Source::first_stage`].
    pub fn transformer(&self, older: &mut Older<'_>) -> Result<Found<dyn TokenModel>> {
        let spec = &self.loaded.spec;
        let found = self.weights(("transformer", spec.transformer.keep), older)?;
        split(found, |weights| self.family.transformer(spec, &weights))
    }

    /// Its CLIP.
    ///
    /// # Errors
    /// Those of [`Source::first_stage`].
    pub fn clip(&self, older: &mut Older<'_>) -> Result<Found<dyn Embedder>> {
        let found = self.weights(("clip", self.loaded.spec.clip.keep), older)?;
        split(found, |weights| self.family.clip(&weights))
    }

    /// The step of a stage's newest checkpoint, and the weights that are used: the best where they are kept, else its average.
    fn weights(&self, (stage, keep): (&str, Keep), older: &mut Older<'_>) -> Result<Option<(u64, Vec<u8>)>> {
        let folder = self.run.join(CHECKPOINTS).join(stage);
        let Some(newest) = checkpoint::latest(&folder, older)? else { return Ok(None) };
        let best = folder.join(BEST);
        let used = checkpoint::latest(&best, older)?;
        // A stage that is still in training has not said yet which weights it keeps.
        if let (Keep::Best, Some(step)) = (keep, self.facts["kept"][stage]["step"].as_u64())
            && used.as_ref().is_none_or(|used| used.step < step)
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
        let step = newest.step;
        let used = used.unwrap_or(newest);
        let file = if used.files().any(|file| file == AVERAGED) { AVERAGED } else { MODEL };
        Ok(Some((step, used.read(file)?)))
    }
}

fn split<F: ?Sized>(found: Option<(u64, Vec<u8>)>, model: impl FnOnce(Vec<u8>) -> Result<Box<F>>) -> Result<Found<F>> {
    match found {
        Some((step, weights)) => Ok((Some(step), Some(model(weights)?))),
        None => Ok((None, None)),
    }
}

/// A stage that is to be used has no checkpoint.
pub fn missing(checkpoints: &Path, stage: &str) -> Error {
    Error::data(checkpoints, format!("expected a checkpoint of stage {stage}, found none: has the run got that far?"))
}
