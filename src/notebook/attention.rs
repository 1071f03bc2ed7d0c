//! What a trained layer attends to.

use super::chart::Chart;
use super::image::{Image, ImageGrid};
use super::show::{Rich, Show, shown};
use crate::data::Picture;
use crate::mask::{Layout, Pattern};
use crate::{Error, Result};
use std::fmt::{self, Display, Formatter};

/// The weights of one layer over a picture with its caption.
#[derive(Clone)]
pub struct Attention {
    /// Heads · S · S: rows of queries that sum to 1.
    pub(super) weights: Vec<f32>,
    pub(super) layout: Layout,
    pub(super) pattern: Pattern,
    pub(super) layer: usize,
    pub(super) image: Image,
    /// The caption's pieces, one a text slot from slot 1 on: slot 0 reads the start.
    pub(super) words: Vec<String>,
}

impl Attention {
    /// How many heads.
    pub fn heads(&self) -> usize {
        let sequence = self.layout.sequence();
        self.weights.len() / (sequence * sequence).max(1)
    }

    /// The weights that predict the image token at (row, column), for one head.
    fn row(&self, head: usize, (row, column): (usize, usize)) -> Result<&[f32]> {
        let (grid, heads) = (self.layout.grid, self.heads());
        if row >= grid || column >= grid || head >= heads {
            let what = format!("head {head}, ({row}, {column}): there are {heads} heads and {grid} rows and columns");
            return Err(Error::Usage(what));
        }
        let sequence = self.layout.sequence();
        let query = self.layout.text + row * grid + column;
        Ok(&self.weights[(head * sequence + query) * sequence..][..sequence])
    }

    /// Where each head looks to predict the token at (row, column): the picture, darkened where it does not look. Below each
    /// is the share that goes to the text. A slot reads the token before the one that it predicts, so a field is the token
    /// that the slot has read.
    ///
    /// # Errors
    /// [`Error::Usage`] outside the grid.
    pub fn from(&self, row: usize, column: usize) -> Result<ImageGrid> {
        let heads: Vec<Image> = (0..self.heads()).map(|head| self.head(head, (row, column))).collect::<Result<_>>()?;
        Ok(ImageGrid::of(&heads))
    }

    fn head(&self, head: usize, at: (usize, usize)) -> Result<Image> {
        let weights = self.row(head, at)?;
        let Layout { text, grid } = self.layout;
        let (on_text, on_image) = (&weights[..text], &weights[text + 1..]); // slot `text` reads the image's start, which is nowhere
        let (side, highest) = (self.image.width(), on_image.iter().fold(0f32, |most, &weight| most.max(weight)));
        let field = side / grid;
        let mut picture: Picture = self.image.picture.clone();
        for (pixel, rgb) in picture.rgb.chunks_exact_mut(3).enumerate() {
            let (y, x) = (pixel / side / field, pixel % side / field);
            // The slot of image token i reads token i − 1: the field of that token is lit.
            let weight = on_image.get(y * grid + x).copied().unwrap_or(0.0);
            let light = 0.15 + 0.85 * if highest > 0.0 { (weight / highest).sqrt() } else { 0.0 };
            let here = (y, x) == at;
            for (channel, value) in rgb.iter_mut().enumerate() {
                *value = if here { [40, 90, 255][channel] } else { (f32::from(*value) * light) as u8 };
            }
        }
        let share: f32 = on_text.iter().sum();
        Ok(Image { picture, caption: format!("head {head}: text {:.0} %", 100.0 * share) })
    }

    /// How the weight that goes to the text is spread over the caption's pieces, the mean of the heads.
    ///
    /// # Errors
    /// [`Error::Usage`] outside the grid.
    pub fn words(&self, row: usize, column: usize) -> Result<Chart> {
        let mut sums = vec![0.0; self.words.len() + 1];
        for head in 0..self.heads() {
            let weights = self.row(head, (row, column))?;
            sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum += f64::from(weight) / self.heads() as f64);
        }
        let title = format!("0 start, {}", self.named());
        Ok(Chart::new(&title, "text slot", "weight, mean of the heads").bars("weight", &sums))
    }

    fn named(&self) -> String {
        let named = |(at, word): (usize, &String)| format!("{} {}", at + 1, word.trim());
        self.words.iter().enumerate().map(named).collect::<Vec<_>>().join(", ")
    }
}

impl Display for Attention {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Layout { text, grid } = self.layout;
        let (layer, heads) = (self.layer, self.heads());
        write!(f, "layer {layer}, {}: {heads} heads over {text} text and {grid} × {grid} image slots", self.pattern)
    }
}

impl Show for Attention {
    /// From the middle of the grid.
    fn rich(&self) -> Result<Rich> {
        self.from(self.layout.grid / 2, self.layout.grid / 2)?.rich()
    }
}

shown!(Attention);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_lights_the_field_that_its_slot_has_read() {
        let layout = Layout { text: 1, grid: 2 };
        let mut weights = vec![0.0; 25];
        // The query of image token 3 (slot 4): half on the text, half on slot 2, which reads image token 0.
        (weights[4 * 5], weights[4 * 5 + 2]) = (0.5, 0.5);
        let picture = Picture { width: 4, height: 4, rgb: vec![200; 48] };
        let image = Image { picture, caption: String::new() };
        let attention =
            Attention { weights, layout, pattern: Pattern::Full, layer: 0, image, words: vec!["red".into()] };
        let seen = attention.from(1, 1).unwrap().get(0).unwrap();
        let lit = |row, column| seen.pixel(row, column).unwrap();
        assert_eq!(([lit(0, 0), lit(1, 1)], lit(0, 2), lit(3, 3)), ([[200; 3]; 2], [30; 3], [40, 90, 255]));
        assert_eq!(seen.caption(), "head 0: text 50 %");
        assert!(attention.from(2, 0).is_err() && attention.words(0, 2).is_err());
    }
}
