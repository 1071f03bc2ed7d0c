//! What is measured on validation sets.

use super::super::estimate::Estimate;
use super::quantity::{SHARE, figures};
use super::{AfterReconstruction, Better, Named, Quantity, ResultRow};
use serde::{Deserialize, Serialize};

figures!(
    /// Reconstruction and the bounds. Per value: pixels × channels.
    Bounds {
        /// 10·log₁₀(1/MSE), values in [0, 1].
        psnr: "PSNR of reconstructions", "dB", Higher;
        /// Structural similarity.
        ssim: "SSIM of reconstructions", "", Higher;
        /// Codes that occur.
        codes_in_use: "codes in use", "codes", Higher;
        /// exp of the codes' entropy.
        perplexity: "codebook perplexity", "codes", Higher;
        /// ln p(x | z*) − grid²·ln V.
        first_stage_hard_elbo_nats_per_dim: "first stage's ELBO, hard", "nats per value", Higher;
        /// Through codes relaxed as at the end of training.
        first_stage_relaxed_elbo_nats_per_dim: "first stage's ELBO, relaxed", "nats per value", Higher;
        /// What the relaxation hides.
        first_stage_elbo_gap_nats_per_dim: "first stage's ELBO, relaxed less hard", "nats per value", Lower;
        /// Picture, its codes and its caption together (equation 1).
        joint_nats: "joint bound", "nats per pair", Lower;
        /// The same.
        joint_bits_per_dim: "joint bound", "bits per value", Lower;
        /// Of runs of before: now `joint_bits_per_value`.
        joint_bits_per_dim_of_8_bit_pixels: "joint bound, 8-bit pixels", "bits per value", Lower;
        /// Of the 8-bit values: comparable to likelihood models of pixels.
        joint_bits_per_value: "joint bound, 8-bit pixels", "bits per value", Lower;
        /// Of the density of the values.
        joint_bits_per_value_as_density: "joint bound, as a density", "bits per value", Lower;
        /// β at the end of training.
        trained_beta: "β at the end of training", "", Neither;
        /// The bound with that β.
        joint_nats_at_trained_beta: "joint bound at that β", "nats per pair", Lower;
        /// The same.
        joint_bits_per_dim_at_trained_beta: "joint bound at that β", "bits per value", Lower;
        /// −ln p(x | z*).
        picture_nats: "picture given its codes", "nats per picture", Lower;
        /// −ln p(z | y).
        image_token_nats: "image tokens", "nats per picture", Lower;
        /// −ln p(y), of the tokens that the loss counts.
        text_nats: "text tokens", "nats per caption", Lower;
        /// Pairs that were measured.
        pairs: "pairs", "", Neither;
        /// Pictures of shapes that still show all that their caption names: no sample can do better.
        attributes_after_reconstruction: "every attribute right after reconstruction", SHARE, Higher;
    }
);

impl Bounds {
    /// Without what is made of the likelihood of pictures: a published first stage is not asked for one.
    pub fn without_likelihood(self) -> Bounds {
        let Bounds { psnr, ssim, codes_in_use, perplexity, .. } = self;
        let Bounds { image_token_nats, text_nats, pairs, attributes_after_reconstruction, .. } = self;
        let kept = Bounds { psnr, ssim, codes_in_use, perplexity, image_token_nats, text_nats, ..Bounds::default() };
        Bounds { pairs, attributes_after_reconstruction, ..kept }
    }
}

/// A validation set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SetResults {
    /// Reconstruction and bounds.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// What the first stage keeps of shapes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_reconstruction: Option<AfterReconstruction>,
}

impl SetResults {
    /// Every figure, as rows; those that are details at last.
    pub fn rows(&self) -> (Vec<ResultRow>, Vec<ResultRow>) {
        let rows = self.bounds.figures().map(|(quantity, figure)| ResultRow::of(quantity, figure)).collect();
        (rows, self.after_reconstruction.as_ref().map(AfterReconstruction::rows).unwrap_or_default())
    }
}

