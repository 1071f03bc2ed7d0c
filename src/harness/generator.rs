//! From captions to pictures: the models of a run, or ruDALL-E's from imported files, behind what `sample` asks of them.

use super::captions::Cut;
use super::codec;
use super::device::Device;
use super::measure::picture;
use super::models::{Models, Opened, Which};
use super::reranker::Reranker;
use super::rudalle;
use super::spec::Spec;
use crate::data::Picture;
use crate::error::{Error, Result};

use crate::import::{Kind, Weights};
use crate::inference::{self, Autoregressive, Codec, Options, Prompt};
use crate::models::rudalle::{Malevich, Version};
use crate::shape::RudalleShape;
use crate::text::{Bpe, TextVocab, Yttm};
use dfdx::shapes::ConstDim;
use std::path::Path;

/// A transformer, the codec of its pictures, and a CLIP to choose among them.
pub struct Generator {
    tokens: Box<dyn Autoregressive>,
    codec: Box<dyn Codec>,
    text: Text,
    /// Whether it learned what no caption means, which guidance needs.
    uncaptioned: bool,
    /// Chooses among pictures, where there is one.
    pub reranker: Option<Reranker>,
}

enum Text {
    Trained(Box<Bpe>, TextVocab),
    Rudalle(Yttm),
}

/// ruDALL-E's files besides the transformer's.
#[derive(Debug, Clone, Copy)]
pub struct Rudalle<'a> {
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

/// What is drawn for one caption.
pub struct Drawn {
    /// The candidates, in the order of their seeds.
    pub pictures: Vec<Picture>,
    /// The cosine of each with the caption, where there is a reranker.
    pub scores: Option<Vec<f32>>,
}

impl Generator {
    /// The models of the run at `path`, on `device`.
    ///
    /// # Errors
    /// Those of [`Models::open`].
    pub fn of_run(path: &Path, device: Device, which: Which) -> Result<Generator> {
        let Opened { run, loaded, models, bpe, .. } = Models::open(path, device, which)?;
        Generator::of_models(&run, &loaded.spec, models, bpe)
    }

    /// Those models, once they are open.
    ///
    /// # Errors
    /// Those of [`Bpe::load`].
    pub fn of_models(run: &Path, spec: &Spec, models: Models, bpe: Bpe) -> Result<Generator> {
        Ok(Generator {
            tokens: models.transformer,
            codec: models.first,
            text: Text::Trained(Box::new(bpe), models.architecture.text),
            uncaptioned: spec.transformer.caption_dropout > 0.0,
            reranker: Some(Reranker::of_run(run, models.clip, models.architecture.clip_text)?),
        })
    }

    /// ruDALL-E: the transformer that `experiment import rudalle` wrote to `path`. On a GPU it samples there; everything else
    /// runs on the CPU.
    ///
    /// # Errors
    /// [`Error::Data`] where a file is missing or holds another model; [`Error::Usage`] for a GPU without kernels of our own.
    pub fn of_rudalle(path: &Path, files: Rudalle<'_>, device: Device) -> Result<Generator> {
        device.own_kernels("ruDALL-E")?;
        let weights = Weights::open(path)?;
        if weights.kind() != Some(Kind::Rudalle) {
            return Err(codec::unexpected(path, &[Kind::Rudalle], weights.kind()));
        }
        let tokenizer = Yttm::load(files.tokenizer)?;
        let words = <Malevich as RudalleShape>::TextVocab::SIZE - <Malevich as RudalleShape>::Text::SIZE;
        if tokenizer.vocabulary() > words {
            let what = format!("expected at most {words} tokens, got {}", tokenizer.vocabulary());
            return Err(Error::data(files.tokenizer, what));
        }
        let codec = codec::open(files.decoder, Device::Cpu, Which::Newest)?;
        let reranker =
            files.reranker.map(|clip| Reranker::open(clip, files.merges, Device::Cpu, Which::Newest)).transpose()?;
        let tokens = Box::new(rudalle::transformer::<Malevich>(&weights, files.version)?);
        Generator::of_parts(tokens, codec, tokenizer, reranker)
    }

