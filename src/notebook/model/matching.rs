//! What CLIP does: holds pictures against captions.

use super::Model;
use crate::data::Picture;
use crate::inference::{probabilities, rank};
use crate::notebook::image::{Image, ImageGrid};
use crate::notebook::table::Table;
use crate::{Error, Result};

impl Model {
    /// How likely CLIP holds each caption to be of each picture: a row a picture, softmax over the captions.
    ///
    /// # Errors
    /// [`Error::Data`] before CLIP is trained.
    pub fn classify(&self, images: &ImageGrid, captions: &[String]) -> Result<Table> {
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        let cosines = self.similarity(&images.images, &captions)?;
        let scale = self.reranker()?.scale();
        let shares = probabilities(&cosines, captions.len(), scale);
        let mut table = Table::new(["picture", "likeliest", "share", "next", "share"]);
        for (image, row) in images.images.iter().zip(shares.chunks(captions.len().max(1))) {
            let order = rank(row);
            let cell = |place: usize| match order.get(place) {
                Some(&at) => [captions[at].to_owned(), format!("{:.1} %", 100.0 * row[at])],
                None => ["–".to_owned(), String::new()],
            };
            let name = if image.caption.is_empty() { "–".to_owned() } else { image.caption.clone() };
            table.row([vec![name], cell(0).to_vec(), cell(1).to_vec()].concat());
        }
        Ok(table)
    }

    /// The share of pictures whose own caption is the likeliest to CLIP among those of all of them.
    ///
    /// # Errors
    /// Those of [`Model::classify`].
    pub fn matching(&self, images: &ImageGrid) -> Result<f64> {
        let captions: Vec<&str> = images.images.iter().map(Image::caption).collect();
        let cosines = self.similarity(&images.images, &captions)?;
        let best = cosines.chunks(captions.len()).map(|row| rank(row)[0]);
        let hits = best.zip(&captions).filter(|(at, own)| captions[*at] == **own).count();
        Ok(hits as f64 / captions.len() as f64)
    }

    /// Cosines of pictures and captions, a row a picture.
    fn similarity(&self, images: &[Image], captions: &[&str]) -> Result<Vec<f32>> {
        if captions.is_empty() {
            return Err(Error::Usage("no captions: expected at least one".into()));
        }
        let pictures: Vec<Picture> = images.iter().map(|image| image.picture.clone()).collect();
        self.reranker()?.similarity(&pictures, captions)
    }
}
