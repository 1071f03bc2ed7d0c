//! The erased boundary: what the harness may ask of a stage in training. Plain data crosses it; tensors, shapes and devices never do.

use super::state::Files;
use crate::error::Result;
use std::ops::Range;

/// One batch of pictures and captions, as numbers. Each stage reads what it needs.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Pairs.
    pub size: usize,
    /// B·side·side·3 values in [0, 1], rows of pixels, channels last.
    pub pixels: Vec<f32>,
    /// B·T text slots for the transformer, B·Context for CLIP.
    pub text: Vec<u32>,
    /// B·grid² codes.
    pub codes: Vec<u32>,
}

impl Batch {
    /// The examples of each of `count` parts, equal where `count` divides the batch; none is empty.
    pub fn parts(&self, count: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (size, each) = (self.size, self.size.div_ceil(count.max(1)).max(1));
        (0..size).step_by(each).map(move |first| first..(first + each).min(size))
    }
}

/// Named figures of a moment of training, in the order of a line of `metrics.jsonl`.
pub type Metrics = Vec<(&'static str, f64)>;

/// What one step says.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// What was minimised, before the update.
    pub loss: f64,
    /// Everything else.
    pub metrics: Metrics,
}

impl StepReport {
    /// All of it, the loss first.
    pub fn figures(&self) -> Metrics {
        [("loss", self.loss)].into_iter().chain(self.metrics.iter().copied()).collect()
    }

    /// The figure of a name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures().into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// Something that is trained step by step.
pub trait Stage {
    /// Its name in specs, metrics and checkpoints.
    fn name(&self) -> &'static str;
    /// How many numbers it learns.
    fn num_parameters(&self) -> usize;
    /// One update. Pure in (weights, step, batch): noise comes from the step's own stream.
    fn step(&mut self, step: u64, batch: &Batch) -> Result<StepReport>;
    /// The files of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Numeric`](crate::Error::Numeric) for weights that are not finite.
    fn checkpoint(&self) -> Result<Files>;
    /// Takes the weights and the optimiser back.
    fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()>;
    /// The weights that measure and sample, as a file to keep: the average where there is one.
    fn averaged_file(&self) -> Result<Files>;
    /// How much of the average is still what its first update took in.
    fn share_of_start(&self) -> f64;
}

/// A stage and the model that it learns: `F` is one of the traits of [`inference`](crate::inference).
pub trait Learns<F: ?Sized>: Stage {
    /// The model with the weights that measure and sample: the average, as it is now.
    fn frozen(&self) -> Result<Box<F>>;
    /// The model with the weights of an [`averaged_file`](Stage::averaged_file); training is not touched.
    fn frozen_at(&self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<Box<F>>;
}