    /// ruDALL-E of any size.
    ///
    /// # Errors
    /// [`Error::Usage`] where transformer and codec differ in their codes.
    pub fn of_parts(
        tokens: Box<dyn Autoregressive>,
        codec: Box<dyn Codec>,
        tokenizer: Yttm,
        reranker: Option<Reranker>,
    ) -> Result<Generator> {
        if tokens.codes() != codec.vocabulary() {
            let (drawn, known) = (tokens.codes(), codec.vocabulary());
            return Err(Error::Usage(format!("the transformer draws {drawn} codes, the decoder knows {known}")));
        }
        Ok(Generator { tokens, codec, text: Text::Rudalle(tokenizer), uncaptioned: false, reranker })
    }

    /// Side of the pictures.
    pub fn side(&self) -> usize {
        self.grid() * self.codec.stride()
    }

    /// Side of the grid of tokens.
    pub fn grid(&self) -> usize {
        self.tokens.layout().grid
    }

    /// The tokens of a square picture of the model's side, values in [0, 1].
    ///
    /// # Errors
    /// What the codec says.
    pub fn encode(&self, pixels: &[f32]) -> Result<Vec<u32>> {
        Ok(self.codec.encode_any(self.side(), self.side(), pixels)?.2)
    }

    /// What is cut of captions that are longer than the transformer, or the CLIP, reads: a line for each, to be said.
    pub fn cut(&self, captions: &[String]) -> Vec<String> {
        let (room, lengths): (usize, Vec<usize>) = match &self.text {
            Text::Trained(bpe, vocab) => (vocab.room(), captions.iter().map(|c| bpe.encode(c).len()).collect()),
            // Start and end take two.
            Text::Rudalle(yttm) => (
                self.tokens.layout().text.saturating_sub(2),
                captions.iter().map(|c| yttm.encode(&c.to_lowercase()).len()).collect(),
            ),
        };
        let cut = Some(Cut::of(room, lengths.into_iter())).filter(Cut::any);
        let lines = [("transformer", cut), ("CLIP", self.reranker.as_ref().and_then(|clip| clip.cut(captions)))];
        lines.into_iter().filter_map(|(model, cut)| Some(format!("{model}: {}", cut?))).collect()
    }

    /// A picture for each of `seeds`, for each caption; `forced` tokens are given, not drawn.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty caption, options out of range, or guidance of a model that always saw captions.
    pub fn draw(
        &self,
        captions: &[String],
        seeds: &dyn Fn(usize) -> Vec<u64>,
        forced: &[Option<u32>],
        options: &Options,
    ) -> Result<Vec<Drawn>> {
        if options.guidance != 1.0 && !self.uncaptioned {
            let what = "this model never saw an empty caption; train one with transformer.caption_dropout";
            return Err(Error::Usage(format!("guidance {}: {what}", options.guidance)));
        }
        let prompt = |(index, caption): (usize, &String)| {
            Ok(Prompt { text: self.prompt(caption)?, seeds: seeds(index), forced: forced.to_vec() })
        };
        let prompts: Vec<Prompt> = captions.iter().enumerate().map(prompt).collect::<Result<_>>()?;
        let codes = inference::sample(self.tokens.as_ref(), &prompts, &self.empty(), options)?;
        let texts = self.reranker.as_ref().map(|clip| clip.captions(captions)).transpose()?;
        let (mut codes, mut out) = (codes.iter(), Vec::new());
        for (index, prompt) in prompts.iter().enumerate() {
            let own = codes.by_ref().take(prompt.seeds.len());
            let pictures: Vec<Picture> = own.map(|codes| self.decode(codes)).collect::<Result<_>>()?;
            let scores = match (&self.reranker, &texts) {
                (Some(clip), Some(texts)) => {
                    let width = texts.len() / captions.len();
                    let text = &texts[index * width..(index + 1) * width];
                    Some(inference::cosines(text, &clip.pictures(&pictures)?, width))
                }
                _ => None,
            };
            out.push(Drawn { pictures, scores });
        }
        Ok(out)
    }

    fn decode(&self, codes: &[u32]) -> Result<Picture> {
        let (height, width, values) = self.codec.decode_any(self.grid(), self.grid(), codes)?;
        Ok(picture(&values, width, height))
    }

    fn prompt(&self, caption: &str) -> Result<Vec<u32>> {
        match &self.text {
            Text::Trained(bpe, vocab) => vocab.prompt(bpe, caption),
            Text::Rudalle(yttm) => yttm.prompt(caption, self.tokens.layout().text),
        }
    }

    /// The text of no caption.
    fn empty(&self) -> Vec<u32> {
        match &self.text {
            Text::Trained(_, vocab) => vocab.fill(&[]),
            Text::Rudalle(_) => Vec::new(),
        }
    }
}
