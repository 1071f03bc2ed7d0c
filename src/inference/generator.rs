//! From captions to ranked pictures: the one way, for reports, the command line, evaluations and notebooks. A candidate is a
//! function of (weights, options, seed, caption, its number) alone, and so is its score: what else is drawn changes neither.
//!
//! ```text
//! caption ─ text slots ─ sample → codes ─ decode → 8-bit pictures ─ CLIP → cosines with the caption
//! ```

use super::{Autoregressive, Codec, Options, Prompt, ROWS, Reranker, cosines, rank, sample};
use crate::data::Picture;
use crate::error::{Error, Result};
use crate::random::Rng;
use crate::text::{Bpe, Cut, TextVocab, Yttm};
use std::collections::HashMap;
use std::rc::Rc;

/// A transformer, the codec of its pictures, and a CLIP to choose among them.
pub struct Generator {
    tokens: Rc<dyn Autoregressive>,
    codec: Rc<dyn Codec>,
    text: Text,
    /// Whether it learned what no caption means, which guidance needs.
    uncaptioned: bool,
    reranker: Option<Reranker>,
}

enum Text {
    Trained(Rc<Bpe>, TextVocab),
    Rudalle(Yttm),
}

/// What is drawn for each caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Pictures.
    pub candidates: usize,
    /// Another seed, other pictures.
    pub seed: u64,
    /// Image tokens that are given instead of drawn; empty: none, else grid² entries.
    pub forced: Vec<Option<u32>>,
    /// How tokens are drawn.
    pub options: Options,
}

/// What is drawn for one caption.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The number of the first candidate: 0, unless the caption was asked for before.
    pub first: usize,
    /// The tokens of each candidate.
    pub codes: Vec<Vec<u32>>,
    /// The candidates.
    pub pictures: Vec<Picture>,
    /// The cosine of each with the caption, where there is a reranker.
    pub scores: Option<Vec<f32>>,
}

impl Drawn {
    /// The candidates' places, best first; as they are where nothing ranks them.
    pub fn order(&self) -> Vec<usize> {
        self.scores.as_deref().map_or_else(|| (0..self.pictures.len()).collect(), rank)
    }

    /// CLIP's similarity of each candidate with its caption: 100·cosine.
    pub fn similarities(&self) -> impl Iterator<Item = f32> {
        self.scores.iter().flatten().map(|cosine| 100.0 * cosine)
    }
}

/// The seed that a candidate of a caption is drawn from.
pub fn seed_of(seed: u64, caption: &str, candidate: usize) -> u64 {
    Rng::new(seed, &format!("sample/{caption}"), 0, candidate as u64).bits()
}

impl Generator {
    /// Models that were trained here. `uncaptioned` says whether the transformer learned what no caption means.
    pub fn trained(
        tokens: Rc<dyn Autoregressive>,
        codec: Rc<dyn Codec>,
        (bpe, vocab): (Rc<Bpe>, TextVocab),
        uncaptioned: bool,
        reranker: Option<Reranker>,
    ) -> Generator {
        Generator { tokens, codec, text: Text::Trained(bpe, vocab), uncaptioned, reranker }
    }

    /// ruDALL-E of any size.
    ///
    /// # Errors
    /// [`Error::Usage`] where transformer and codec differ in their codes.
    pub fn rudalle(
        tokens: Box<dyn Autoregressive>,
        codec: Box<dyn Codec>,
        tokenizer: Yttm,
        reranker: Option<Reranker>,
    ) -> Result<Generator> {
        if tokens.codes() != codec.vocabulary() {
            let (drawn, known) = (tokens.codes(), codec.vocabulary());
            return Err(Error::Usage(format!("the transformer draws {drawn} codes, the decoder knows {known}")));
        }
        let (tokens, codec, text) = (tokens.into(), codec.into(), Text::Rudalle(tokenizer));
        Ok(Generator { tokens, codec, text, uncaptioned: false, reranker })
    }

    /// What ranks its pictures.
    pub fn reranker(&self) -> Option<&Reranker> {
        self.reranker.as_ref()
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
        self.codec.encode_any([1, self.side(), self.side()], pixels)
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

    /// The candidates of each caption; a caption that stands again goes on with the next ones. `proceed` hears before each part
    /// how many captions are done, and may end it.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty caption, options out of range, or guidance of a model that always saw captions; what
    /// `proceed` says.
    pub fn draw(
        &self,
        captions: &[impl AsRef<str>],
        request: &Request,
        proceed: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Drawn>> {
        let guidance = request.options.guidance;
        if guidance != 1.0 && !self.uncaptioned {
            let what = "this model never saw an empty caption; train one with transformer.caption_dropout";
            return Err(Error::Usage(format!("guidance {guidance}: {what}")));
        }
        let mut asked: HashMap<&str, usize> = HashMap::new();
        let prompt = |caption| -> Result<(usize, Prompt)> {
            let times = asked.entry(caption).or_default();
            let first = *times * request.candidates;
            *times += 1;
            let seeds = (first..first + request.candidates).map(|n| seed_of(request.seed, caption, n)).collect();
            Ok((first, Prompt { text: self.prompt(caption)?, seeds, forced: request.forced.clone() }))
        };
        let (firsts, prompts): (Vec<usize>, Vec<Prompt>) =
            captions.iter().map(AsRef::as_ref).map(prompt).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let texts = self.reranker.as_ref().map(|clip| clip.captions(captions)).transpose()?;
        let width = texts.as_ref().map_or(0, |texts| texts.len() / captions.len().max(1));
        let mut out = Vec::new();
        // As many as the sampler draws at once: the split changes no picture.
        for prompts in prompts.chunks((ROWS / request.candidates.max(1)).max(1)) {
            proceed(out.len())?;
            let codes = sample(self.tokens.as_ref(), prompts, &self.empty(), &request.options)?;
            let pictures = self.decode(&codes)?;
            let features = self.reranker.as_ref().map(|clip| clip.pictures(&pictures)).transpose()?;
            let (mut codes, mut pictures) = (codes.into_iter(), pictures.into_iter());
            for at in 0..prompts.len() {
                let score = |(features, texts): (&Vec<f32>, &Vec<f32>)| {
                    let own = &features[at * request.candidates * width..][..request.candidates * width];
                    cosines(&texts[out.len() * width..][..width], own, width)
                };
                out.push(Drawn {
                    first: firsts[out.len()],
                    codes: codes.by_ref().take(request.candidates).collect(),
                    pictures: pictures.by_ref().take(request.candidates).collect(),
                    scores: features.as_ref().zip(texts.as_ref()).map(score),
                });
            }
        }
        Ok(out)
    }

    fn decode(&self, codes: &[Vec<u32>]) -> Result<Vec<Picture>> {
        let (grid, side) = (self.grid(), self.side());
        let values = self.codec.decode_any([codes.len(), grid, grid], &codes.concat())?;
        Ok(values.chunks((3 * side * side).max(1)).map(|values| Picture::of_values(values, side, side)).collect())
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
