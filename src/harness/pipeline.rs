//! A whole experiment: tokenizer, first stage, transformer, CLIP, then what they make of held-out captions, then the report.
//!
//! Each stage goes on from its newest checkpoint, so that a run that was stopped anywhere resumes with the same bits.

use super::ahead::ahead;
use super::captions::{record, tokenizer};
use super::codes::{Codes, TOKENS};
use super::device::Device;
use super::evaluators;
use super::fingerprint;
use super::lent::Lent;
use super::loaded::Loaded;
use super::measure;
use super::models::{Architecture, Family, Models};
use super::notice;
use super::open::first_stage_of;
use super::preview::Preview;
use super::progress::Tasks;
use super::run_dir::{RunDir, TOKENIZER, write_atomic};
use super::shared::{self, Stage, Training};
use super::sources::{Sources, view};
use super::training::{StagePlan, Trained, train};
pub use super::watch::Watch;
use crate::data::{Counts, Example, Loader, Read, Tally, View, pixels};
use crate::error::{Error, Result};
use crate::evaluate::each;
use crate::evaluate::results::Results;
use crate::inference::{Embedder, ImageTokenizer, Reranker, TokenModel};
use crate::random::Rng;
use crate::spec::Spec;
use crate::text::{Bpe, Cut};
use crate::train::{Batch, Metrics};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// Fewer than one in so many codes in use wants a warning.
const FEW_CODES: f64 = 8.0;
/// So many nats a value between the relaxed and the hard bound want a warning.
const RELAXATION_GAP: f64 = 0.3;

/// Runs `loaded` on `device` in `run` to the end; `run.json` says how it went whatever happens.
///
/// # Errors
/// Whatever the stages say; [`Error::Interrupted`] after a checkpoint where a signal came; [`Error::Expect`] at the very end.
pub fn run(loaded: &Loaded, device: Device, run: &mut RunDir, watch: &Watch) -> Result<()> {
    let outcome = device.guarded(|| stages(loaded, device.to_train(&loaded.spec)?.as_ref(), run, watch));
    finish(run, outcome)
}

/// [`run`] with models of `family`, for a preset that is in no table.
///
/// # Errors
/// Those of [`run`].
pub fn run_with(loaded: &Loaded, family: &dyn Family, run: &mut RunDir, watch: &Watch) -> Result<()> {
    let outcome = stages(loaded, family, run, watch);
    finish(run, outcome)
}

/// Writes down how a run went.
fn finish(run: &mut RunDir, outcome: Result<()>) -> Result<()> {
    let exit = match &outcome {
        Ok(()) => 0,
        Err(error) => error.exit_code(),
    };
    let text = outcome.as_ref().err().map(ToString::to_string);
    let recorded = run.update(|facts| match text {
        Some(text) => facts["error"] = Value::String(text),
        None => drop(facts.as_object_mut().map(|facts| facts.remove("error"))),
    });
    let recorded = recorded.and_then(|()| run.finish(exit));
    // What stopped the run comes before what kept it from saying so: a full disk is often both.
    outcome.and(recorded)
}

fn stages(loaded: &Loaded, family: &dyn Family, run: &mut RunDir, watch: &Watch) -> Result<()> {
    let spec = &loaded.spec;
    run.speak(watch.progress);
    let architecture = family.architecture(spec)?;
    let side = architecture.geometry.side;
    let sources = Sources::open(loaded, side)?;
    let found = sources.record(run)?;
    if watch.progress {
        notice::line(format_args!("data: {found}"));
    }
    sources.look(spec, side)?;
    let bpe = Rc::new(tokenizer(loaded, run, &sources, &architecture, watch.progress)?);
    architecture.text.admits(&bpe, run.path().join(TOKENIZER))?;
    let counts = architecture.parameters;
    run.update(|facts| {
        facts["parameters"] = json!({"first_stage": counts[0], "transformer": counts[1], "clip": counts[2]})
    })?;
    write_masks(run, &architecture)?;

    let context = Context { spec, watch, family, architecture: &architecture, sources: &sources, bpe: &bpe };
    let lent = Lent { spec, folder: &loaded.folder, family, architecture: &architecture };
    let first: Rc<dyn ImageTokenizer> = match lent.first_stage(run)? {
        Some(lent) => lent.into(),
        None => context.first_stage(run)?.into(),
    };
    // All that is lent, before anything more is trained: what does not fit is found now.
    let (lent_transformer, lent_reranker) = (lent.transformer(run)?, lent.reranker(run, &bpe)?);
    let transformer: Rc<dyn TokenModel> = match lent_transformer {
        Some(lent) => lent.into(),
        None => context.transformer(run, first.as_ref())?.into(),
    };
    let reranker = match lent_reranker {
        Some(lent) => lent,
        None => Reranker::trained(context.clip(run, first.as_ref())?.into(), bpe.clone(), architecture.clip_text),
    };
    let models = Models { architecture: architecture.clone(), first, transformer, reranker };
    let results = measured(&context, run, &models)?;
    crate::spec::expect::check(&spec.expect, &json!(results))
}

