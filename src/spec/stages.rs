//! What a spec may say of each stage, and the recipe that is the default: what trains well at the small scale that a spec
//! without more words has, from a few dozen pictures on. The paper's constants (A.2, B.2) are named in the comments and stand
//! together in `experiments/paper.yaml`.

use super::kinds::*;
use super::optimizer::{Ema, Keep, Method, Optimizer};
use super::schedule::{Schedule, schedule_above_zero, schedule_from_zero};
use crate::kernels::Products;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which first stage turns pictures into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstStageKind {
    /// The paper's discrete VAE: Gumbel-softmax, logit-Laplace, KL to the uniform prior.
    Dvae,
    /// The alternative: nearest code, straight-through, commitment loss.
    Vqvae,
}

impl FirstStageKind {
    /// The stage's name in metrics and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            FirstStageKind::Dvae => "dvae",
            FirstStageKind::Vqvae => "vqvae",
        }
    }
}

/// The first stage (paper A.2).
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FirstStageConfig {
    /// Not trained here: that of this run, whose keys of the stage then hold, or of a file of `experiment import` (OpenAI's dVAE, a Gumbel
    /// VQGAN), whose name ends in `.safetensors`. Relative to the spec's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "lender")]
    pub from: Option<String>,
    /// dVAE or VQ-VAE.
    pub kind: FirstStageKind,
    /// Updates.
    #[schemars(schema_with = "count")]
    pub steps: u64,
    /// Pictures per update; 512 in the paper.
    #[schemars(schema_with = "batch")]
    pub batch: usize,
    /// Equal parts of a batch that are run one after the other, their gradients summed: less memory, the same update up to
    /// rounding.
    #[schemars(schema_with = "batch")]
    pub accumulate: usize,
    /// What training rounds the factors of products to, on a CPU; a GPU's `gpu.products` says it there. Weights and sums stay f32.
    pub precision: Products,
    /// The paper's: cosine 1e-4 → 1.25e-6 over 1,200,000, β 0.9 and 0.999, decay 1e-4.
    pub optimizer: Optimizer,
    /// 0.999 in the paper.
    pub ema: Ema,
    /// τ of the relaxation; the paper's: cosine 1 → 1/16 over 150,000.
    #[schemars(schema_with = "schedule_above_zero")]
    pub temperature: Schedule,
    /// β per latent position; the paper's: cosine 0 → 6.6 over 5,000, at 192 values a position.
    #[schemars(schema_with = "schedule_from_zero")]
    pub kl_weight: Schedule,
    /// One-hot values forward, relaxed gradients backward; the paper: false.
    pub straight_through: bool,
    /// Bound on |ln b| in training.
    #[schemars(schema_with = "positive")]
    pub clamp_log_b: f64,
    /// VQ-VAE: weight of the commitment loss.
    #[schemars(schema_with = "not_negative")]
    pub commitment: f64,
    /// Which weights are kept.
    pub keep: Keep,
    /// Validations without a new best after which the stage ends; 0: it runs all its steps.
    #[schemars(schema_with = "any")]
    pub patience: u64,
    /// Steps between measurements on validation pictures (hard ELBO, usage, PSNR).
    #[schemars(schema_with = "count")]
    pub validate_every: u64,
    /// Steps between checkpoints.
    #[schemars(schema_with = "count")]
    pub checkpoint_every: u64,
}

/// Whether a stage is taken from a file of `experiment import`, not from a run.
pub fn is_file(from: Option<&str>) -> bool {
    from.is_some_and(|from| from.ends_with(".safetensors"))
}

impl FirstStageConfig {
    /// Whether its weights are published ones: it was not trained by a likelihood that is known here.
    pub fn is_published(&self) -> bool {
        is_file(self.from.as_deref())
    }

