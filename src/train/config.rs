//! What a spec may say of each stage, and the recipe that is the default: what trains well at the small scale that a spec
//! without more words has, from a few dozen pictures on. The paper's constants (A.2, B.2) are named in the comments and stand
//! together in `experiments/paper.yaml`.

use serde::{Deserialize, Serialize};

/// How a value goes from `from` to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// to + (from − to)·½(1 + cos πt): the paper's for all of stage 1.
    Cosine,
    /// from + (to − from)·t.
    Linear,
}

/// A value as a closed-form function of the step: `from` until `warmup` is over, then along `curve` to `to` at step `steps`, then constant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// The value at step 0 (after the warm-up).
    pub from: f64,
    /// The value from step `steps` on.
    pub to: f64,
    /// When `to` is reached; 0: at the end of the stage.
    pub steps: u64,
    /// The shape between.
    pub curve: Curve,
    /// A linear rise from 0 to `from` over this many first steps (learning rates only).
    pub warmup: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule { from: 1.0, to: 1.0, steps: 0, curve: Curve::Cosine, warmup: 0 }
    }
}

impl Schedule {
    /// `from` → `to` along a cosine over `steps` (0: the whole stage).
    pub const fn cosine(from: f64, to: f64, steps: u64) -> Self {
        Schedule { from, to, steps, curve: Curve::Cosine, warmup: 0 }
    }
}

/// How a gradient becomes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The paper's.
    Adamw,
    /// Orthogonal steps for weight matrices and convolutions, AdamW for gains, biases and embeddings: far fewer steps at
    /// small scale.
    Muon,
}

/// When the learning rate is reduced because the training loss falls no further.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plateau {
    /// Steps without a new minimum of the smoothed loss; 0: never reduced.
    pub patience: u64,
    /// What the learning rate is multiplied by each time; 0.5 in B.2.
    pub factor: f64,
    /// How often at most; 5 in B.2.
    pub times: u64,
    /// The share by which a new minimum must lie below the last one.
    pub threshold: f64,
    /// Decay of the loss's exponential average, a step.
    pub smoothing: f64,
}

impl Plateau {
    /// The learning rate follows its schedule alone.
    pub const OFF: Plateau = Plateau { patience: 0, factor: 0.5, times: 5, threshold: 1e-3, smoothing: 0.99 };
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau::OFF
    }
}

/// Which of a stage's weights are kept, measured and sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those of the best validation.
    Best,
    /// Those of the last step.
    Last,
}

/// The optimiser's constants and the clipping of the gradient's global norm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// AdamW or Muon.
    pub method: Method,
    /// The learning rate.
    pub lr: Schedule,
    /// Its reduction on a plateau of the training loss.
    pub plateau: Plateau,
    /// Decay of the running mean; Muon's momentum.
    pub beta1: f64,
    /// Decay of the running variance.
    pub beta2: f64,
    /// Added to the root of the variance.
    pub epsilon: f64,
    /// Decoupled weight decay; gains, biases and embeddings are exempt.
    pub weight_decay: f64,
    /// Largest global gradient norm; 0: no clipping.
    pub clip: f64,
    /// Upper bound on the running variance (5 in B.2); 0: none.
    pub max_variance: f64,
}

impl Optimizer {
    /// The constants of `method` that the stages share: β1 0.95 is Muon's momentum, the rest the paper's of A.2.
    const fn of(method: Method, lr: Schedule) -> Self {
        Optimizer {
            method,
            lr,
            plateau: Plateau::OFF,
            beta1: match method {
                Method::Adamw => 0.9,
                Method::Muon => 0.95,
            },
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 1e-4,
            clip: 0.0,
            max_variance: 0.0,
        }
    }

    /// The learning rate of `method`: of `muon`, or of `adamw`, each (from, to), after a warm-up.
    fn rate(method: Method, muon: (f64, f64), adamw: (f64, f64), warmup: u64) -> Schedule {
        let (from, to) = match method {
            Method::Muon => muon,
            Method::Adamw => adamw,
        };
        Schedule { from, to, steps: 0, curve: Curve::Cosine, warmup }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer::of(Method::Adamw, Schedule::cosine(1e-3, 1e-4, 0))
    }
}

/// An exponential moving average of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ema {
    /// 0 switches it off; 0.999 in A.2, 0.99 in B.2.
    pub decay: f64,
    /// Applied every so many steps: 1 in A.2, 25 in B.2.
    pub every: u64,
}

impl Default for Ema {
    fn default() -> Self {
        Ema { decay: 0.999, every: 1 }
    }
}

/// Which first stage turns pictures into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FirstStageConfig {
    /// dVAE or VQ-VAE.
    pub kind: FirstStageKind,
    /// Updates.
    pub steps: u64,
    /// Pictures per update; 512 in the paper.
    pub batch: usize,
    /// Equal parts of a batch that are run one after the other, their gradients summed: less memory, the same update up to
    /// rounding.
    pub accumulate: usize,
    /// The paper's: cosine 1e-4 → 1.25e-6 over 1,200,000, β 0.9 and 0.999, decay 1e-4.
    pub optimizer: Optimizer,
    /// 0.999 in the paper.
    pub ema: Ema,
    /// τ of the relaxation; the paper's: cosine 1 → 1/16 over 150,000.
    pub temperature: Schedule,
    /// β per latent position; the paper's: cosine 0 → 6.6 over 5,000, at 192 values a position.
    pub kl_weight: Schedule,
    /// One-hot values forward, relaxed gradients backward; the paper: false.
    pub straight_through: bool,
    /// Bound on |ln b| in training.
    pub clamp_log_b: f64,
    /// VQ-VAE: weight of the commitment loss.
    pub commitment: f64,
    /// Which weights are kept.
    pub keep: Keep,
    /// Validations without a new best after which the stage ends; 0: it runs all its steps.
    pub patience: u64,
    /// Steps between measurements on validation pictures (hard ELBO, usage, PSNR).
    pub validate_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

