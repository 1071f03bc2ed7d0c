//! The experiment spec: what to train on what, and what to expect of it.

pub use super::load::{Loaded, load};
use crate::data::shapes::{Captions, Prompts};
use crate::kernels::Products;
use crate::nn::Precision;
use crate::train::config::{ClipConfig, FirstStageConfig, TransformerConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole experiment. Every key but `name` and `preset` has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Names the folder under `results/`.
    pub name: String,
    /// A row of the preset table: every model dimension.
    pub preset: String,
    /// The root of every random stream.
    #[serde(default)]
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
    pub expect: Vec<String>,
}

/// What only a GPU asks for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuSpec {
    /// What products round their factors to.
    pub products: Products,
}

/// Where pairs come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// shapes, webdataset or folder.
    pub kind: DataKind,
    /// shapes: scenes to train on.
    pub train_scenes: usize,
    /// shapes: scenes to validate on.
    pub validation_scenes: usize,
    /// webdataset, folder: files, folders or patterns (`*`, `?`, `{a,b}`, `{000..012}`), relative to the spec's folder or to `DALLE_DATA`.
    pub train: Vec<String>,
    /// webdataset, folder: named validation sets; none: see `validation_share`.
    pub validation: BTreeMap<String, Vec<String>>,
    /// The paper's random crops; off, pictures are only resized and centre-cropped.
    pub augment: bool,
    /// The first stage's random crops reach up to the whole picture, not to 8/9 of its side as the paper's do.
    pub whole: bool,
    /// Random horizontal flips in the first stage.
    pub flip: bool,
    /// Random horizontal flips in the transformer and CLIP too, of pictures whose caption says neither left nor right. Not the
    /// paper's; not for writing, and not for captions that name a side in other words.
    pub flip_pairs: bool,
    /// Where no validation set is named: the share of the training set that is held out.
    pub validation_share: f64,
    /// What names of files end in, where it is nothing usual.
    pub extensions: ExtensionsSpec,
    /// The share of broken samples, among those that are met, above which a run stops with exit code 4.
    pub max_bad: f64,
}

impl DataSpec {
    /// The default for a kind of source. Pictures in files are few: each is seen mirrored and cropped as well. Scenes are drawn
    /// without end, and their captions say where things are.
    pub fn of(kind: DataKind) -> Self {
        let files = kind != DataKind::Shapes;
        DataSpec {
            kind,
            train_scenes: 20_000,
            validation_scenes: 512,
            train: Vec::new(),
            validation: BTreeMap::new(),
            augment: files,
            whole: files,
            flip: files,
            flip_pairs: files,
            validation_share: 0.1,
            extensions: ExtensionsSpec::default(),
            max_bad: 0.1,
        }
    }
}

impl Default for DataSpec {
    fn default() -> Self {
        DataSpec::of(DataKind::Shapes)
    }
}

/// What names of files end in, in any letter case; empty: what is usual.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExtensionsSpec {
    /// Those of pictures.
    pub picture: Vec<String>,
    /// Those of captions; one that ends in `json` is read as JSON.
    pub caption: Vec<String>,
}

/// The kinds of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// Procedural, embedded.
    Shapes,
    /// Tar shards.
    Webdataset,
    /// Pictures and captions by stem.
    Folder,
}

impl DataKind {
    /// Whether the program draws the pictures itself: without end, from no file, and so that an oracle can read them back.
    pub fn is_procedural(self) -> bool {
        self == DataKind::Shapes
    }
}

/// The tokenizer's training and use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextSpec {
    /// Vocabulary size; 0: the preset's. It may not exceed the preset's.
    pub vocabulary: usize,
    /// Probability that a merge is skipped while training; 0.1 in the paper.
    pub dropout: f64,
}

impl Default for TextSpec {
    fn default() -> Self {
        TextSpec { vocabulary: 0, dropout: 0.1 }
    }
}

/// How pictures are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleSpec {
    /// Candidates per caption; 512 in the paper.
    pub candidates: usize,
    /// 1 in the paper.
    pub temperature: f64,
    /// Only the k likeliest tokens; 0: all.
    pub top_k: usize,
    /// Only the likeliest tokens that hold this share; 1: all.
    pub top_p: f64,
    /// Classifier-free guidance; 1: none.
    pub guidance: f64,
    /// In how many bits the weights are kept while drawing.
    pub precision: Precision,
    /// Captions shown in the report.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSpec {
    /// Validation pairs for the ELBO and the reconstructions; 0: all.
    pub pairs: usize,
    /// shapes: one-object captions of kinds seen in training.
    pub seen: usize,
    /// shapes: one-object captions of held-out (shape, colour) pairs.
    pub held_out: usize,
    /// shapes: two-object captions.
    pub two_objects: usize,
    /// shapes: captions whose figures are reported, or others to choose settings by.
    pub captions: Captions,
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

impl Default for EvaluateSpec {
    fn default() -> Self {
        EvaluateSpec { pairs: 256, seen: 256, held_out: 128, two_objects: 128, captions: Captions::Quoted }
    }
}
