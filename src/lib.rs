//! OpenAI's first DALL·E ([arXiv 2102.12092](https://arxiv.org/abs/2102.12092)): models whose shapes are types, and an
//! experiment harness around them.
//!
//! A picture becomes a grid of discrete codes (first stage); a transformer learns captions and codes as one sequence; CLIP
//! picks the best of what it samples.
//!
//! ```text
//!   TRAINING                                           SAMPLING
//!
//!   picture 32×32×3             caption                caption ────────────────────────────┐
//!       │ dVAE encoder             │ byte pairs           │ byte pairs                     │
//!       ▼                          ▼                      ▼                                │
//!   64 codes of 256 ─────►  40 text slots, 64 codes    40 text slots                       │
//!       │ dVAE decoder             │ transformer          │ transformer, code by code      │
//!       ▼                          ▼                      ▼                                │
//!   the picture again       ln p(caption, codes)       64 codes of each of N candidates    │
//!                                                         │ dVAE decoder                   │
//!                                                         ▼                                ▼
//!                                                      N pictures ──────────────────────► CLIP ──► the best first
//! ```
//!
//! (The sizes are those of preset `mini`.) In the order that data flows:
//!
//! | what | where |
//! |---|---|
//! | pictures with captions: drawn ([`data::shapes`]), folders, tar shards; augmentation and batches | [`data`] |
//! | captions to ids ([`text::Bpe`]), ids to text slots ([`text::TextVocab`]) | [`text`] |
//! | pictures to codes and back: [`Dvae`](models::dvae::Dvae), or [`Vqvae`](models::vqvae::Vqvae) | [`models`] |
//! | captions and codes as one sequence: [`Transformer`](models::transformer::Transformer) | [`models`] |
//! | who attends to whom in it: row, column and convolutional patterns, as data | [`mask`] |
//! | captions against pictures: [`Clip`](models::clip::Clip) | [`models`] |
//! | what each model must be told of its sizes, checked when it compiles; [`preset!`] writes it | [`shape`] |
//! | layers, and parameters by name | [`nn`] |
//! | typed differentiable operations, each with its oracle | [`ops`] |
//! | the evidence lower bound of both stages together | [`objective`] |
//! | a stage in training: optimiser, average of the weights, checkpoint | [`train`] |
//! | its settings, each key of a spec once | [`spec`] |
//! | models with their weights fixed: codes, likelihoods, and the one way from captions to ranked pictures | [`inference`] |
//! | how good pictures are: PSNR, SSIM, Fréchet distance, CLIP score | [`evaluate`] |
//! | random numbers as pure functions of seed, stream and index | [`random`] |
//!
//! Those are for building models. To train what a spec says, and to use it, there is the short way: a [`Spec`] is read, a [`Run`]
//! trains it, its [`Model`] does what a [`Sampling`] asks for. Every type at the root shows itself in a notebook's cell and is
//! saved as a file.
//!
//! ```no_run
//! use dalle::{Run, Sampling, Spec};
//!
//! # fn main() -> dalle::Result<()> {
//! let run = Run::start(&Spec::read("experiments/quickstart.yaml")?)?; // in results/, as the command line's runs
//! run.wait()?;
//! let drawn = run.model()?.sample(&Sampling::of("a red circle above a blue square").candidates(16).seed(7))?;
//! drawn.best()?.save("circle.png")?;
//! # Ok(())
//! # }
//! ```
//!
//! Every model is in every build. Features bring what not everybody needs; whatever asks for one that is missing is told its name:
//!
//! | feature | what it brings | default |
//! |---|---|---|
//! | `cli` | the program `experiment`, its benchmark with the presets `bench-s` and `bench-l`, its selftest | yes |
//! | `emoji` | `experiment data emoji`, which renders the emoji dataset; the dataset itself is read without | yes |
//! | `onnx` | `experiment eval --network`, which measures with a network of yours | yes |
//! | `cuda` | NVIDIA GPUs | no |
//! | `cuda-check` | type-checks `cuda` without a toolkit | no |
//!
//! `examples/` is a course in seven parts: masks, the dVAE, training from code, sampling, and a mask, a preset and a loss of one's
//! own. What the documentation leaves out is there for the program and the tests: it may change with any version.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
pub mod checkpoint;
pub mod data;
#[doc(hidden)]
pub mod error;
pub mod evaluate;
#[doc(hidden)]
pub mod export;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod harness;
#[doc(hidden)]
pub mod import;
pub mod inference;
#[doc(hidden)]
pub mod kernels;
pub mod mask;
pub mod models;
pub mod nn;
#[doc(hidden)]
pub mod notebook;
pub mod objective;
pub mod ops;
pub mod random;
#[doc(hidden)]
pub mod report;
pub mod shape;
pub mod spec;
pub mod text;
pub mod train;

#[doc(hidden)]
pub use dfdx; // what `preset!` writes names its types
#[doc(inline)]
pub use error::{Error, Result};
#[doc(inline)]
pub use mask::Pattern;
#[doc(inline)]
pub use notebook::{
    Attention, Bound, Chart, ChartGrid, Comparison, Image, ImageGrid, Mask, Model, Run, Runs, Samples, Sampling, Sizes,
    Spec, Sweep, Table, Text, Tokens,
};
