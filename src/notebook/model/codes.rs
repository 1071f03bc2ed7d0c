//! What the first stage does: pictures to codes and back, with hard codes and with relaxed ones.

use super::{Bound, Model};
use crate::inference::{Geometry, probabilities, rank};
use crate::notebook::chart::Chart;
use crate::notebook::image::{Image, ImageGrid};
use crate::notebook::tokens::Tokens;
use crate::random::Rng;
use crate::{Error, Result};

impl Model {
    /// The codes of a picture, whose centre square is first resized to the model's side: grid × grid of them.
    ///
    /// # Errors
    /// [`Error::Data`] for a picture smaller than that, or before the first stage has a checkpoint.
    pub fn encode(&self, image: &Image) -> Result<Tokens> {
        let codes = self.first()?.encode(1, &self.values(std::slice::from_ref(image))?)?;
        Ok(self.tokens(codes))
    }

    /// The picture of codes.
    ///
    /// # Errors
    /// [`Error::Usage`] for the codes of another model.
    pub fn decode(&self, tokens: &Tokens) -> Result<Image> {
        let Geometry { grid, codes, .. } = self.geometry();
        if (tokens.height, tokens.width, tokens.vocabulary) != (grid, grid, codes) {
            let Tokens { height, width, vocabulary, .. } = tokens;
            let what = format!("expected {grid} × {grid} of {codes} codes, got {height} × {width} of {vocabulary}");
            return Err(Error::Usage(what));
        }
        Ok(self.decoded(&tokens.codes)?.remove(0))
    }

    /// What the first stage makes of pictures: originals above, reconstructions below.
    ///
    /// # Errors
    /// Those of [`Model::encode`].
    pub fn reconstruct(&self, images: &ImageGrid) -> Result<ImageGrid> {
        let found = self.first()?.reconstruct(images.len(), &self.values(&images.images)?)?;
        let originals: Vec<Image> = images.images.iter().map(|image| image.clone().captioned("")).collect();
        Ok(ImageGrid::of(&originals).and(&ImageGrid::of(&self.pixels(&found.pixels))).columns(images.len()))
    }

    /// A picture through codes relaxed at each of `temperatures`, as training sees it, and last through its hard codes.
    ///
    /// # Errors
    /// Those of [`Model::encode`]; [`Error::Usage`] for a first stage without a posterior.
    pub fn relaxed(&self, image: &Image, temperatures: &[f64], seed: u64) -> Result<ImageGrid> {
        let values = self.values(std::slice::from_ref(image))?;
        let mut images = Vec::new();
        for &tau in temperatures {
            positive(tau)?;
            let found = self.first()?.relaxed(1, &values, tau, seed)?;
            images.push(self.pixels(&found.pixels).remove(0).captioned(&format!("τ = {tau:.4}")));
        }
        images.push(self.decode(&self.encode(image)?)?.captioned("argmax"));
        Ok(ImageGrid::of(&images))
    }

    /// The weights of the likeliest codes at (row, column) of the grid: softmax((logits + Gumbel noise)/τ) for each of
    /// `temperatures`, the largest weight first.
    ///
    /// # Errors
    /// Those of [`Model::relaxed`]; [`Error::Usage`] outside the grid.
    pub fn mixture(&self, image: &Image, row: usize, column: usize, temperatures: &[f64], seed: u64) -> Result<Chart> {
        let Geometry { grid, codes, .. } = self.geometry();
        if row >= grid || column >= grid {
            return Err(Error::Usage(format!(
                "({row}, {column}): the grid has {grid} rows and columns, counted from 0"
            )));
        }
        let logits = self.first()?.posterior(1, &self.values(std::slice::from_ref(image))?)?;
        let logits = &logits[(row * grid + column) * codes..][..codes];
        let mut rng = Rng::new(seed, "notebook/gumbel", 0, 0);
        let noisy: Vec<f32> = logits.iter().map(|logit| logit + rng.gumbel() as f32).collect();
        let order = rank(&noisy);
        let mut chart = Chart::new("Weights of the codes", "rank of the code", "weight");
        for &tau in temperatures {
            positive(tau)?;
            let weights = probabilities(&noisy, codes, (1.0 / tau) as f32);
            let points: Vec<(f64, f64)> = order
                .iter()
                .take(10)
                .enumerate()
                .map(|(place, &code)| (place as f64, f64::from(weights[code])))
                .collect();
            chart = chart.line(&format!("τ = {tau:.3}"), &points);
        }
        Ok(chart)
    }

    /// Both terms of the first stage's bound over pictures: with hard codes, or with codes relaxed at a `temperature`.
    ///
    /// # Errors
    /// Those of [`Model::relaxed`].
    pub fn bound(&self, images: &ImageGrid, temperature: Option<f64>) -> Result<Bound> {
        let (values, size) = (self.values(&images.images)?, images.len());
        let found = match temperature {
            Some(tau) => {
                positive(tau)?;
                self.first()?.relaxed(size, &values, tau, 0)?
            }
            None => self.first()?.reconstruct(size, &values)?,
        };
        Ok(Bound::of(&found, temperature, self.geometry()))
    }

    /// How often each code is used over pictures, the most used first, as a share of all positions.
    ///
    /// # Errors
    /// Those of [`Model::encode`].
    pub fn usage(&self, images: &ImageGrid) -> Result<Chart> {
        let codes = self.first()?.encode(images.len(), &self.values(&images.images)?)?;
        let mut counts = vec![0usize; self.geometry().codes];
        codes.iter().for_each(|&code| counts[code as usize] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let used = counts.iter().filter(|&&count| count > 0).count();
        let shares: Vec<f64> = counts[..used].iter().map(|&count| count as f64 / codes.len().max(1) as f64).collect();
        let title = format!("{used} of {} codes are in use", counts.len());
        Ok(Chart::new(&title, "code, by its share", "share of all positions").bars("share", &shares))
    }

    fn decoded(&self, codes: &[u32]) -> Result<Vec<Image>> {
        Ok(self.pixels(&self.first()?.decode(codes)?))
    }
}

/// A temperature that can be divided by.
fn positive(temperature: f64) -> Result<()> {
    if temperature > 0.0 && temperature.is_finite() {
        return Ok(());
    }
    Err(Error::Usage(format!("temperature {temperature}: expected a positive number")))
}