    /// The default for `steps` updates by `method`. β falls instead of rising: a small model that starts at 0 uses a handful of
    /// codes and never comes back. Gradients are clipped and b has a floor, else the likelihood is spent on the exact shade of
    /// flat grounds (results/dvae-recipe.md).
    pub fn recipe(steps: u64, method: Method) -> Self {
        FirstStageConfig {
            from: None,
            kind: FirstStageKind::Dvae,
            steps,
            batch: 16,
            accumulate: 1,
            precision: Products::F32,
            optimizer: Optimizer {
                clip: 1.0,
                ..Optimizer::of(method, Optimizer::rate(method, (1e-2, 5e-4), (1e-3, 1e-4), 0))
            },
            ema: Ema { decay: 0.99, every: 1 },
            temperature: Schedule::cosine(1.0, 1.0 / 16.0, part(steps, 9, 10)),
            kl_weight: Schedule::cosine(6.6, 0.2, part(steps, 37, 60)),
            straight_through: false,
            clamp_log_b: 1.0,
            commitment: 0.25,
            keep: Keep::Best,
            patience: 0,
            validate_every: part(steps, 1, 15),
            checkpoint_every: part(steps, 1, 4),
        }
    }
}

impl Default for FirstStageConfig {
    fn default() -> Self {
        FirstStageConfig::recipe(3000, Method::Muon)
    }
}

/// Pictures from which on a stage trains for as long as it would with any number of them.
const MANY: f64 = 2500.0;

/// The updates of a stage that sees `pictures` in their order again and again, `many` where these are many or unknown: as the
/// root of their number. Fifty pictures are known by heart long before 2,000 updates; the learning rate must have fallen by
/// then.
pub fn updates(many: u64, pictures: Option<usize>) -> u64 {
    let share = pictures.map_or(1.0, |n| (n as f64 / MANY).sqrt());
    ((many as f64 * share.min(1.0)).round() as u64).max(1)
}

/// `of`/`over` of the steps, at least one.
fn part(steps: u64, of: u64, over: u64) -> u64 {
    ((u128::from(steps) * u128::from(of) / u128::from(over)) as u64).max(1)
}

/// The transformer (paper B.2).
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerConfig {
    /// Not trained here: that of this run, whose keys of the stage then hold, with its tokenizer. The first stage must be the one whose
    /// codes it has learned. Relative to the spec's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "lender")]
    pub from: Option<String>,
    /// Updates.
    #[schemars(schema_with = "count")]
    pub steps: u64,
    /// Pairs per update; 1024 in the paper.
    #[schemars(schema_with = "batch")]
    pub batch: usize,
    /// Equal parts of a batch that are run one after the other, their gradients summed: less memory, the same update up to
    /// rounding.
    #[schemars(schema_with = "batch")]
    pub accumulate: usize,
    /// Keeps each block's input alone for the backward pass, which runs the block again (arXiv 1604.06174): less memory, a
    /// third more arithmetic, the same bits. The paper recomputes too (B.2).
    pub recompute: bool,
    /// What training rounds the factors of products to, on a CPU; a GPU's `gpu.products` says it there. Weights and sums stay f32.
    pub precision: Products,
    /// The paper's: peak 4.5e-4 after 5,000 steps of warm-up, β 0.9 and 0.96, decay 4.5e-2, clip 4, variance bound 5.
    pub optimizer: Optimizer,
    /// The paper's: 0.99 every 25 steps.
    pub ema: Ema,
    /// One pattern a layer (`full`, `row`, `col`, `conv`, `axial_row`, `axial_col`, `conv_like`); empty: the paper's order.
    #[schemars(schema_with = "attention")]
    pub attention: Vec<String>,
    /// Side of the convolutional pattern's kernel; 11 in the paper.
    #[schemars(schema_with = "odd")]
    pub conv_kernel: usize,
    /// Weight of the text loss; the image loss has the rest. 1/8 in the paper.
    #[schemars(schema_with = "share")]
    pub text_weight: f64,
    /// Whether pads count in the text loss.
    pub pad_loss: bool,
    /// Share of captions replaced by pads alone, for classifier-free guidance; 0 in the paper.
    #[schemars(schema_with = "below_one")]
    pub caption_dropout: f64,
    /// Which weights are kept.
    pub keep: Keep,
    /// Validations without a new best after which the stage ends; 0: it runs all its steps.
    #[schemars(schema_with = "any")]
    pub patience: u64,
    /// Steps between measurements on validation pairs.
    #[schemars(schema_with = "count")]
    pub validate_every: u64,
    /// Steps between checkpoints.
    #[schemars(schema_with = "count")]
    pub checkpoint_every: u64,
}