impl FirstStageConfig {
    /// The default for `steps` updates by `method`. β falls instead of rising: a small model that starts at 0 uses a handful of
    /// codes and never comes back. Gradients are clipped and b has a floor, else the likelihood is spent on the exact shade of
    /// flat grounds (results/dvae-recipe.md).
    pub fn recipe(steps: u64, method: Method) -> Self {
        FirstStageConfig {
            kind: FirstStageKind::Dvae,
            steps,
            batch: 16,
            accumulate: 1,
            optimizer: Optimizer {
                clip: 1.0,
                ..Optimizer::of(method, Optimizer::rate(method, (1e-2, 5e-4), (1e-3, 1e-4), 0))
            },
            ema: Ema { decay: 0.99, every: 1 },
            temperature: Schedule::cosine(1.0, 1.0 / 16.0, share(steps, 9, 10)),
            kl_weight: Schedule::cosine(6.6, 0.2, share(steps, 37, 60)),
            straight_through: false,
            clamp_log_b: 1.0,
            commitment: 0.25,
            keep: Keep::Best,
            patience: 0,
            validate_every: share(steps, 1, 15),
            checkpoint_every: share(steps, 1, 4),
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
fn share(steps: u64, of: u64, over: u64) -> u64 {
    ((u128::from(steps) * u128::from(of) / u128::from(over)) as u64).max(1)
}

/// The transformer (paper B.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerConfig {
    /// Updates.
    pub steps: u64,
    /// Pairs per update; 1024 in the paper.
    pub batch: usize,
    /// Equal parts of a batch that are run one after the other, their gradients summed: less memory, the same update up to
    /// rounding.
    pub accumulate: usize,
    /// Keeps each block's input alone for the backward pass, which runs the block again (arXiv 1604.06174): less memory, a
    /// third more arithmetic, the same bits. The paper recomputes too (B.2).
    pub recompute: bool,
    /// The paper's: peak 4.5e-4 after 5,000 steps of warm-up, β 0.9 and 0.96, decay 4.5e-2, clip 4, variance bound 5.
    pub optimizer: Optimizer,
    /// The paper's: 0.99 every 25 steps.
    pub ema: Ema,
    /// One pattern a layer (`full`, `row`, `col`, `conv`, `axial_row`, `axial_col`, `conv_like`); empty: the paper's order.
    pub attention: Vec<String>,
    /// Side of the convolutional pattern's kernel; 11 in the paper.
    pub conv_kernel: usize,
    /// Weight of the text loss; the image loss has the rest. 1/8 in the paper.
    pub text_weight: f64,
    /// Whether pads count in the text loss.
    pub pad_loss: bool,
    /// Share of captions replaced by pads alone, for classifier-free guidance; 0 in the paper.
    pub caption_dropout: f64,
    /// Which weights are kept.
    pub keep: Keep,
    /// Validations without a new best after which the stage ends; 0: it runs all its steps.
    pub patience: u64,
    /// Steps between measurements on validation pairs.
    pub validate_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

impl TransformerConfig {
    /// The default for `steps` updates by `method` over a grid of side `grid`: the paper's decay, clipping and bound on the
    /// variance (B.2), with learning rates for thousands of steps instead of hundreds of thousands.
    pub fn recipe(steps: u64, method: Method, grid: usize) -> Self {
        TransformerConfig {
            steps,
            batch: 32,
            accumulate: 1,
            recompute: false,
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
            validate_every: share(steps, 1, 15),
            checkpoint_every: share(steps, 1, 4),
        }
    }
}

impl Default for TransformerConfig {
    fn default() -> Self {
        TransformerConfig::recipe(2000, Method::Muon, 8)
    }
}

/// The contrastive model that reranks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClipConfig {
    /// Updates.
    pub steps: u64,
    /// Pairs per update: each is contrasted with all others.
    pub batch: usize,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The average that reranks.
    pub ema: Ema,
    /// Largest exp(logit_scale); 100 in CLIP.
    pub max_scale: f64,
    /// Share of pictures that are seen through the first stage, as the candidates of reranking are.
    pub reconstructed: f64,
    /// Which weights are kept.
    pub keep: Keep,
    /// Validations without a new best after which the stage ends; 0: it runs all its steps.
    pub patience: u64,
    /// Steps between measurements on validation pairs.
    pub validate_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

impl ClipConfig {
    /// The default for `steps` updates by `method`.
    pub fn recipe(steps: u64, method: Method) -> Self {
        ClipConfig {
            steps,
            batch: 64,
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
            validate_every: share(steps, 1, 15),
            checkpoint_every: share(steps, 1, 4),
        }
    }
}

impl Default for ClipConfig {
    fn default() -> Self {
        ClipConfig::recipe(1000, Method::Muon)
    }
}