/// The results, and in `run.json` the time they took, that of measurements which a signal ended included.
fn measured(context: &Context<'_>, run: &mut RunDir, models: &Models) -> Result<Results> {
    let Context { spec, watch, sources, bpe, .. } = *context;
    let started = Instant::now();
    let path = run.path().to_owned();
    let tasks = RefCell::new(Tasks::new("evaluation", watch.progress));
    // Nothing is lost by stopping between two measurements: the stages are trained and kept.
    let proceed = |task: &str, done: usize, of: usize| match watch.stop.requested() {
        Some(signal) => Err(Error::stopped(signal, &path)),
        None => {
            tasks.borrow_mut().at(task, done, of);
            Ok(())
        }
    };
    let measured = evaluators::evaluate(&evaluators::Context::new(spec, &path, sources, (models, bpe), &proceed));
    if let Ok((_, each)) = &measured {
        run.write_resealed(each::FILE, json!(each).to_string().as_bytes())?;
    }
    let earlier = run.run()["timings"]["evaluation"].as_f64().unwrap_or(0.0);
    run.update(|facts| {
        facts["timings"]["evaluation"] = json!(earlier + started.elapsed().as_secs_f64());
        if let Ok((results, _)) = &measured {
            facts["results"] = json!(results);
        }
    })?;
    Ok(measured?.0)
}

/// `masks.json`: which layer uses which pattern, and each pattern's dense mask.
fn write_masks(run: &RunDir, Architecture { layout, patterns, .. }: &Architecture) -> Result<()> {
    let layout = *layout;
    let mut drawn = serde_json::Map::new();
    // The report draws them; past this size a picture of every pair says nothing on a page.
    if layout.sequence() <= 512 {
        for pattern in patterns {
            let bits = pattern.dense(layout);
            let row = |row: &[bool]| row.iter().map(|&sees| if sees { '1' } else { '0' }).collect::<String>();
            let rows: Vec<String> = bits.chunks(layout.sequence()).map(row).collect();
            drawn.insert(pattern.to_string(), json!(rows));
        }
    }
    let layers: Vec<String> = patterns.iter().map(ToString::to_string).collect();
    let masks = json!({"text": layout.text, "grid": layout.grid, "layers": layers, "patterns": drawn});
    write_atomic(run.path().join("masks.json"), masks.to_string().as_bytes())
}

/// The plan of a stage's spec, whose best weights `metric` tells.
macro_rules! plan {
    ($spec:ident, $metric:literal) => {
        StagePlan {
            steps: $spec.steps,
            validate: $spec.validate_every,
            checkpoint: $spec.checkpoint_every,
            precision: $spec.precision,
            keep: $spec.keep,
            patience: $spec.patience,
            metric: $metric,
        }
    };
}

struct Context<'a> {
    spec: &'a Spec,
    watch: &'a Watch,
    family: &'a dyn Family,
    architecture: &'a Architecture,
    sources: &'a Sources,
    bpe: &'a Rc<Bpe>,
}

