//! ruDALL-E: its transformer as something to sample from, and all of its files together.

use super::{clip, first_stage, unexpected};
use crate::error::{Error, Result};
use crate::import::{Kind, Weights};
use crate::inference::decoder::{DecoderCache, DecoderDevice, row_bytes};
use crate::inference::{Autoregressive, Generator, Sequence};
use crate::mask::Layout;
use crate::models::rudalle::{Malevich, Rudalle, Version, masks};
use crate::models::transformer::Tokens;
use crate::nn::{self, Precision};
use crate::ops::Mask;
use crate::shape::{BlockShape, RudalleShape};
use crate::text::Yttm;
use dfdx::prelude::{ConstDim, Cpu};
use std::ops::Range;
use std::path::Path;

/// ruDALL-E's files.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// What `experiment import rudalle` wrote.
    pub transformer: &'a Path,
    /// What `experiment import taming-gumbel` wrote.
    pub decoder: &'a Path,
    /// The published `bpe.model`.
    pub tokenizer: &'a Path,
    /// Which of the two layouts of text the transformer was trained with.
    pub version: Version,
    /// A CLIP to choose with.
    pub reranker: Option<&'a Path>,
    /// Its merges, if they do not lie beside it.
    pub merges: Option<&'a Path>,
}

/// ruDALL-E of the published size.
///
/// # Errors
/// [`Error::Data`] where a file is missing or holds another model; [`Error::Usage`] where transformer and decoder differ in their
/// codes.
pub fn open(files: Files<'_>) -> Result<Generator> {
    let weights = Weights::open(files.transformer)?;
    if weights.kind() != Some(Kind::Rudalle) {
        return Err(unexpected(files.transformer, &[Kind::Rudalle], weights.kind()));
    }
    let tokenizer = Yttm::load(files.tokenizer)?;
    let words = <Malevich as RudalleShape>::TextVocab::SIZE - <Malevich as RudalleShape>::Text::SIZE;
    if tokenizer.vocabulary() > words {
        let what = format!("expected at most {words} tokens, got {}", tokenizer.vocabulary());
        return Err(Error::data(files.tokenizer, what));
    }
    let decoder = first_stage::open(files.decoder)?;
    let reranker = files.reranker.map(|path| clip::open(path, files.merges)).transpose()?;
    let tokens = transformer::<Malevich>(&weights, files.version)?;
    Generator::rudalle(Box::new(tokens), decoder, tokenizer, reranker)
}

struct Sampled<S: RudalleShape> {
    model: Rudalle<S, f32, Cpu>,
    version: Version,
    masks: Vec<Mask>,
    decoders: DecoderCache,
}

/// The transformer of shape `S` with the tensors of an imported file.
///
/// # Errors
/// [`Error::Data`] where a tensor is missing or has another shape.
pub fn transformer<S: RudalleShape>(weights: &Weights, version: Version) -> Result<impl Autoregressive + use<S>> {
    weights.fits(&nn::describe::<Rudalle<S, f32, Cpu>, f32, Cpu>())?;
    let find = |parameter: &nn::Declared| weights.parameter(&parameter.name, &parameter.shape);
    Ok(sampled::<S>(nn::filled(&Cpu::default(), find)?, version))
}

/// That of `model`.
pub(crate) fn sampled<S: RudalleShape>(model: Rudalle<S, f32, Cpu>, version: Version) -> impl Autoregressive + use<S> {
    let layout = Layout { text: S::Text::SIZE, grid: S::Grid::SIZE };
    Sampled { model, version, masks: masks(S::DEPTH, layout, version), decoders: DecoderCache::default() }
}

impl<S: RudalleShape> Autoregressive for Sampled<S> {
    fn layout(&self) -> Layout {
        Layout { text: S::Text::SIZE, grid: S::Grid::SIZE }
    }

    fn codes(&self) -> usize {
        S::Codes::SIZE
    }

    fn row_bytes(&self) -> usize {
        row_bytes(<S::Block as BlockShape>::Dim::SIZE, &self.masks)
    }

    fn sequence(&self, batch: usize, precision: Precision) -> Result<Box<dyn Sequence + '_>> {
        // Version 3 has no start of text: everything stands one slot earlier.
        let (version, earlier) = (self.version, usize::from(self.version == Version::V3));
        let ids = move |batch, tokens: Tokens<'_>, slots: Range<usize>| {
            let slots = slots.start.saturating_sub(earlier)..slots.end - earlier;
            Rudalle::<S, f32, Cpu>::step_ids(version, batch, tokens, slots)
        };
        let device = DecoderDevice::gpu(<S::Block as BlockShape>::HeadDim::SIZE).unwrap_or(DecoderDevice::Host);
        self.decoders
            .sequence(device, precision, &self.masks, batch, ids, |precision| self.model.incremental(precision))
    }
}
