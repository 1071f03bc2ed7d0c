//! A CLIP with the way that it reads pictures and captions: what everything that ranks, classifies or judges pictures asks.
//!
//! Pictures are scored as they are stored, in 8 bits, wherever they are scored.

use super::{Embedder, cosines};
use crate::data::{Picture, augment, preprocess};
use crate::error::{Error, Result};
use crate::files;
use crate::text::{Bpe, ClipBpe, ClipVocab, Cut};
use std::path::PathBuf;
use std::rc::Rc;

/// A CLIP, and how it reads.
#[derive(Clone)]
pub struct Reranker {
    clip: Rc<dyn Embedder>,
    reads: Reads,
}

#[derive(Clone)]
enum Reads {
    /// Pictures resized to the preset's side, captions by the run's tokenizer.
    AsTrained(Rc<Bpe>, ClipVocab),
    /// As OpenAI's code does.
    AsPublished(Rc<ClipBpe>),
}

impl Reranker {
    /// A run's, which reads captions by the run's tokenizer.
    pub fn trained(clip: Rc<dyn Embedder>, bpe: Rc<Bpe>, vocab: ClipVocab) -> Reranker {
        Reranker { clip, reads: Reads::AsTrained(bpe, vocab) }
    }

    /// A published one, which reads as OpenAI's code does.
    pub fn published(clip: Rc<dyn Embedder>, bpe: ClipBpe) -> Reranker {
        Reranker { clip, reads: Reads::AsPublished(Rc::new(bpe)) }
    }

    /// Whether it is a published one, trained on captions of all kinds.
    pub fn is_published(&self) -> bool {
        matches!(self.reads, Reads::AsPublished(_))
    }

    /// What cosines are multiplied by before a softmax over captions.
    pub fn scale(&self) -> f32 {
        self.clip.scale()
    }

    /// Cosines of pictures and captions, a row a picture.
    ///
    /// # Errors
    /// [`Error::Data`] for a picture without pixels; what the model says.
    pub fn similarity(&self, pictures: &[Picture], captions: &[impl AsRef<str>]) -> Result<Vec<f32>> {
        let texts = self.captions(captions)?;
        Ok(cosines(&self.pictures(pictures)?, &texts, texts.len() / captions.len().max(1)))
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
                preprocess::clip(&bytes, self.clip.side()).map_err(|error| Error::data(path, error.detail))
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
    pub fn captions(&self, captions: &[impl AsRef<str>]) -> Result<Vec<f32>> {
        let ids = captions.iter().flat_map(|caption| match &self.reads {
            Reads::AsTrained(bpe, vocab) => vocab.fill(&bpe.encode(caption.as_ref())),
            Reads::AsPublished(bpe) => bpe.slots(self.clip.context()).fill(&bpe.encode(caption.as_ref())),
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
        seen.map_err(|error| Error::data("a picture", error.detail))
    }

    fn features(&self, pictures: impl Iterator<Item = Result<Picture>>) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for picture in pictures {
            values.extend(picture?.values());
        }
        self.clip.images(&values)
    }
}
