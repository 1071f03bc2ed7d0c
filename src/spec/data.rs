//! What a spec may say of pictures and captions.

use super::kinds::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where pairs come from.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// shapes, webdataset or folder.
    pub kind: DataKind,
    /// shapes: scenes to train on.
    #[schemars(schema_with = "scenes")]
    pub train_scenes: usize,
    /// shapes: scenes to validate on.
    #[schemars(schema_with = "scenes")]
    pub validation_scenes: usize,
    /// webdataset, folder: files, folders or patterns (`*`, `?`, `{a,b}`, `{000..012}`), relative to the spec's folder or to `DALLE_DATA`.
    #[schemars(schema_with = "globs")]
    pub train: Vec<String>,
    /// webdataset, folder: named validation sets; none: see `validation_share`.
    #[schemars(schema_with = "named_globs")]
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
    /// Where pictures are augmented: so many fixed views of each are seen by the transformer and CLIP, each coded once; 0: another one every
    /// time.
    #[schemars(schema_with = "views")]
    pub views: usize,
    /// Where no validation set is named: the share of the training set that is held out.
    #[schemars(schema_with = "below_one")]
    pub validation_share: f64,
    /// What names of files end in, where it is nothing usual.
    pub extensions: ExtensionsSpec,
    /// The share of broken samples, among those that are met, above which a run stops with exit code 4.
    #[schemars(schema_with = "share")]
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
            views: 0,
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
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExtensionsSpec {
    /// Those of pictures.
    #[schemars(schema_with = "globs")]
    pub picture: Vec<String>,
    /// Those of captions; one that ends in `json` is read as JSON.
    #[schemars(schema_with = "globs")]
    pub caption: Vec<String>,
}

/// The kinds of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
    /// Whether the program draws the pictures itself: without end and from no file.
    pub fn is_procedural(self) -> bool {
        self == DataKind::Shapes
    }

    /// Whether the oracle knows what the captions ask for, and sees whether a picture shows it.
    pub fn is_judged(self) -> bool {
        self.is_procedural()
    }
}

/// The tokenizer's training and use.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextSpec {
    /// Vocabulary size; 0: the preset's. It may not exceed the preset's.
    #[schemars(schema_with = "any")]
    pub vocabulary: usize,
    /// Probability that a merge is skipped while training; 0.1 in the paper.
    #[schemars(schema_with = "below_one")]
    pub dropout: f64,
}

impl Default for TextSpec {
    fn default() -> Self {
        TextSpec { vocabulary: 0, dropout: 0.1 }
    }
}