impl TransformerConfig {
    /// The default for `steps` updates by `method` over a grid of side `grid`: the paper's decay, clipping and bound on the
    /// variance (B.2), with learning rates for thousands of steps instead of hundreds of thousands.
    pub fn recipe(steps: u64, method: Method, grid: usize) -> Self {
        TransformerConfig {
            from: None,
            steps,
            batch: 32,
            accumulate: 1,
            recompute: false,
            precision: Products::F32,
            optimizer: Optimizer {
                beta2: 0.96,
                weight_decay: 4.5e-2,
                clip: 4.0,
                max_variance: 5.0,
                ..Optimizer::of(method, Optimizer::rate(method, (6e-3, 2e-4), (1e-3, 1e-4), (steps / 10).min(50)))
            },
            ema: Ema { decay: 0.99, every: 1 },
            attention: Vec::new(),
            // 11 of the paper's 32 would cover the whole of a small grid.
            conv_kernel: match grid {
                ..=4 => 3,
                5..=8 => 5,
                9..=16 => 7,
                _ => 11,
            },
            text_weight: 0.125,
            pad_loss: true,
            caption_dropout: 0.0,
            keep: Keep::Best,
            patience: 0,
            validate_every: part(steps, 1, 15),
            checkpoint_every: part(steps, 1, 4),
        }
    }
}

impl Default for TransformerConfig {
    fn default() -> Self {
        TransformerConfig::recipe(2000, Method::Muon, 8)
    }
}

/// The contrastive model that reranks.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClipConfig {
    /// Not trained here: that of this run, whose keys of the stage then hold, with its tokenizer, or of a file of `experiment import`
    /// (OpenAI's or Hugging Face's CLIP, its merges beside it), whose name ends in `.safetensors`. Relative to the spec's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "lender")]
    pub from: Option<String>,
    /// Updates.
    #[schemars(schema_with = "count")]
    pub steps: u64,
    /// Pairs per update: each is contrasted with all others.
    #[schemars(schema_with = "pairs")]
    pub batch: usize,
    /// What training rounds the factors of products to, on a CPU; a GPU's `gpu.products` says it there. Weights and sums stay f32.
    pub precision: Products,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The average that reranks.
    pub ema: Ema,
    /// Largest exp(logit_scale); 100 in CLIP.
    #[schemars(schema_with = "from_one")]
    pub max_scale: f64,
    /// Share of pictures that are seen through the first stage, as the candidates of reranking are.
    #[schemars(schema_with = "share")]
    pub reconstructed: f64,
    /// Which weights are kept.
    pub keep: Keep,
    /// Validations without a new best after which the stage ends; 0: it runs all its steps.
    #[schemars(schema_with = "any")]
    pub patience: u64,
    /// Steps between measurements on validation pairs.
    #[schemars(schema_with = "count")]
    pub validate_every: u64,
    /// Steps between checkpoints.
    #[schemars(schema_with = "count")]
    pub checkpoint_every: u64,
}

impl ClipConfig {
    /// Whether its weights are published ones, which read pictures and captions as OpenAI's code does.
    pub fn is_published(&self) -> bool {
        is_file(self.from.as_deref())
    }

    /// The default for `steps` updates by `method`.
    pub fn recipe(steps: u64, method: Method) -> Self {
        ClipConfig {
            from: None,
            steps,
            batch: 64,
            precision: Products::F32,
            optimizer: Optimizer {
                beta2: 0.98,
                weight_decay: 0.1,
                ..Optimizer::of(method, Optimizer::rate(method, (3e-3, 1e-4), (5e-4, 5e-6), (steps / 10).min(50)))
            },
            ema: Ema { decay: 0.99, every: 1 },
            max_scale: 100.0,
            reconstructed: 0.0,
            keep: Keep::Best,
            patience: 0,
            validate_every: part(steps, 1, 15),
            checkpoint_every: part(steps, 1, 4),
        }
    }
}

impl Default for ClipConfig {
    fn default() -> Self {
        ClipConfig::recipe(1000, Method::Muon)
    }
}