impl<'a> Context<'a> {
    /// The pairs that the transformer and CLIP see.
    fn pairs(&self, stream: &str, side: usize) -> Result<Loader<'a>> {
        let data = &self.spec.data;
        self.loader(stream, view(data, false), side).map(|loader| loader.with_views(data.views))
    }

    /// The codes of their pictures.
    fn codes<'b>(&'b self, run: &RunDir, first: &'b dyn ImageTokenizer) -> Result<Codes<'b>> {
        let first_stage = first_stage_of(run.path(), run.run())?;
        let data = fingerprint::of_training(run.run());
        let folder = run.path().ancestors().nth(2).unwrap_or(Path::new("")).join(TOKENS);
        Codes::open(first, self.sources.train.as_ref(), (self.spec, &folder), (&first_stage, data))
    }

    fn loader(&self, stream: &str, view: View, side: usize) -> Result<Loader<'a>> {
        let (sources, spec) = (self.sources, self.spec);
        let seed = (spec.seed, stream);
        Loader::new(sources.train.as_ref(), &sources.name, view, side, seed, spec.data.max_bad)
    }

    /// Some validation examples, for measurements while training.
    fn held(&self, side: usize) -> Result<Vec<Example>> {
        let (name, source) = &self.sources.validation[0];
        measure::held_out(self.spec, name, source.as_ref(), side, 64)
    }

    /// Takes a stage over from another run where that has it, or the right to train it.
    fn take(&self, run: &mut RunDir, stage: Stage, name: &str) -> Result<Option<Training>> {
        self.watch.shared.as_ref().map_or(Ok(None), |shared| shared.take(self.spec, stage, name, run))
    }

    fn first_stage(&self, run: &mut RunDir) -> Result<Box<dyn ImageTokenizer>> {
        let (spec, side) = (&self.spec.first_stage, self.architecture.geometry.side);
        let mut stage = self.family.train_first_stage(self.spec)?;
        let held = self.held(side)?;
        let preview = Preview::new(run.path(), stage.name(), (spec.steps, spec.validate_every), &held)?;
        let held = pixels(&held);
        let mut loader = self.loader("first_stage", view(&self.spec.data, true), side)?;
        let reader = loader.reader().clone();
        let read = |step| reader.batch(step, spec.batch);
        let mut batch = |read| {
            let examples = loader.take(read)?;
            Ok(Batch { size: examples.len(), pixels: pixels(&examples), ..Batch::default() })
        };
        let mut validate = |model: &(dyn ImageTokenizer + 'static), step| {
            preview.reconstructions(step, model, &held)?;
            measure::first_stage(model, &held, spec, step.saturating_sub(1))
        };
        let plan = plan!(spec, "val_nll");
        let _training = self.take(run, Stage::First, stage.name())?;
        let Trained { from, model } = ahead(spec.steps, read, |read| {
            train(stage.as_mut(), run, self.watch, &plan, &mut |step| batch(read(step)), &mut validate)
        })?;
        let kept = measure::first_stage(model.as_ref(), &held, spec, spec.steps)?;
        warn_of_codes(run, (stage.name(), model.as_ref()), &kept)?;
        count(run, "first_stage", from, loader.counts())?;
        shared::whole(run, stage.name())?;
        Ok(model)
    }

    fn transformer(&self, run: &mut RunDir, first: &dyn ImageTokenizer) -> Result<Box<dyn TokenModel>> {
        let spec = &self.spec.transformer;
        let (geometry, text, bpe) = (self.architecture.geometry, self.architecture.text, self.bpe);
        let mut stage = self.family.train_transformer(self.spec)?;
        let held = self.held(geometry.side)?;
        let held_codes = first.encode(held.len(), &pixels(&held))?;
        let preview = Preview::new(run.path(), stage.name(), (spec.steps, spec.validate_every), &held)?;
        let held_text: Vec<u32> = held.iter().flat_map(|e| text.fill(&bpe.encode(&e.caption))).collect();
        let mut loader = self.pairs("transformer", geometry.side)?;
        let mut codes = self.codes(run, first)?;
        let mut cut = Cut::new(text.room());
        let (reader, reading) = (loader.reader().clone(), codes.reading());
        let read = |step| reading(&reader, step, spec.batch);
        let mut batch = |step, read| {
            let pairs = codes.take(&mut loader, read)?;
            let mut batch = Batch { size: pairs.len(), ..Batch::default() };
            for (index, (caption, codes)) in pairs.into_iter().enumerate() {
                batch.codes.extend(codes);
                let mut rng = Rng::new(self.spec.seed, "text", step, index as u64);
                let ids = bpe.encode_dropout(&caption, self.spec.text.dropout, &mut rng);
                cut.add(ids.len());
                let uncaptioned = rng.chance(spec.caption_dropout);
                batch.text.extend(text.fill(if uncaptioned { &[] } else { &ids }));
            }
            Ok(batch)
        };
        let mut validate = |model: &(dyn TokenModel + 'static), step| {
            let drawn = (self.spec.seed, &self.spec.sample);
            preview.samples(step, (model, first), (&held_text, &text.fill(&[])), drawn)?;
            measure::transformer(model, held.len(), &held_text, &held_codes)
        };
        let plan = plan!(spec, "val_image_loss");
        let _training = self.take(run, Stage::Transformer, stage.name())?;
        let Trained { from, model } = ahead(spec.steps, read, |read| {
            train(stage.as_mut(), run, self.watch, &plan, &mut |step| batch(step, read(step)), &mut validate)
        })?;
        record(cut, run, "transformer")?;
        codes.record(run, "transformer")?;
        count(run, "transformer", from, loader.counts())?;
        shared::whole(run, stage.name())?;
        Ok(model)
    }

    fn clip(&self, run: &mut RunDir, first: &dyn ImageTokenizer) -> Result<Box<dyn Embedder>> {
        let (spec, side) = (&self.spec.clip, self.architecture.geometry.side);
        let (bpe, vocab) = (self.bpe, self.architecture.clip_text);
        let mut stage = self.family.train_clip(self.spec)?;
        let text = |examples: &[Example]| vocab.slots(bpe, examples.iter().map(|e| e.caption.as_str()));
        let held = self.held(side)?;
        let (held_pixels, held_text) = (pixels(&held), text(&held));
        let mut loader = self.pairs("clip", side)?;
        let mut codes = self.codes(run, first)?;
        let mut cut = Cut::new(vocab.room());
        // A picture that stands twice in a batch is contrasted with itself.
        let size = spec.batch.min(self.sources.train.len()).max(2);
        if size < spec.batch {
            let text = format!("there are only {size} pictures: so many to a batch, not clip.batch = {}", spec.batch);
            run.warn("clip", "small-batch", &text)?;
        }
        let reader = loader.reader().clone();
        let read = |step| reader.batch(step, size);
        let mut batch = |step, read: Read<Example>| {
            let mut examples = loader.take(read)?;
            examples.iter().for_each(|example| cut.add(bpe.encode(&example.caption).len()));
            let mut rng = Rng::new(self.spec.seed, "clip/reconstructed", step, 0);
            codes.reconstruct(&mut examples, |_| rng.chance(spec.reconstructed))?;
            Ok(Batch { size: examples.len(), pixels: pixels(&examples), text: text(&examples), ..Batch::default() })
        };
        let mut validate =
            |model: &(dyn Embedder + 'static), _| measure::clip(model, held.len(), &held_pixels, &held_text);
        let plan = plan!(spec, "val_loss");
        let _training = self.take(run, Stage::Clip, stage.name())?;
        let Trained { from, model } = ahead(spec.steps, read, |read| {
            train(stage.as_mut(), run, self.watch, &plan, &mut |step| batch(step, read(step)), &mut validate)
        })?;
        record(cut, run, "clip")?;
        codes.record(run, "clip")?;
        count(run, "clip", from, loader.counts())?;
        shared::whole(run, stage.name())?;
        Ok(model)
    }
}