figures!(
    /// Drawn pictures against their captions, by a CLIP.
    SampleFigures {
        /// Of the best picture and its caption.
        similarity: "CLIP similarity", "100·cosine", Higher;
        /// Of the real picture and its caption.
        similarity_of_real_pictures: "CLIP similarity of real pictures", "100·cosine", Higher;
        /// Hessel et al. 2021.
        clip_score: "CLIPScore", "", Higher;
        /// The same of real pictures.
        clip_score_of_real_pictures: "CLIPScore of real pictures", "", Higher;
    }
);

figures!(
    /// How often the right one of all is among the nearest.
    Recall {
        /// The nearest.
        at_1: "at 1", SHARE, Higher;
        /// The five nearest.
        at_5: "at 5", SHARE, Higher;
        /// The ten nearest.
        at_10: "at 10", SHARE, Higher;
    }
);

/// What a CLIP makes of samples and of the real pictures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleResults {
    /// Against their captions.
    #[serde(flatten)]
    pub figures: SampleFigures,
    /// A real picture finds its caption.
    pub retrieval_of_captions: Recall,
    /// A caption finds its real picture.
    pub retrieval_of_pictures: Recall,
}

impl SampleResults {
    /// Every figure, as rows.
    pub fn rows(&self) -> Vec<ResultRow> {
        let rows =
            |heading: &str, figures: &mut dyn Iterator<Item = (&'static Quantity, Estimate)>| -> Vec<ResultRow> {
                figures.map(|(quantity, figure)| ResultRow::of(quantity, figure).below(heading)).collect()
            };
        let within = |key: &str, rows: Vec<ResultRow>| -> Vec<ResultRow> {
            rows.into_iter().map(|row| row.within(key)).collect()
        };
        let all = [
            rows("samples", &mut self.figures.figures()),
            within("retrieval_of_captions", rows("retrieval of captions", &mut self.retrieval_of_captions.figures())),
            within("retrieval_of_pictures", rows("retrieval of pictures", &mut self.retrieval_of_pictures.figures())),
        ];
        within("samples", all.concat())
    }
}

/// The distance of drawn to real pictures under one blur.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnderBlur {
    /// The blur's radius, in pixels of 256 × 256 pictures.
    pub radius: u32,
    /// In pixels of these.
    #[serde(default = "unknown")]
    pub pixels: Estimate,
    /// Fréchet's.
    pub distance: Estimate,
    /// Of the drawn pictures.
    pub inception_score: Estimate,
}

fn unknown() -> Estimate {
    f64::NAN.into()
}

/// What a network makes of drawn and real pictures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkResults {
    /// What the distance is called.
    pub metric: String,
    /// By blur.
    pub by_radius: Vec<UnderBlur>,
}

/// A validation set as `experiment eval` measures it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluatedSet {
    /// Reconstruction, bounds and attributes.
    #[serde(flatten)]
    pub set: SetResults,
    /// Samples by a CLIP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<SampleResults>,
    /// What was cut of captions, a line for each model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub captions_cut: Vec<String>,
    /// Samples by a network of the user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkResults>,
}

impl EvaluatedSet {
    /// Every figure but the network's, as rows; those that are details at last.
    pub fn rows(&self) -> (Vec<ResultRow>, Vec<ResultRow>) {
        let (mut rows, details) = self.set.rows();
        rows.extend(self.samples.iter().flat_map(SampleResults::rows));
        (rows, details)
    }
}

/// What `experiment eval` finds, of all sets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evaluation {
    /// Whose CLIP it is.
    pub judge: String,
    /// Samples for each caption.
    pub candidates: usize,
    /// Draws with replacement for the distance's interval.
    pub resamples: usize,
    /// Whether the captions are MS-COCO's.
    pub coco: bool,
    /// By validation set.
    pub sets: Named<EvaluatedSet>,
    /// What was damaged of the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
