//! What a network that the user supplies sees in pictures: features for the Fréchet distance, class probabilities for the
//! inception score. It is an ONNX file, so that any network will do; its figures are named after it, and only the Inception
//! network of Heusel et al. 2017 makes them comparable to published ones.
//!
//! Legend: B pictures, C channels of an output.

use super::engine::Engine;
use crate::data::Picture;
use crate::error::{Error, Result};
use image::imageops::{self, FilterType};
use std::path::Path;

/// The features and the classes of the network behind the published FID, told from others by both.
const FID: (usize, usize) = (2048, 1008);
/// Pictures that go through at once, to bound memory.
const CHUNK: usize = 16;

/// How a network reads a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Side that pictures are resized to (bilinear); `None`: as the file says.
    pub side: Option<usize>,
    /// Taken from values in [0, 1], per channel.
    pub mean: [f32; 3],
    /// What they are divided by then.
    pub std: [f32; 3],
}

impl Default for Reading {
    /// [0, 1] to [−1, 1], as the FID Inception reads them.
    fn default() -> Self {
        Reading { side: None, mean: [0.5; 3], std: [0.5; 3] }
    }
}

/// A network.
pub struct Network {
    engine: Box<dyn Engine>,
    name: String,
    side: usize,
    reading: Reading,
}

/// The network of the file at `path`.
#[cfg(feature = "onnx")]
fn engine(path: &Path) -> Result<Box<dyn Engine>> {
    Ok(Box::new(super::onnx::Onnx::open(path)?))
}

#[cfg(not(feature = "onnx"))]
fn engine(_: &Path) -> Result<Box<dyn Engine>> {
    Err(Error::without("onnx", "ONNX"))
}

/// What it saw in B pictures.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Values of a picture's features.
    pub width: usize,
    /// (B, width)
    pub features: Vec<f64>,
    /// Number of classes.
    pub classes: usize,
    /// (B, classes), rows that sum to 1.
    pub probabilities: Vec<f64>,
}

impl Network {
    /// Opens an ONNX file with one input, (B, 3, side, side) or (B, side, side, 3), whose first output is features and
    /// whose second is class scores; a single output is both. Outputs of (B, C, rows, columns) are averaged over the last two.
    ///
    /// # Errors
    /// [`Error::Data`] where it is none; [`Error::Usage`] where neither the file nor `reading` says the side, or in a build without
    /// the feature `onnx`.
    pub fn open(path: &Path, reading: Reading) -> Result<Network> {
        let engine = engine(path)?;
        let stated = engine.side();
        if let (Some(asked), Some(stated)) = (reading.side, stated)
            && asked != stated
        {
            return Err(Error::Usage(format!("side {asked}: the network {} takes {stated}", path.display())));
        }
        let side = reading.side.or(stated).filter(|side| (1..=4096).contains(side)).ok_or_else(|| {
            Error::Usage(format!("{}: the network takes pictures of any side: say which, 1 to 4096", path.display()))
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Network { engine, name, side, reading })
    }

    /// "FID" for features of the FID Inception, else "FID-like (name)".
    pub fn metric(&self, seen: &Seen) -> String {
        if (seen.width, seen.classes) == FID { "FID".into() } else { format!("FID-like ({})", self.name) }
    }

    /// What it sees in `pictures`.
    ///
    /// # Errors
    /// [`Error::Data`] where it fails on them, or gives something else than floating-point rows.
    pub fn see(&self, pictures: &[Picture]) -> Result<Seen> {
        let mut seen = Seen::default();
        for chunk in pictures.chunks(CHUNK) {
            let outputs = self.run(chunk)?;
            let (features, classes) = (&outputs[0], outputs.last().unwrap_or(&outputs[0]));
            if features.is_empty() || classes.is_empty() {
                return Err(Error::data(&self.name, "the network: expected outputs with values, got an empty one"));
            }
            if !outputs.iter().flatten().all(|value| value.is_finite()) {
                return Err(Error::data(&self.name, "the network: expected finite outputs, got one that is not"));
            }
            seen.width = features.len() / chunk.len();
            seen.classes = classes.len() / chunk.len();
            seen.features.extend(features);
            seen.probabilities.extend(classes.chunks(seen.classes.max(1)).flat_map(probabilities));
        }
        Ok(seen)
    }

    /// Each output, a row per picture.
    fn run(&self, pictures: &[Picture]) -> Result<Vec<Vec<f64>>> {
        let (side, size) = (self.side, pictures.len());
        let values: Vec<f32> = pictures.iter().flat_map(|picture| self.values(picture)).collect();
        let shape = if self.engine.channels_first() { [size, 3, side, side] } else { [size, side, side, 3] };
        self.engine.run(shape, values).map_err(|what| Error::data(&self.name, format!("the network: {what}")))
    }

    /// A picture as the network takes it.
    fn values(&self, picture: &Picture) -> Vec<f32> {
        let side = self.side as u32;
        let image = image::RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.rgb.clone());
        let image = image.unwrap_or_default();
        let resized = match image.dimensions() == (side, side) {
            true => image,
            false => imageops::resize(&image, side, side, FilterType::Triangle),
        };
        let Reading { mean, std, .. } = self.reading;
        let value = |(i, &v): (usize, &u8)| (f32::from(v) / 255.0 - mean[i % 3]) / std[i % 3];
        let values: Vec<f32> = resized.iter().enumerate().map(value).collect();
        match self.engine.channels_first() {
            true => (0..3).flat_map(|channel| values.iter().skip(channel).step_by(3)).copied().collect(),
            false => values,
        }
    }
}

/// A row of class scores as probabilities: as it is where it sums to 1 already.
fn probabilities(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().sum();
    if (sum - 1.0).abs() < 1e-3 && row.iter().all(|&p| p >= 0.0) {
        return row.iter().map(|p| p / sum).collect();
    }
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = row.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_become_probabilities_once() {
        assert_eq!(probabilities(&[0.25, 0.75]), [0.25, 0.75]);
        let even = probabilities(&[3.0, 3.0]);
        assert!(even.iter().all(|p| (p - 0.5).abs() < 1e-12));
    }
}
