//! What may be chosen of a GPU's kernels.

use serde::{Deserialize, Serialize};

/// Which kernels a GPU runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// dfdx's, composed to what the models need.
    #[default]
    Composed,
    /// Those of our own as well, of which none has run on a GPU yet.
    Experimental,
}

/// What a GPU rounds the factors of products to, on their way into its tensor cores; sums are in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatmulPrecision {
    /// Not at all, and not on the tensor cores.
    #[default]
    F32,
    /// 10 bits of fraction, the exponents of f32.
    Tf32,
    /// 7 bits of fraction, the exponents of f32.
    Bf16,
}

/// What a CPU rounds the factors of products to in training; sums, and everything else, are in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Products {
    /// Not at all.
    #[default]
    F32,
    /// To 7 bits of fraction, the exponents of f32. Newer CPUs multiply such numbers faster; others do the same more slowly.
    Bf16,
}
