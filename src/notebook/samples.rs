//! Samples of a caption.

use super::chart::Chart;
use super::image::{Image, ImageGrid};
use super::show::{Rich, Show, shown};
use super::tokens::Tokens;
use crate::inference::{Options, rank};
use crate::nn::Precision;
use crate::{Error, Result};
use std::fmt::{self, Display, Formatter};

/// What to draw, and how: a caption, how many candidates, and the options of the sampler (arXiv 2102.12092, section 2.3).
#[derive(Clone)]
pub struct Sampling {
    pub(super) caption: String,
    pub(super) candidates: usize,
    pub(super) seed: u64,
    pub(super) options: Options,
    pub(super) prime: Option<(Image, usize)>,
}

impl Sampling {
    /// Eight candidates of a caption at temperature 1.
    pub fn of(caption: &str) -> Sampling {
        let options = Options { temperature: 1.0, top_k: 0, top_p: 1.0, guidance: 1.0, precision: Precision::F32 };
        Sampling { caption: caption.to_owned(), candidates: 8, seed: 0, options, prime: None }
    }

    /// How many.
    pub fn candidates(mut self, count: usize) -> Sampling {
        self.candidates = count;
        self
    }

    /// The root of the pictures' seeds: one seed draws the same pictures.
    pub fn seed(mut self, seed: u64) -> Sampling {
        self.seed = seed;
        self
    }

    /// Divides the logits; 0 takes the likeliest token always, 1 (the default) the model's own distribution. Never negative.
    pub fn temperature(mut self, temperature: f64) -> Sampling {
        self.options.temperature = temperature;
        self
    }

    /// Only the k likeliest tokens; 0: all.
    pub fn top_k(mut self, k: usize) -> Sampling {
        self.options.top_k = k;
        self
    }

    /// Only the likeliest tokens that together hold this share, above 0 and up to 1: all.
    pub fn top_p(mut self, share: f64) -> Sampling {
        self.options.top_p = share;
        self
    }

    /// The weight of classifier-free guidance (arXiv 2207.12598); 1: none. Only for a model that was trained with
    /// `transformer.caption_dropout`.
    pub fn guidance(mut self, guidance: f64) -> Sampling {
        self.options.guidance = guidance;
        self
    }

    /// The first `rows` rows of tokens are the picture's, at most the grid's: image-to-image (section 3.3).
    pub fn prime(mut self, image: &Image, rows: usize) -> Sampling {
        self.prime = Some((image.clone(), rows));
        self
    }
}

impl Display for Sampling {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Options { temperature, top_k, top_p, guidance, .. } = self.options;
        write!(f, "{} candidates of {:?}, seed {}: ", self.candidates, self.caption, self.seed)?;
        write!(f, "temperature {temperature}, top-k {top_k}, top-p {top_p}, guidance {guidance}")
    }
}

/// The candidates of a caption, in the order drawn, each with its codes and, where CLIP is trained, its score.
#[derive(Clone)]
pub struct Samples {
    pub(super) caption: String,
    pub(super) images: Vec<Image>,
    pub(super) tokens: Vec<Tokens>,
    /// Cosines with the caption; NaN where no CLIP is trained.
    pub(super) scores: Vec<f32>,
}

impl Samples {
    /// How many.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The similarity by CLIP, 100·cosine, in the order drawn; NaN where none is trained.
    pub fn scores(&self) -> Vec<f64> {
        self.scores.iter().map(|score| 100.0 * f64::from(*score)).collect()
    }

    /// The codes of candidate `index`.
    ///
    /// # Errors
    /// [`Error::Usage`] past the last.
    pub fn tokens(&self, index: usize) -> Result<Tokens> {
        let none = || Error::Usage(format!("candidate {index}: there are {}, counted from 0", self.len()));
        self.tokens.get(index).cloned().ok_or_else(none)
    }

    /// The same candidates, best by CLIP first.
    pub fn ranked(&self) -> Samples {
        let order = rank(&self.scores);
        Samples {
            caption: self.caption.clone(),
            images: order.iter().map(|&at| self.images[at].clone()).collect(),
            tokens: order.iter().map(|&at| self.tokens[at].clone()).collect(),
            scores: order.iter().map(|&at| self.scores[at]).collect(),
        }
    }

    /// The pictures, each with its score.
    pub fn images(&self) -> ImageGrid {
        let scored = |(image, score): (&Image, &f32)| {
            image.clone().captioned(&if score.is_nan() { String::new() } else { format!("{:.1}", 100.0 * score) })
        };
        ImageGrid::of(&self.images.iter().zip(&self.scores).map(scored).collect::<Vec<_>>())
    }

    /// The best by CLIP; where none is trained, the first.
    ///
    /// # Errors
    /// [`Error::Usage`] where there are none.
    pub fn best(&self) -> Result<Image> {
        let caption = self.caption.clone();
        Ok(self.ranked().images().get(0)?.captioned(&caption))
    }

    /// The best score among the first N candidates, for N from 1 to all.
    pub fn best_of(&self) -> Chart {
        let mut best = f64::NEG_INFINITY;
        let mut points = Vec::new();
        for (at, score) in self.scores().into_iter().enumerate() {
            best = best.max(score);
            points.push(((at + 1) as f64, best));
        }
        Chart::new("Best of N by CLIP", "candidates N", "similarity (100·cosine)").line("best so far", &points)
    }
}

impl Display for Samples {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let scores: Vec<String> = self.scores().iter().map(|score| format!("{score:.1}")).collect();
        write!(f, "{} pictures of {:?}, similarity {}", self.len(), self.caption, scores.join(", "))
    }
}

impl Show for Samples {
    fn rich(&self) -> Result<Rich> {
        self.images().rich()
    }
}

impl Show for Sampling {
    fn rich(&self) -> Result<Rich> {
        Ok(Rich::Html(format!("<p>{}</p>", crate::report::html::escape(&self.to_string()))))
    }
}

shown!(Sampling, Samples);
