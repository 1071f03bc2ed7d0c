//! What a spec may say of an optimiser: schedules, constants, the average of the weights, and which weights are kept.

use super::kinds::*;
use super::schedule::{Curve, Schedule, schedule_from_zero};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a gradient becomes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The paper's.
    Adamw,
    /// Orthogonal steps for weight matrices and convolutions, AdamW for gains, biases and embeddings: far fewer steps at
    /// small scale.
    Muon,
}

/// When the learning rate is reduced because the training loss falls no further.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plateau {
    /// Steps without a new minimum of the smoothed loss; 0: never reduced.
    #[schemars(schema_with = "any")]
    pub patience: u64,
    /// What the learning rate is multiplied by each time; 0.5 in B.2.
    #[schemars(schema_with = "above_zero_below_one")]
    pub factor: f64,
    /// How often at most; 5 in B.2.
    #[schemars(schema_with = "any")]
    pub times: u64,
    /// The share by which a new minimum must lie below the last one.
    #[schemars(schema_with = "below_one")]
    pub threshold: f64,
    /// Decay of the loss's exponential average, a step.
    #[schemars(schema_with = "below_one")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those of the best validation.
    Best,
    /// Those of the last step.
    Last,
}

/// The optimiser's constants and the clipping of the gradient's global norm.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// AdamW or Muon.
    pub method: Method,
    /// The learning rate.
    #[schemars(schema_with = "schedule_from_zero")]
    pub lr: Schedule,
    /// Its reduction on a plateau of the training loss.
    pub plateau: Plateau,
    /// Decay of the running mean; Muon's momentum.
    #[schemars(schema_with = "below_one")]
    pub beta1: f64,
    /// Decay of the running variance.
    #[schemars(schema_with = "below_one")]
    pub beta2: f64,
    /// Added to the root of the variance.
    #[schemars(schema_with = "positive")]
    pub epsilon: f64,
    /// Decoupled weight decay; gains, biases and embeddings are exempt.
    #[schemars(schema_with = "not_negative")]
    pub weight_decay: f64,
    /// Largest global gradient norm; 0: no clipping.
    #[schemars(schema_with = "not_negative")]
    pub clip: f64,
    /// Upper bound on the running variance (5 in B.2); 0: none.
    #[schemars(schema_with = "not_negative")]
    pub max_variance: f64,
}

impl Optimizer {
    /// The constants of `method` that the stages share: β1 0.95 is Muon's momentum, the rest the paper's of A.2.
    pub(super) const fn of(method: Method, lr: Schedule) -> Self {
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
    pub(super) fn rate(method: Method, muon: (f64, f64), adamw: (f64, f64), warmup: u64) -> Schedule {
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
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ema {
    /// 0 switches it off; 0.999 in A.2, 0.99 in B.2.
    #[schemars(schema_with = "below_one")]
    pub decay: f64,
    /// Applied every so many steps: 1 in A.2, 25 in B.2.
    #[schemars(schema_with = "count")]
    pub every: u64,
}

impl Default for Ema {
    fn default() -> Self {
        Ema { decay: 0.999, every: 1 }
    }
}
