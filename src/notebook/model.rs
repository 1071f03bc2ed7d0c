//! The models of a run: pictures to codes and back, captions to pictures, pictures against captions.

use super::attention::Attention;
use super::chart::Chart;
use super::image::{Image, ImageGrid};
use super::samples::{Samples, Sampling};
use super::show::{Rich, Show, shown};
use super::table::Table;
use super::tokens::Tokens;
use crate::checkpoint::Older;
use crate::data::Picture;
use crate::harness::load::Loaded;
use crate::harness::measure;
use crate::harness::models::Architecture;
use crate::harness::open::{RunModels, missing};
use crate::harness::run_dir;
use crate::harness::sources::Sources;
use crate::inference::{
    Generator, Geometry, ImageTokenizer, Reconstruction, Request, Reranker, TokenModel, prime_rows, probabilities, rank,
};
use crate::models::transformer;
use crate::random::Rng;
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
    pub(super) fn open(run: &Path, build: super::run::Build) -> Result<Model> {
        let loaded = run_dir::read_spec(run, crate::models::presets::NAMES)?;
        let family = build(&loaded.spec)?;
        let models = RunModels::of(run.to_owned(), loaded.clone(), family)?;
        let older = &mut Older::Refused;
        let (first_step, first) = models.first_stage(older)?.unzip();
        let (transformer_step, transformer) = models.transformer(older)?.unzip();
        let (clip_step, clip) = models.clip(older)?.unzip();
        let first_name = loaded.spec.first_stage.kind.name();
        let stages = [(first_name, first_step), ("transformer", transformer_step), ("clip", clip_step)];
        if stages.iter().all(|(_, step)| step.is_none()) {
            return Err(missing(run, first_name));
        }
        let (bpe, architecture) = (models.tokenizer()?, models.architecture().clone());
        let clip = clip.map(|clip| Reranker::trained(clip.into(), bpe.clone(), architecture.clip_text));
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

    /// The codes of a picture, whose centre square is first resized to the model's side: grid × grid of them.
    ///
    /// # Errors
    /// [`Error::Data`] for a picture smaller than that, or before the first stage has a checkpoint.
    pub fn encode(&self, image: &Image) -> Result<Tokens> {
        let codes = self.first()?.encode(1, &self.values(std::slice::from_ref(image))?)?;
        Ok(self.tokens(codes))
    }

    /// The picture of codes.
    ///
    /// # Errors
    /// [`Error::Usage`] for the codes of another model.
    pub fn decode(&self, tokens: &Tokens) -> Result<Image> {
        let Geometry { grid, codes, .. } = self.geometry();
        if (tokens.height, tokens.width, tokens.vocabulary) != (grid, grid, codes) {
            let Tokens { height, width, vocabulary, .. } = tokens;
            let what = format!("expected {grid} × {grid} of {codes} codes, got {height} × {width} of {vocabulary}");
            return Err(Error::Usage(what));
        }
        Ok(self.decoded(&tokens.codes)?.remove(0))
    }

    /// What the first stage makes of pictures: originals above, reconstructions below.
    ///
    /// # Errors
    /// Those of [`Model::encode`].
    pub fn reconstruct(&self, images: &ImageGrid) -> Result<ImageGrid> {
        let found = self.first()?.reconstruct(images.len(), &self.values(&images.images)?)?;
        let originals: Vec<Image> = images.images.iter().map(|image| image.clone().captioned("")).collect();
        Ok(ImageGrid::of(&originals).and(&ImageGrid::of(&self.pixels(&found.pixels))).columns(images.len()))
    }

    /// A picture through codes relaxed at each of `temperatures`, as training sees it, and last through its hard codes.
    ///
    /// # Errors
    /// Those of [`Model::encode`]; [`Error::Usage`] for a first stage without a posterior.
    pub fn relaxed(&self, image: &Image, temperatures: &[f64], seed: u64) -> Result<ImageGrid> {
        let values = self.values(std::slice::from_ref(image))?;
        let mut images = Vec::new();
        for &tau in temperatures {
            positive(tau)?;
            let found = self.first()?.relaxed(1, &values, tau, seed)?;
            images.push(self.pixels(&found.pixels).remove(0).captioned(&format!("τ = {tau:.4}")));
        }
        images.push(self.decode(&self.encode(image)?)?.captioned("argmax"));
        Ok(ImageGrid::of(&images))
    }

    /// The weights of the likeliest codes at (row, column) of the grid: softmax((logits + Gumbel noise)/τ) for each of
    /// `temperatures`, the largest weight first.
    ///
    /// # Errors
    /// Those of [`Model::relaxed`]; [`Error::Usage`] outside the grid.
    pub fn mixture(&self, image: &Image, row: usize, column: usize, temperatures: &[f64], seed: u64) -> Result<Chart> {
        let Geometry { grid, codes, .. } = self.geometry();
        if row >= grid || column >= grid {
            return Err(Error::Usage(format!(
                "({row}, {column}): the grid has {grid} rows and columns, counted from 0"
            )));
        }
        let logits = self.first()?.posterior(1, &self.values(std::slice::from_ref(image))?)?;
        let logits = &logits[(row * grid + column) * codes..][..codes];
        let mut rng = Rng::new(seed, "notebook/gumbel", 0, 0);
        let noisy: Vec<f32> = logits.iter().map(|logit| logit + rng.gumbel() as f32).collect();
        let order = rank(&noisy);
        let mut chart = Chart::new("Weights of the codes", "rank of the code", "weight");
        for &tau in temperatures {
            positive(tau)?;
            let weights = probabilities(&noisy, codes, (1.0 / tau) as f32);
            let points: Vec<(f64, f64)> = order
                .iter()
                .take(10)
                .enumerate()
                .map(|(place, &code)| (place as f64, f64::from(weights[code])))
                .collect();
            chart = chart.line(&format!("τ = {tau:.3}"), &points);
        }
        Ok(chart)
    }

    /// Both terms of the first stage's bound over pictures: with hard codes, or with codes relaxed at a `temperature`.
    ///
    /// # Errors
    /// Those of [`Model::relaxed`].
    pub fn bound(&self, images: &ImageGrid, temperature: Option<f64>) -> Result<Bound> {
        let (values, size) = (self.values(&images.images)?, images.len());
        let found = match temperature {
            Some(tau) => {
                positive(tau)?;
                self.first()?.relaxed(size, &values, tau, 0)?
            }
            None => self.first()?.reconstruct(size, &values)?,
        };
        Ok(Bound::of(&found, temperature, self.geometry()))
    }

    /// How often each code is used over pictures, the most used first, as a share of all positions.
    ///
    /// # Errors
    /// Those of [`Model::encode`].
    pub fn usage(&self, images: &ImageGrid) -> Result<Chart> {
        let codes = self.first()?.encode(images.len(), &self.values(&images.images)?)?;
        let mut counts = vec![0usize; self.geometry().codes];
        codes.iter().for_each(|&code| counts[code as usize] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let used = counts.iter().filter(|&&count| count > 0).count();
        let shares: Vec<f64> = counts[..used].iter().map(|&count| count as f64 / codes.len().max(1) as f64).collect();
        let title = format!("{used} of {} codes are in use", counts.len());
        Ok(Chart::new(&title, "code, by its share", "share of all positions").bars("share", &shares))
    }

    /// How a caption is read: its pieces and their ids.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty caption.
    pub fn words(&self, caption: &str) -> Result<Table> {
        let mut table = Table::new(["slot", "id", "text"]);
        let slots = self.architecture.text.prompt(&self.bpe, caption)?;
        let words = self.bpe.encode(caption).len().min(slots.len().saturating_sub(1)); // the last slot is always a pad
        for (slot, &id) in slots.iter().enumerate() {
            let text = if slot < words { self.bpe.decode(&[id]) } else { "(pad of this slot)".into() };
            table.row([slot.to_string(), id.to_string(), text]);
        }
        Ok(table)
    }

    /// Pictures of a caption, with CLIP's scores where CLIP is trained. A picture depends on the weights, the caption, the seed and
    /// its place among the candidates, and on nothing else.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty caption or options out of range; [`Error::Data`] before the transformer is trained.
    pub fn sample(&self, sampling: &Sampling) -> Result<Samples> {
        let (grid, caption) = (self.geometry().grid, sampling.caption.as_str());
        if sampling.candidates == 0 {
            return Err(Error::Usage("0 candidates: expected at least 1".into()));
        }
        let forced = match &sampling.prime {
            Some((_, rows)) if *rows > grid => {
                return Err(Error::Usage(format!("{rows} rows of a picture: the grid has {grid}")));
            }
            Some((image, rows)) => prime_rows(&self.encode(image)?.codes, grid, *rows),
            None => Vec::new(),
        };
        let request =
            Request { candidates: sampling.candidates, seed: sampling.seed, forced, options: sampling.options };
        let drawn = self.generator()?.draw(&[caption], &request, &mut |_| Ok(()))?.remove(0);
        let images: Vec<Image> = drawn.pictures.into_iter().map(Image::from).collect();
        let scores = drawn.scores.unwrap_or_else(|| vec![f32::NAN; images.len()]);
        let tokens = drawn.codes.into_iter().map(|codes| self.tokens(codes)).collect();
        Ok(Samples { caption: caption.to_owned(), images, tokens, scores })
    }

    /// What draws pictures and, where CLIP is trained, ranks them.
    fn generator(&self) -> Result<Generator> {
        let (tokens, codec) = (self.transformer()?.clone(), self.first()?.clone());
        let (text, uncaptioned) = (self.architecture.text, self.loaded.spec.transformer.caption_dropout > 0.0);
        Ok(Generator::trained(tokens, codec, (self.bpe.clone(), text), uncaptioned, self.clip.clone()))
    }

    /// What each slot attends to in a layer while a picture with its caption goes through.
    ///
    /// # Errors
    /// [`Error::Usage`] for a layer that there is not; [`Error::Data`] before the transformer is trained.
    pub fn attention(&self, image: &Image, layer: usize) -> Result<Attention> {
        let text = self.architecture.text.prompt(&self.bpe, image.caption())?;
        let tokens = self.encode(image)?;
        let weights =
            self.transformer()?.attention(transformer::Tokens { text: &text, image: &tokens.codes }, layer)?;
        let layout = self.transformer()?.layout();
        let pattern = self.transformer()?.patterns()[layer];
        let kept = layout.text.saturating_sub(1);
        let words = self.bpe.encode(image.caption()).iter().take(kept).map(|&id| self.bpe.decode(&[id])).collect();
        let image = image.square(self.geometry().side)?;
        Ok(Attention { weights, layout, pattern, layer, image, words })
    }

    /// How likely CLIP holds each caption to be of each picture: a row a picture, softmax over the captions.
    ///
    /// # Errors
    /// [`Error::Data`] before CLIP is trained.
    pub fn classify(&self, images: &ImageGrid, captions: &[String]) -> Result<Table> {
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        let cosines = self.similarity(&images.images, &captions)?;
        let scale = self.reranker()?.scale();
        let shares = probabilities(&cosines, captions.len(), scale);
        let mut table = Table::new(["picture", "likeliest", "share", "next", "share"]);
        for (image, row) in images.images.iter().zip(shares.chunks(captions.len().max(1))) {
            let order = rank(row);
            let cell = |place: usize| match order.get(place) {
                Some(&at) => [captions[at].to_owned(), format!("{:.1} %", 100.0 * row[at])],
                None => ["–".to_owned(), String::new()],
            };
            let name = if image.caption.is_empty() { "–".to_owned() } else { image.caption.clone() };
            table.row([vec![name], cell(0).to_vec(), cell(1).to_vec()].concat());
        }
        Ok(table)
    }

    /// The share of pictures whose own caption is the likeliest to CLIP among those of all of them.
    ///
    /// # Errors
    /// Those of [`Model::classify`].
    pub fn matching(&self, images: &ImageGrid) -> Result<f64> {
        let captions: Vec<&str> = images.images.iter().map(Image::caption).collect();
        let cosines = self.similarity(&images.images, &captions)?;
        let best = cosines.chunks(captions.len()).map(|row| rank(row)[0]);
        let hits = best.zip(&captions).filter(|(at, own)| captions[*at] == **own).count();
        Ok(hits as f64 / captions.len() as f64)
    }

    /// Cosines of pictures and captions, a row a picture.
    fn similarity(&self, images: &[Image], captions: &[&str]) -> Result<Vec<f32>> {
        if captions.is_empty() {
            return Err(Error::Usage("no captions: expected at least one".into()));
        }
        let pictures: Vec<Picture> = images.iter().map(|image| image.picture.clone()).collect();
        self.reranker()?.similarity(&pictures, captions)
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

    fn decoded(&self, codes: &[u32]) -> Result<Vec<Image>> {
        Ok(self.pixels(&self.first()?.decode(codes)?))
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

/// A temperature that can be divided by.
fn positive(temperature: f64) -> Result<()> {
    if temperature > 0.0 && temperature.is_finite() {
        return Ok(());
    }
    Err(Error::Usage(format!("temperature {temperature}: expected a positive number")))
}

/// Both terms of the first stage's bound, in nats per dimension (pixels × channels): means over some pictures.
#[derive(Clone, Copy, PartialEq)]
pub struct Bound {
    /// The temperature of the relaxation; none with hard codes.
    pub temperature: Option<f64>,
    /// −ln p(x | z), of the density of pixels mapped to (0.1, 0.9).
    pub reconstruction: f64,
    /// KL to the uniform prior; with hard codes, grid²·ln V.
    pub kl: f64,
}

impl Bound {
    fn of(found: &Reconstruction, temperature: Option<f64>, g: Geometry) -> Bound {
        let values = (g.side * g.side * 3) as f64;
        let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
        // One code of V at each position takes all of ln V to name.
        let hard = (g.grid * g.grid) as f64 * (g.codes as f64).ln();
        let kl = if temperature.is_some() { mean(&found.kl) } else { hard };
        Bound { temperature, reconstruction: mean(&found.nll) / values, kl: kl / values }
    }

    /// −(reconstruction + kl): larger is better.
    pub fn elbo(&self) -> f64 {
        -(self.reconstruction + self.kl)
    }
}

impl Display for Bound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.table().fmt(f)
    }
}

impl Bound {
    fn table(&self) -> Table {
        let codes = self.temperature.map_or("hard".into(), |tau| format!("relaxed, τ = {tau}"));
        let mut table = Table::new(["codes", "−ln p(x | z)", "KL", "ELBO"]);
        table.row([codes].into_iter().chain([self.reconstruction, self.kl, self.elbo()].map(|x| format!("{x:.4}"))));
        table
    }
}

impl Show for Bound {
    fn rich(&self) -> Result<Rich> {
        self.table().rich()
    }
}

shown!(Model, Bound);
