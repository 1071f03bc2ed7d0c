//! What a model can do once it is trained or imported: weights fixed, no optimiser anywhere. Plain data crosses these traits; tensors,
//! shapes and devices never do.
//!
//! ```text
//! picture ─ ImageTokenizer::encode → codes        caption ─ text slots ─┐
//!                                                                      TokenModel ─ sample → codes ─ decode → pictures
//! pictures, caption ─ Embedder → cosines ─ rank → the best first
//! ```
//!
//! [`Generator`] is all of that in one: the only way from a caption to ranked pictures.

mod clip;
pub(crate) mod decoder;
pub mod first_stage;
mod generator;
mod prime;
#[doc(hidden)]
pub mod published;
mod rerank;
mod reranker;
mod sampler;
mod transformer;

pub use clip::{FrozenClip, PictureTower};
pub use first_stage::FrozenFirstStage;
pub(crate) use generator::seed_of;
pub use generator::{Drawn, Generator, Request};
pub use prime::prime_rows;
pub use rerank::{cosines, probabilities, rank};
pub use reranker::Reranker;
pub use sampler::{Options, Prompt, draw, sample};
pub(crate) use sampler::{ROWS, held_at_once};
pub(crate) use transformer::text_targets;
pub use transformer::{FrozenTransformer, masks};

use crate::error::Result;
use crate::mask::{Layout, Pattern};
use crate::models::transformer::Tokens;
use crate::nn::Precision;
use std::ops::Range;

/// The file of the weights that are used of a stage: the moving average where there is one, else the weights.
pub const AVERAGED: &str = "ema.safetensors";

/// Sizes of a first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Side of the pictures.
    pub side: usize,
    /// Side of the token grid.
    pub grid: usize,
    /// Codes.
    pub codes: usize,
}

/// A first stage's measurements of some pictures.
#[derive(Debug, Clone, Default)]
pub struct Reconstruction {
    /// −ln p(x | z*) per picture with the argmax codes, in nats, as a density of φ(x); empty for a first stage without a likelihood.
    pub nll: Vec<f64>,
    /// −ln P(x | z*) per picture of its 8-bit values, in nats; never negative; empty as `nll` is.
    pub nll_of_8_bits: Vec<f64>,
    /// Analytic KL(q ‖ uniform) per picture, in nats; grid²·ln V for a first stage without a posterior.
    pub kl: Vec<f64>,
    /// The codes, B·grid².
    pub codes: Vec<u32>,
    /// The decoded pictures, values in [0, 1].
    pub pixels: Vec<f32>,
}

/// Pictures of any size that the strides allow, to codes and back; values in [0, 1], channels last. A picture has the same codes,
/// and codes the same picture, whatever else there is in a batch.
pub trait Codec {
    /// Pixels per code, along each side.
    fn stride(&self) -> usize;
    /// How many codes there are.
    fn vocabulary(&self) -> usize;
    /// The codes of [size, height, width] pictures, whose sides the stride divides: B·(height/stride)·(width/stride).
    fn encode_any(&self, pictures: [usize; 3], pixels: &[f32]) -> Result<Vec<u32>>;
    /// The pictures of [size, height, width] grids of codes: B·(height·stride)·(width·stride)·3 values.
    fn decode_any(&self, grids: [usize; 3], codes: &[u32]) -> Result<Vec<f32>>;
}

