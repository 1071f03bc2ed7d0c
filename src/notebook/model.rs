//! The models of a run: what was trained, and of what step. What they do stands beside it: pictures to codes and back ([`codes`]),
//! captions to pictures ([`captions`]), pictures against captions ([`matching`]).

mod bound;
mod captions;
mod codes;
mod matching;

pub use bound::Bound;

use super::image::{Image, ImageGrid};
use super::show::{Rich, Show, shown};
use super::table::Table;
use super::tokens::Tokens;
use crate::checkpoint::Older;
use crate::data::Picture;
use crate::harness::load::Loaded;
use crate::harness::measure;
use crate::harness::models::{Architecture, Build};
use crate::harness::open::{RunModels, missing};
use crate::harness::run_dir;
use crate::harness::sources::Sources;
use crate::inference::{Geometry, ImageTokenizer, Reranker, TokenModel};
use crate::text::Bpe;
use crate::{Error, Result};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Tokenizer, first stage, transformer and CLIP (arXiv 2102.12092, section 2), with the weights of one moment of a
/// [`Run`](super::Run): the moving average where there is one. A stage can be used once it has a checkpoint; what is asked of one
/// that has none is [`Error::Data`].
pub struct Model {
    pub(super) bpe: Rc<Bpe>,
    loaded: Loaded,
    architecture: Architecture,
    run: PathBuf,
    /// Each stage's name and the step that its weights are of.
    stages: [(&'static str, Option<u64>); 3],
    first: Option<Rc<dyn ImageTokenizer>>,
    transformer: Option<Rc<dyn TokenModel>>,
    clip: Option<Reranker>,
}

impl Model {
    pub(super) fn open(run: &Path, build: Build) -> Result<Model> {
        let loaded = run_dir::read_spec(run, crate::models::presets::NAMES)?;
        let family = build(&loaded.spec)?;
        let models = RunModels::of(run.to_owned(), loaded.clone(), family)?;
        let older = &mut Older::Refused;
        let (first_step, first) = models.first_stage(older)?.unzip();
        let (transformer_step, transformer) = models.transformer(older)?.unzip();
        let (clip_step, clip) = models.reranker(older)?.unzip();
        let first_name = loaded.spec.first_stage.kind.name();
        let stages = [(first_name, first_step), ("transformer", transformer_step), ("clip", clip_step)];
        if stages.iter().all(|(_, step)| step.is_none()) {
            return Err(missing(run, first_name));
        }
        let (bpe, architecture) = (models.tokenizer()?, models.architecture().clone());
        let (first, transformer) = (first.map(Rc::from), transformer.map(Rc::from));
        Ok(Model { bpe, loaded, architecture, run: run.to_owned(), stages, first, transformer, clip })
    }

    fn first(&self) -> Result<&Rc<dyn ImageTokenizer>> {
        self.first.as_ref().ok_or_else(|| missing(&self.run, self.stages[0].0))
    }

    fn transformer(&self) -> Result<&Rc<dyn TokenModel>> {
        self.transformer.as_ref().ok_or_else(|| missing(&self.run, "transformer"))
    }

    fn reranker(&self) -> Result<&Reranker> {
        self.clip.as_ref().ok_or_else(|| missing(&self.run, "clip"))
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.architecture.geometry
    }

    /// The first `count` pictures of a validation set.
    pub(super) fn pictures(&self, set: &str, count: usize) -> Result<ImageGrid> {
        let side = self.geometry().side;
        let sources = Sources::open(&self.loaded, side)?;
        let Some((name, source)) = sources.validation.iter().find(|(name, _)| name == set) else {
            let known: Vec<&str> = sources.validation.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::Usage(format!("set {set:?}: the spec has {}", known.join(", "))));
        };
        if count == 0 {
            return Ok(ImageGrid::of(&[])); // none: to the loader 0 means all
        }
        let examples = measure::held_out(&self.loaded.spec, name, source.as_ref(), side, count)?;
        let image = |example: crate::data::Example| Image { picture: example.picture, caption: example.caption };
        Ok(ImageGrid::of(&examples.into_iter().map(image).collect::<Vec<_>>()))
    }

    /// Values of pictures as the models read them.
    fn values(&self, images: &[Image]) -> Result<Vec<f32>> {
        let side = self.geometry().side;
        let mut values = Vec::new();
        for image in images {
            values.extend(image.square(side)?.picture.values());
        }
        Ok(values)
    }

    fn tokens(&self, codes: Vec<u32>) -> Tokens {
        let Geometry { grid, codes: vocabulary, .. } = self.geometry();
        Tokens { height: grid, width: grid, codes, vocabulary }
    }

    fn pixels(&self, values: &[f32]) -> Vec<Image> {
        let side = self.geometry().side;
        values.chunks(3 * side * side).map(|values| Picture::of_values(values, side, side).into()).collect()
    }
}

impl Display for Model {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.table().fmt(f)
    }
}

impl Model {
    fn table(&self) -> Table {
        let counts = self.architecture.parameters;
        let mut table = Table::new(["model", "parameters", "trained steps"]);
        for ((name, step), count) in self.stages.iter().zip(counts) {
            let step = step.map_or("none yet".into(), |step| step.to_string());
            table.row([(*name).to_owned(), count.to_string(), step]);
        }
        table
    }
}

impl Show for Model {
    fn rich(&self) -> Result<Rich> {
        self.table().rich()
    }
}

shown!(Model);
