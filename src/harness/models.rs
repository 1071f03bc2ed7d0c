//! The models of a preset on a device, behind their erased traits: in training, and with their weights fixed.

use crate::error::{Error, Result};
use crate::inference::{
    AVERAGED, Embedder, FrozenClip, FrozenFirstStage, FrozenTransformer, Generator, Geometry, ImageTokenizer, Reranker,
    TokenModel, masks,
};
use crate::mask::{Layout, Pattern};
use crate::models::clip::{Clip, ClipSizes, Tower};
use crate::models::{dvae::Dvae, presets, transformer::Transformer, vqvae::Vqvae};
use crate::nn::{self, weights};
use crate::ops::Backend;
use crate::shape::{DvaeShape, Preset, TextTowerShape, TransformerShape};
use crate::spec::FirstStageKind;
use crate::spec::Spec;
use crate::spec::problem::did_you_mean;
use crate::text::{Bpe, ClipVocab, TextVocab};
use crate::train::clip_stage::ClipTrainer;
use crate::train::transformer_stage::{TransformerTrainer, patterns};
use crate::train::{Learns, first_stage};
use crate::with_preset;
use dfdx::prelude::{ConstDim, Cpu};
use std::marker::PhantomData;
use std::rc::Rc;

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
    /// The sizes of its blocks.
    pub tower: Tower,
    /// CLIP's text ids.
    pub clip_text: ClipVocab,
    /// The sizes of its towers.
    pub clip: ClipSizes,
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
            FirstStageKind::Dvae => nn::size::<Dvae<P::Dvae, f32, Cpu>, f32, Cpu>(),
            FirstStageKind::Vqvae => nn::size::<Vqvae<P::Dvae, f32, Cpu>, f32, Cpu>(),
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
            tower: Tower::of::<<P::Transformer as TransformerShape>::Block>(P::Transformer::DEPTH),
            clip: ClipSizes::of::<P::Clip>(),
            clip_text: ClipVocab { bpe: P::BPE, context: <P::Clip as TextTowerShape>::Context::SIZE },
            parameters: [
                first,
                nn::size::<Transformer<P::Transformer, f32, Cpu>, f32, Cpu>(),
                nn::size::<Clip<P::Clip, f32, Cpu>, f32, Cpu>(),
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
        Ok(Box::new(FrozenClip::<_, P::Clip, D>::new(model, self.device.clone())))
    }
}

/// Whose models a spec's are: those that it names ([`named`]), or a preset's of one's own ([`of`]).
pub type Build = fn(&Spec) -> Result<Box<dyn Family>>;

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
/// [`Error::Usage`] for an unknown preset, one that is only planned, or one that this build was made without.
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
    // The paper's would only lengthen the build; that of the unit tests, which are a second one, all that no test of them needs.
    #[cfg(test)]
    let found = with_preset!(preset, P => boxed::<P, D>(device); "tiny" Tiny);
    #[cfg(not(test))]
    let found = with_preset!(preset, P => boxed::<P, D>(device); "tiny" Tiny, "mini" Mini, "emoji" Emoji);
    found.map_or_else(|| of_the_program(preset, device), Ok)
}

/// Presets that would only lengthen the build of whoever uses the library alone: those of the benchmark, and that for published
/// first stages.
#[cfg(all(feature = "cli", not(test)))]
fn of_the_program<D: Backend<f32>>(preset: &str, device: &D) -> Result<Box<dyn Family>>
where
    Error: From<D::Err>,
{
    let found =
        with_preset!(preset, P => boxed::<P, D>(device); "published" Published, "bench-s" BenchS, "bench-l" BenchL);
    found.ok_or_else(|| unknown(preset))
}

#[cfg(any(not(feature = "cli"), test))]
fn of_the_program<D>(preset: &str, _: &D) -> Result<Box<dyn Family>> {
    let known = presets::NAMES.contains(&preset);
    Err(if known { Error::without("cli", &format!("preset {preset}")) } else { unknown(preset) })
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
    pub first: Rc<dyn ImageTokenizer>,
    /// Captions to codes.
    pub transformer: Rc<dyn TokenModel>,
    /// Captions against pictures: what ranks and classifies them.
    pub reranker: Reranker,
}

impl Models {
    /// What draws pictures and ranks them.
    pub fn generator(&self, spec: &Spec, bpe: &Rc<Bpe>) -> Generator {
        let (tokens, codec, text) = (self.transformer.clone(), self.first.clone(), self.architecture.text);
        let uncaptioned = spec.transformer.caption_dropout > 0.0;
        Generator::trained(tokens, codec, (bpe.clone(), text), uncaptioned, Some(self.reranker.clone()))
    }
}