/// Says what the figures of a first stage's kept weights give reason to say.
fn warn_of_codes(run: &mut RunDir, (stage, model): (&str, &dyn ImageTokenizer), figures: &Metrics) -> Result<()> {
    let figure = |wanted: &str| figures.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let codes = model.geometry().codes;
    if let Some(used) = figure("usage")
        && used * FEW_CODES < codes as f64
    {
        let text = format!(
            "validation pictures use {used} of {codes} codes, pictures will lack detail: raise first_stage.kl_weight.from, or \
             train on more, or more varied, pictures"
        );
        run.warn(stage, "few-codes", &text)?;
    }
    if let (Some(hard), Some(relaxed)) = (figure("hard_elbo"), figure("relaxed_elbo"))
        && relaxed - hard > RELAXATION_GAP
    {
        let text = format!(
            "the bound with hard codes is {:.2} nats a value below the relaxed one: let first_stage.temperature fall lower, or \
             earlier",
            relaxed - hard
        );
        run.warn(stage, "relaxation-gap", &text)?;
    }
    Ok(())
}

/// `run.json`'s `samples`: what became of those that a stage met since it was gone on with after step `from`; and `bad_samples`:
/// the broken ones, with the first of each reason. Many that are not used are a warning.
fn count(run: &mut RunDir, stage: &str, from: u64, counts: &Counts) -> Result<()> {
    let (seen, broken, filtered) = (counts.seen(), &counts.broken, &counts.filtered);
    if seen == 0 {
        return Ok(()); // a stage that was finished before
    }
    run.update(|facts| {
        facts["samples"][stage] = counts.to_json();
        if from > 0 {
            facts["samples"][stage]["after_step"] = json!(from);
        }
        if broken.total() > 0 {
            facts["bad_samples"][stage] = json!({"by_reason": broken.by_reason, "examples": broken.examples});
        }
    })?;
    let share = |tally: &Tally| tally.total() as f64 / seen as f64;
    if share(broken) > 0.05 || share(filtered) > 0.25 {
        let first = if share(broken) > 0.05 { broken.first() } else { filtered.first() };
        run.warn(stage, "samples-skipped", &format!("{}; first: {first}", counts.summary()))?;
    }
    Ok(())
}
