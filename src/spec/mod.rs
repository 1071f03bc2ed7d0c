//! What a person may ask for. Each key is a field: its comment says what it is, its type and range are the schema that the
//! reading is held against ([`schema`]), its default is the recipe of the small scale (`defaults`). Text becomes a tree that
//! knows where every value stood (`parse`), arguments change it (`set`), one walk finds everything that is wrong with it
//! (`check`), and only then it is read as these types.

mod across;
pub(crate) mod check;
mod data;
pub(crate) mod defaults;
pub(crate) mod expect;
pub(crate) mod extends;
mod kinds;
mod optimizer;
pub(crate) mod parse;
pub(crate) mod problem;
mod sampling;
mod schedule;
#[doc(hidden)]
pub mod schema;
pub(crate) mod set;
mod stages;
pub(crate) mod sweep;

pub use data::{DataKind, DataSpec, ExtensionsSpec, TextSpec};
pub use optimizer::{Ema, Keep, Method, Optimizer, Plateau};
#[doc(hidden)]
pub use problem::{did_you_mean, style_reports};
pub use sampling::{EvaluateSpec, GpuSpec, SampleSpec};
pub use schedule::{Curve, Schedule};
pub use stages::{ClipConfig, FirstStageConfig, FirstStageKind, TransformerConfig, is_file, updates};

use crate::data::shapes::Prompts;
use crate::{Error, Result};
use kinds::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A whole experiment. Every key but `name` and `preset` has a default.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Names the folder under `results/`; not `tokens`, where codes of pictures are kept.
    #[schemars(schema_with = "run_name")]
    pub name: String,
    /// A row of the preset table: every model dimension.
    #[schemars(schema_with = "preset")]
    pub preset: String,
    /// The root of every random stream.
    #[serde(default)]
    #[schemars(schema_with = "seed")]
    pub seed: u64,
    /// Pictures and captions.
    #[serde(default)]
    pub data: DataSpec,
    /// The tokenizer.
    #[serde(default)]
    pub text: TextSpec,
    /// Pictures to tokens.
    #[serde(default)]
    pub first_stage: FirstStageConfig,
    /// Captions to tokens.
    #[serde(default)]
    pub transformer: TransformerConfig,
    /// Captions against pictures.
    #[serde(default)]
    pub clip: ClipConfig,
    /// What is drawn after training.
    #[serde(default)]
    pub sample: SampleSpec,
    /// What is measured after training.
    #[serde(default)]
    pub evaluate: EvaluateSpec,
    /// What only a GPU asks for; a CPU goes without.
    #[serde(default)]
    pub gpu: GpuSpec,
    /// Lines `dotted.path.in.results (<|<=|>|>=) number`; one that fails makes the run exit 3.
    #[serde(default)]
    #[schemars(schema_with = "expectations")]
    pub expect: Vec<String>,
}

/// A set of captions that samples of procedural pictures are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptionSet {
    /// In results.
    pub name: &'static str,
    /// What they are about.
    pub about: Prompts,
    /// How many.
    pub count: usize,
}

impl Spec {
    /// The sets of captions that an oracle judges samples by; none where there is no oracle.
    pub fn judged(&self) -> Vec<CaptionSet> {
        if !self.data.kind.is_procedural() {
            return Vec::new();
        }
        let EvaluateSpec { seen, held_out, two_objects, .. } = self.evaluate;
        let set = |(name, about, count)| CaptionSet { name, about, count };
        let sets = [
            ("seen", Prompts::Seen, seen),
            ("held_out", Prompts::HeldOut, held_out),
            ("pairs", Prompts::Pairs, two_objects),
        ];
        sets.map(set).into_iter().filter(|set| set.count > 0).collect()
    }
}

impl Spec {
    /// The spec with every default filled in, as YAML; reading it gives the same spec.
    ///
    /// # Errors
    /// [`Error::Spec`] for a value that YAML cannot hold; none of a checked spec is.
    pub fn resolved(&self) -> Result<String> {
        serde_yaml::to_string(self).map_err(|error| Error::Spec(error.to_string()))
    }
}
