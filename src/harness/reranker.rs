//! A CLIP to judge pictures with: that of a run, or a published one from an imported file.

use super::captions::Cut;
use super::codec::unexpected;
use super::device::Device;
use super::models::{Source, TOKENIZER, Which, missing};
use crate::data::{Picture, augment, preprocess};
use crate::error::{Error, Result};
use crate::files;
use crate::import::{Kind, Weights};
use crate::models::clip::{Embedder, Sizes, hf, published, resnet};
use crate::text::{Bpe, ClipBpe, ClipVocab, TextVocab};
use std::path::{Path, PathBuf};

/// The merges as OpenAI publishes them, and as Hugging Face does.
const MERGES: [&str; 2] = ["bpe_simple_vocab_16e6.txt.gz", "merges.txt"];

/// A CLIP, and how it reads pictures and captions.
pub struct Reranker {
    clip: Box<dyn Embedder>,
    reads: Reads,
}

enum Reads {
    /// Pictures resized to the preset's side, captions by the run's tokenizer.
    AsTrained(Box<Bpe>, ClipVocab),
    /// As OpenAI's code does.
    AsPublished(Box<ClipBpe>),
}

impl Reranker {
    /// The CLIP of the run at `path`, on `device`, or of the file there that `experiment import` wrote. `merges` is the
    /// published tokenizer's file; left out, it lies beside the imported one under its published name.
    ///
    /// # Errors
    /// [`Error::Data`] where there is neither, or the file holds another model; [`Error::Usage`] without merges, or for a file on
    /// a GPU.
    pub fn open(path: &Path, merges: Option<&Path>, device: Device, which: Which) -> Result<Reranker> {
        if !path.is_file() {
            let mut source = Source::open(path, device)?;
            let found = source.told(which, |source, older| Ok(source.clip(older)?.1))?;
            let clip = found.ok_or_else(|| missing(path, "clip"))?;
            let vocab = source.architecture().clip_text;
            return Ok(Reranker { clip, reads: Reads::AsTrained(Box::new(source.tokenizer()?), vocab) });
        }
        device.only_cpu(path)?;
        let clip = published(path)?;
        let merges = merges.map_or_else(|| beside(path), |merges| Ok(merges.to_owned()))?;
        let bpe = ClipBpe::load(&merges)?;
        let (most, size) = (clip.vocabulary(), bpe.vocab_size());
        if size > most {
            return Err(Error::data(
                &merges,
                format!("expected at most {most} tokens for {}, got {size}", path.display()),
            ));
        }
        Ok(Reranker { clip, reads: Reads::AsPublished(Box::new(bpe)) })
    }

    /// A run's, whose models are open already.
    ///
    /// # Errors
    /// Those of [`Bpe::load`].
    pub fn of_run(run: &Path, clip: Box<dyn Embedder>, vocab: ClipVocab) -> Result<Reranker> {
        let bpe = Bpe::load(run.join(TOKENIZER))?;
        TextVocab { bpe: vocab.bpe, slots: vocab.context }.admits(&bpe, run.join(TOKENIZER))?;
        Ok(Reranker { clip, reads: Reads::AsTrained(Box::new(bpe), vocab) })
    }

    /// Whether it is a published one, trained on captions of all kinds.
    pub fn is_published(&self) -> bool {
        matches!(self.reads, Reads::AsPublished(_))
    }

    /// What cosines are multiplied by before a softmax over captions.
    pub fn scale(&self) -> f32 {
        self.clip.scale()
    }

    /// Unit features of picture files, one row each.
    ///
    /// # Errors
    /// [`Error::Data`] naming a file that is no picture.
    pub fn files(&self, paths: &[PathBuf]) -> Result<Vec<f32>> {
        let read = |path: &PathBuf| match self.reads {
            Reads::AsTrained(..) => self.seen(&Picture::open(path)?),
            Reads::AsPublished(_) => {
                let bytes = files::read(path, files::MOST_PICTURE)?;
                preprocess::clip(&bytes, self.clip.side()).map_err(|flaw| Error::data(path, flaw.detail))
            }
        };
        self.features(paths.iter().map(read))
    }

    /// Unit features of pictures, one row each.
    ///
    /// # Errors
    /// [`Error::Data`] for a picture without pixels.
    pub fn pictures(&self, pictures: &[Picture]) -> Result<Vec<f32>> {
        self.features(pictures.iter().map(|picture| self.seen(picture)))
    }

    /// Unit features of captions, one row each; captions that are too long are cut.
    ///
    /// # Errors
    /// What the model says.
    pub fn captions(&self, captions: &[String]) -> Result<Vec<f32>> {
        let ids = captions.iter().flat_map(|caption| match &self.reads {
            Reads::AsTrained(bpe, vocab) => vocab.fill(&bpe.encode(caption)),
            Reads::AsPublished(bpe) => bpe.slots(self.clip.context()).fill(&bpe.encode(caption)),
        });
        self.clip.texts(&ids.collect::<Vec<u32>>())
    }

    /// How many captions are longer than the text tower reads, where there is such.
    pub fn cut(&self, captions: &[String]) -> Option<Cut> {
        let (room, lengths): (usize, Vec<usize>) = match &self.reads {
            Reads::AsTrained(bpe, vocab) => (vocab.room(), captions.iter().map(|c| bpe.encode(c).len()).collect()),
            Reads::AsPublished(bpe) => {
                (bpe.slots(self.clip.context()).room(), captions.iter().map(|c| bpe.encode(c).len()).collect())
            }
        };
        Some(Cut::of(room, lengths.into_iter())).filter(Cut::any)
    }

    /// A picture as the picture tower takes it.
    fn seen(&self, picture: &Picture) -> Result<Picture> {
        let seen = match self.reads {
            Reads::AsTrained(..) => augment::evaluation(picture, self.clip.side()),
            Reads::AsPublished(_) => preprocess::clip_of(picture, self.clip.side()),
        };
        seen.map_err(|flaw| Error::data("a picture", flaw.detail))
    }

    fn features(&self, pictures: impl Iterator<Item = Result<Picture>>) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for picture in pictures {
            values.extend(picture?.values());
        }
        self.clip.images(&values)
    }
}

/// The model of an imported file.
fn published(path: &Path) -> Result<Box<dyn Embedder>> {
    let weights = Weights::open(path)?;
    let shape = |name: &str| weights.find(name).map(|tensor| tensor.shape.clone());
    let mut find = |name: &str, shape: &[usize]| weights.parameter(name, shape);
    match weights.kind() {
        Some(Kind::OpenaiClip) if shape("visual.proj").is_some() => {
            published::vision_transformer(Sizes::read(&shape)?, None, &mut find)
        }
        Some(Kind::OpenaiClip) => published::resnet(resnet::Sizes::of(&shape)?, &mut find),
        Some(Kind::HfClip) => {
            let config = hf::Config::parse(weights.config()?.to_string().as_bytes(), path)?;
            let mut find = |name: &str, shape: &[usize]| hf::read(name, shape, &mut find);
            published::vision_transformer(config.sizes, config.end, &mut find)
        }
        other => Err(unexpected(path, &[Kind::OpenaiClip, Kind::HfClip], other)),
    }
}

fn beside(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let found = MERGES.iter().map(|name| folder.join(name)).find(|merges| merges.is_file());
    found.ok_or_else(|| {
        let what = format!("expected CLIP's merges beside it, {}; or name the file with --merges", MERGES.join(" or "));
        Error::data(path, what)
    })
}