/// A first stage of pictures of one size.
pub trait ImageTokenizer: Codec {
    /// Sizes.
    fn geometry(&self) -> Geometry;
    /// B·grid² codes of `size` pictures.
    fn encode(&self, size: usize, pixels: &[f32]) -> Result<Vec<u32>>;
    /// Pictures of B·grid² codes, values in [0, 1].
    fn decode(&self, codes: &[u32]) -> Result<Vec<f32>>;
    /// Codes, likelihood and pictures.
    fn reconstruct(&self, size: usize, pixels: &[f32]) -> Result<Reconstruction>;
    /// ln q(code | picture) up to a constant, B·grid²·codes: the logits that codes are drawn from, without noise.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a first stage without a posterior.
    fn posterior(&self, size: usize, pixels: &[f32]) -> Result<Vec<f32>>;
    /// [`reconstruct`](ImageTokenizer::reconstruct) through codes relaxed at `temperature`, as in training: with the Gumbel
    /// noise of `seed`, another for each picture.
    ///
    /// # Errors
    /// Those of [`posterior`](ImageTokenizer::posterior).
    fn relaxed(&self, size: usize, pixels: &[f32], temperature: f64, seed: u64) -> Result<Reconstruction>;
}

/// A CLIP: unit features of pictures and captions.
pub trait Embedder {
    /// Side of the pictures.
    fn side(&self) -> usize;
    /// Ids of text.
    fn vocabulary(&self) -> usize;
    /// Text slots.
    fn context(&self) -> usize;
    /// What cosines are multiplied by: exp(logit_scale).
    fn scale(&self) -> f32;
    /// Features of pictures (B, side, side, 3) with values in [0, 1]: (B, embed).
    fn images(&self, pixels: &[f32]) -> Result<Vec<f32>>;
    /// Features of captions (B, context): (B, embed).
    fn texts(&self, ids: &[u32]) -> Result<Vec<f32>>;
}

/// What image tokens can be drawn from, one after the other.
pub trait Autoregressive {
    /// Text slots and grid side.
    fn layout(&self) -> Layout;
    /// Image codes.
    fn codes(&self) -> usize;
    /// Bytes that a row of a sequence keeps.
    fn row_bytes(&self) -> usize;
    /// A cached sequence of `batch` rows that starts empty, with weights of `precision`.
    fn sequence(&self, batch: usize, precision: Precision) -> Result<Box<dyn Sequence + '_>>;
}

/// A second stage: the joint distribution of text and image tokens.
pub trait TokenModel: Autoregressive {
    /// Each layer's attention pattern.
    fn patterns(&self) -> Vec<Pattern>;
    /// Which of some text slots are targets of the loss, and so of every figure of text: all, or all but pads.
    fn text_targets(&self, text: &[u32]) -> Vec<bool>;
    /// −ln p of each text and each image token, in nats: (B·T, B·grid²).
    fn nll(&self, size: usize, tokens: Tokens<'_>) -> Result<(Vec<f64>, Vec<f64>)>;
    /// Image logits of whole sequences, uncached: B·grid²·codes. For tests and small batches.
    fn logits(&self, size: usize, tokens: Tokens<'_>) -> Result<Vec<f32>>;
    /// How much each slot of one sequence attends to each other in `layer`: heads·S·S, rows of queries that sum to 1.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a layer that the model does not have.
    fn attention(&self, tokens: Tokens<'_>, layer: usize) -> Result<Vec<f32>>;
}

/// Rows of tokens that grow together, each layer's keys and values kept.
pub trait Sequence {
    /// Runs `slots` (which must follow on the last ones) and gives the image logits of the last, B·codes. The text and the
    /// start of the image are slots `0..text + 1`; slot `text + i` predicts image token i.
    fn advance(&mut self, tokens: Tokens<'_>, slots: Range<usize>) -> Result<Vec<f32>>;
    /// Each row `times` times, one after the other.
    fn repeat(&mut self, times: usize) -> Result<()>;
}

/// `f` over at most `chunk` of the inputs that `values` holds, `each` long, at a time: to bound memory.
fn by_chunk<X, Y>(
    values: &[X],
    each: usize,
    chunk: usize,
    f: impl Fn(&[X], usize) -> Result<Vec<Y>>,
) -> Result<Vec<Y>> {
    let mut out = Vec::new();
    for chunk in values.chunks((chunk * each).max(1)) {
        out.extend(f(chunk, chunk.len() / each)?);
    }
    Ok(out)
}
