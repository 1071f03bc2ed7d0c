//! OpenAI's first DALL·E ([arXiv 2102.12092](https://arxiv.org/abs/2102.12092)): models whose shapes are types, and an
//! experiment harness around them.
//!
//! A picture becomes a grid of discrete codes (first stage); a transformer learns captions and codes as one sequence; CLIP
//! picks the best of what it samples. In the order that data flows:
//!
//! | module | what it is for |
//! |---|---|
//! | [`error`] | the one error type: what, where, expected and got |
//! | [`files`] | files read with a cap, and outputs that a crash cannot tear |
//! | [`checkpoint`] | checkpoints that survive a crash and notice damage |
//! | [`random`] | random numbers as pure functions of seed, stream and index |
//! | [`shape`] | what a preset must say of each model, checked when it compiles |
//! | [`mask`] | attention patterns as data: dense, as tiles, and what a cache must keep |
//! | [`kernels`] | arithmetic on slices, compiled once |
//! | [`text`] | byte-pair encoding, and the ids of text slots |
//! | [`data`] | pairs of picture and caption: procedural, folders, tar shards; augmentation and batches |
//! | [`ops`] | typed differentiable operations over the kernels, each with its oracle |
//! | [`nn`] | layers, and parameters by name |
//! | [`models`] | dVAE, VQ-VAE, transformer, CLIP, and the table of presets |
//! | [`objective`] | the evidence lower bound of both stages together |
//! | [`import`] | published weights: PyTorch's files read as data, and safetensors |
//! | [`spec`] | what a person may ask for: each key once, its schema, its default, and the reading |
//! | [`inference`] | models with their weights fixed: codes, likelihoods, sampling with a cache, and the one way from captions to ranked pictures |
//! | [`train`] | the stages behind erased traits, AdamW, schedules, checkpoints |
//! | [`evaluate`] | PSNR, SSIM, Fréchet distance, inception and CLIP scores, the oracle that reads pictures of shapes, and results as types |
//! | [`harness`] | run directories, the pipeline from a spec to results, plans |
//! | [`report`] | the report of a run as one HTML file |
//! | [`notebook`] | values that show themselves in a notebook's cell |
//!
//! A module names only those above it.
//!
//! Every model is in every build. Features bring what not everybody needs; whatever asks for one that is missing is told its name:
//!
//! | feature | what it brings | default |
//! |---|---|---|
//! | `cli` | the program `experiment`, its benchmark with the presets `bench-s` and `bench-l`, its selftest | yes |
//! | `emoji` | `experiment data emoji`, which renders the emoji dataset; the dataset itself is read without | yes |
//! | `onnx` | `experiment eval --network`, which measures with a network of yours | yes |
//! | `cuda` | NVIDIA GPUs; `cuda-check` type-checks that without a toolkit | no |
//!
//! From a caption to a picture, with an untrained model:
//!
//! ```
//! use dalle::harness::{load, models::Models};
//! use dalle::inference::{Options, Request};
//! use dalle::models::presets;
//! use dalle::nn::Precision;
//! use dalle::text::Bpe;
//! use std::rc::Rc;
//!
//! # fn main() -> dalle::Result<()> {
//! let spec = load::check("an example", "{name: example, preset: tiny}", &[], presets::NAMES)?;
//! let models = Models::untrained(&spec)?;
//! let captions = ["a red circle", "a blue square above a red circle"];
//! let bpe = Rc::new(Bpe::train(captions.map(String::from).into_iter(), models.architecture.text.bpe)?);
//!
//! let options = Options { temperature: 1.0, top_k: 0, top_p: 1.0, guidance: 1.0, precision: Precision::F32 };
//! let request = Request { candidates: 2, seed: 7, forced: vec![], options };
//! let drawn = models.generator(&spec, &bpe).draw(&captions, &request, &mut |_| Ok(()))?;
//! let best = &drawn[0].pictures[drawn[0].order()[0]];
//! assert_eq!((drawn.len(), drawn[0].pictures.len(), best.width, best.height), (2, 2, 16, 16));
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod files;
pub mod harness;
pub mod import;
pub mod inference;
pub mod kernels;
pub mod mask;
pub mod models;
pub mod nn;
pub mod notebook;
pub mod objective;
pub mod ops;
pub mod random;
pub mod report;
pub mod shape;
pub mod spec;
pub mod text;
pub mod train;
#[doc(hidden)]
pub use dfdx; // what `preset!` writes names its types
pub use error::{Error, Result};
