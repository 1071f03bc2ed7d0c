//! What a spec may say of drawing and measuring.

use super::kinds::*;
use crate::data::shapes::Captions;
use crate::kernels::MatmulPrecision;
use crate::nn::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How pictures are drawn.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleSpec {
    /// Candidates per caption; 512 in the paper.
    #[schemars(schema_with = "candidates")]
    pub candidates: usize,
    /// 1 in the paper.
    #[schemars(schema_with = "positive")]
    pub temperature: f64,
    /// Only the k likeliest tokens; 0: all.
    #[schemars(schema_with = "any")]
    pub top_k: usize,
    /// Only the likeliest tokens that hold this share; 1: all.
    #[schemars(schema_with = "above_zero_to_one")]
    pub top_p: f64,
    /// Classifier-free guidance; 1: none.
    #[schemars(schema_with = "not_negative")]
    pub guidance: f64,
    /// In how many bits the weights are kept while drawing.
    pub precision: Precision,
    /// Captions shown in the report.
    #[schemars(schema_with = "shown")]
    pub shown: usize,
}

impl Default for SampleSpec {
    fn default() -> Self {
        SampleSpec {
            candidates: 8,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            guidance: 1.0,
            precision: Precision::F32,
            shown: 12,
        }
    }
}

/// What is measured after training.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSpec {
    /// Validation pairs for the ELBO and the reconstructions; 0: all.
    #[schemars(schema_with = "any")]
    pub pairs: usize,
    /// shapes: one-object captions of kinds seen in training.
    #[schemars(schema_with = "captions")]
    pub seen: usize,
    /// shapes: one-object captions of held-out (shape, colour) pairs.
    #[schemars(schema_with = "captions")]
    pub held_out: usize,
    /// shapes: two-object captions.
    #[schemars(schema_with = "captions")]
    pub two_objects: usize,
    /// shapes: captions whose figures are reported, or others to choose settings by.
    pub captions: Captions,
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        EvaluateSpec { pairs: 256, seen: 256, held_out: 128, two_objects: 128, captions: Captions::Quoted }
    }
}

/// What only a GPU asks for.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuSpec {
    /// What products round their factors to.
    pub products: MatmulPrecision,
}
