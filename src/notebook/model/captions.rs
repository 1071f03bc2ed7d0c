//! What the transformer does: reads a caption, draws its pictures, and shows what each slot attends to.

use super::Model;
use crate::inference::{Generator, Request, prime_rows};
use crate::models::transformer;
use crate::notebook::attention::Attention;
use crate::notebook::image::Image;
use crate::notebook::samples::{Samples, Sampling};
use crate::notebook::table::Table;
use crate::{Error, Result};

impl Model {
    /// How a caption is read: its pieces and their ids.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty caption.
    pub fn words(&self, caption: &str) -> Result<Table> {
        let mut table = Table::new(["slot", "id", "text"]);
        let slots = self.architecture.text.prompt(&self.bpe, caption)?;
        let words = self.bpe.encode(caption).len().min(slots.len().saturating_sub(1)); // the last slot is always a pad
        for (slot, &id) in slots.iter().enumerate() {
            let text = if slot < words { self.bpe.decode(&[id]) } else { "(pad of this slot)".into() };
            table.row([slot.to_string(), id.to_string(), text]);
        }
        Ok(table)
    }

    /// Pictures of a caption, with CLIP's scores where CLIP is trained. A picture depends on the weights, the caption, the seed and
    /// its place among the candidates, and on nothing else.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty caption or options out of range; [`Error::Data`] before the transformer is trained.
    pub fn sample(&self, sampling: &Sampling) -> Result<Samples> {
        let (grid, caption) = (self.geometry().grid, sampling.caption.as_str());
        if sampling.candidates == 0 {
            return Err(Error::Usage("0 candidates: expected at least 1".into()));
        }
        let forced = match &sampling.prime {
            Some((_, rows)) if *rows > grid => {
                return Err(Error::Usage(format!("{rows} rows of a picture: the grid has {grid}")));
            }
            Some((image, rows)) => prime_rows(&self.encode(image)?.codes, grid, *rows),
            None => Vec::new(),
        };
        let request =
            Request { candidates: sampling.candidates, seed: sampling.seed, forced, options: sampling.options };
        let drawn = self.generator()?.draw(&[caption], &request, &mut |_| Ok(()))?.remove(0);
        let images: Vec<Image> = drawn.pictures.into_iter().map(Image::from).collect();
        let scores = drawn.scores.unwrap_or_else(|| vec![f32::NAN; images.len()]);
        let tokens = drawn.codes.into_iter().map(|codes| self.tokens(codes)).collect();
        Ok(Samples { caption: caption.to_owned(), images, tokens, scores })
    }

    /// What draws pictures and, where CLIP is trained, ranks them.
    fn generator(&self) -> Result<Generator> {
        let (tokens, codec) = (self.transformer()?.clone(), self.first()?.clone());
        let (text, uncaptioned) = (self.architecture.text, self.loaded.spec.transformer.caption_dropout > 0.0);
        Ok(Generator::trained(tokens, codec, (self.bpe.clone(), text), uncaptioned, self.clip.clone()))
    }

    /// What each slot attends to in a layer while a picture with its caption goes through.
    ///
    /// # Errors
    /// [`Error::Usage`] for a layer that there is not; [`Error::Data`] before the transformer is trained.
    pub fn attention(&self, image: &Image, layer: usize) -> Result<Attention> {
        let text = self.architecture.text.prompt(&self.bpe, image.caption())?;
        let tokens = self.encode(image)?;
        let weights =
            self.transformer()?.attention(transformer::Tokens { text: &text, image: &tokens.codes }, layer)?;
        let layout = self.transformer()?.layout();
        let pattern = self.transformer()?.patterns()[layer];
        let kept = layout.text.saturating_sub(1);
        let words = self.bpe.encode(image.caption()).iter().take(kept).map(|&id| self.bpe.decode(&[id])).collect();
        let image = image.square(self.geometry().side)?;
        Ok(Attention { weights, layout, pattern, layer, image, words })
    }
}
