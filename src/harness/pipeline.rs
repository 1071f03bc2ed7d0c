//! A whole experiment: tokenizer, first stage, transformer, CLIP, then what they make of held-out captions, then the report.
//!
//! Each stage goes on from its newest checkpoint, so that a run that was stopped anywhere resumes with the same bits.

use super::device::Device;
use super::load::Loaded;
use super::measure::{self, picture};
use super::memory::Peak;
use super::models::{Models, TOKENIZER, restore};
use super::progress::Progress;
use super::run_dir::{RunDir, write_atomic};
use super::signals::Stop;
use super::sources::{Sources, view};
use super::spec::Spec;
use crate::data::{BadCounts, Example, Loader, View};
use crate::error::{Error, Result};
use crate::random::Rng;
use crate::text::{Bpe, ClipVocab, TextVocab};
use crate::train::{Batch, ImageTokenizer, Numbers, Ranker, Stage, TokenModel, checkpoint};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::HashMap;
use std::time::Instant;

/// Steps between two lines of training metrics.
const LOG_EVERY: u64 = 10;

/// How a run is watched and stopped.
pub struct Watch {
    /// Polled at every step.
    pub stop: Stop,
    /// Draws bars or lines on stderr.
    pub progress: bool,
}

/// Runs `loaded` on `device` in `run` to the end; `run.json` says how it went whatever happens.
///
/// # Errors
/// Whatever the stages say; [`Error::Interrupted`] after a checkpoint where a signal came; [`Error::Expect`] at the very end.
pub fn run(loaded: &Loaded, device: Device, run: &mut RunDir, watch: &Watch) -> Result<()> {
    let outcome = device.guarded(|| device.models(&loaded.spec).and_then(|models| stages(loaded, models, run, watch)));
    finish(run, outcome)
}

/// [`run`] on the CPU with models that `build` makes of the spec, for a preset that is in no table.
///
/// # Errors
/// Those of [`run`].
pub fn run_with(
    loaded: &Loaded,
    build: &dyn Fn(&Spec) -> Result<Models>,
    run: &mut RunDir,
    watch: &Watch,
) -> Result<()> {
    let outcome = build(&loaded.spec).and_then(|models| stages(loaded, models, run, watch));
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

fn stages(loaded: &Loaded, mut models: Models, run: &mut RunDir, watch: &Watch) -> Result<()> {
    let spec = &loaded.spec;
    run.speak(watch.progress);
    let sources = Sources::open(loaded, models.first.geometry().side)?;
    let bpe = tokenizer(spec, run, &sources, models.text)?;
    let counts = [models.first.num_parameters(), models.transformer.num_parameters(), models.clip.num_parameters()];
    run.update(|facts| {
        facts["parameters"] = json!({"first_stage": counts[0], "transformer": counts[1], "clip": counts[2]})
    })?;
    write_masks(run, &models)?;

    let context = Context { spec, watch, sources: &sources, bpe: &bpe };
    context.first_stage(run, &mut models)?;
    context.transformer(run, &mut models)?;
    context.clip(run, &mut models)?;
    let started = Instant::now();
    let path = run.path().to_owned();
    // Nothing is lost by stopping between two measurements: the stages are trained and kept.
    let proceed = || match watch.stop.requested() {
        Some(signal) => Err(Error::Interrupted { signal, run: path.clone() }),
        None => Ok(()),
    };
    let results = measure::everything(spec, &path, &sources, &models, &bpe, &proceed)?;
    let seconds = started.elapsed().as_secs_f64();
    run.update(|facts| {
        facts["results"] = results.clone();
        facts["timings"]["evaluation"] = json!(seconds);
    })?;
    super::expect::check(&spec.expect, &results)
}

/// The run's tokenizer: trained on the captions of the training set, or read back on resume.
fn tokenizer(spec: &Spec, run: &RunDir, sources: &Sources, text: TextVocab) -> Result<Bpe> {
    let path = run.path().join(TOKENIZER);
    if path.exists() {
        return Bpe::load(path);
    }
    // Captions past the first ten thousand pairs change a small vocabulary no more.
    let captions = (0..sources.train.len().min(10_000)).filter_map(|i| sources.train.get(i).ok());
    let captions = captions.flat_map(|sample| sample.captions);
    let vocabulary = if spec.text.vocabulary == 0 { text.bpe } else { spec.text.vocabulary };
    let bpe = Bpe::train(captions, vocabulary)?;
    bpe.save(&path)?;
    Ok(bpe)
}

/// `masks.json`: which layer uses which pattern, and each pattern's dense mask.
fn write_masks(run: &RunDir, models: &Models) -> Result<()> {
    let layout = models.transformer.layout();
    let patterns = models.transformer.patterns();
    let mut drawn = serde_json::Map::new();
    // The report draws them; past this size a picture of every pair says nothing on a page.
    if layout.sequence() <= 512 {
        for pattern in &patterns {
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

/// The values of pictures as the models read them: [0, 1], rows of pixels, channels last.
pub fn pixels(examples: &[Example]) -> Vec<f32> {
    examples.iter().flat_map(|example| example.picture.values()).collect()
}

/// CLIP's slots of captions.
pub fn clip_text<'c>(bpe: &Bpe, vocab: ClipVocab, captions: impl Iterator<Item = &'c str>) -> Vec<u32> {
    captions.flat_map(|caption| vocab.fill(&bpe.encode(caption))).collect()
}

struct Context<'a> {
    spec: &'a Spec,
    watch: &'a Watch,
    sources: &'a Sources,
    bpe: &'a Bpe,
}

impl<'a> Context<'a> {
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

    fn first_stage(&self, run: &mut RunDir, models: &mut Models) -> Result<()> {
        let (spec, side) = (&self.spec.first_stage, models.first.geometry().side);
        let held = pixels(&self.held(side)?);
        let mut loader = self.loader("first_stage", view(&self.spec.data, true), side)?;
        let current = Cell::new(0);
        let mut batch = |step| {
            current.set(step);
            let examples = loader.batch(step, spec.batch)?;
            Ok(Batch { size: examples.len(), pixels: pixels(&examples), ..Batch::default() })
        };
        let mut validate = |stage: &mut (dyn ImageTokenizer + 'static)| {
            stage.freeze()?;
            measure::first_stage(stage, &held, spec, current.get())
        };
        let plan = Plan { steps: spec.steps, validate: spec.validate_every, checkpoint: spec.checkpoint_every };
        train(models.first.as_mut(), |s| s, run, self.watch, &plan, &mut batch, &mut validate)?;
        models.first.freeze()?;
        count_bad(run, "first_stage", loader.bad())
    }

    fn transformer(&self, run: &mut RunDir, models: &mut Models) -> Result<()> {
        let (spec, data) = (&self.spec.transformer, &self.spec.data);
        let (first, text, bpe) = (models.first.as_ref(), models.text, self.bpe);
        let geometry = first.geometry();
        let held = self.held(geometry.side)?;
        let held_codes = first.encode(held.len(), &pixels(&held))?;
        let held_text: Vec<u32> = held.iter().flat_map(|e| text.fill(&bpe.encode(&e.caption))).collect();
        let mut loader = self.loader("transformer", view(data, false), geometry.side)?;
        let mut codes = Codes::new(first, !data.augment && !data.flip);
        let mut batch = |step| {
            let examples = loader.batch(step, spec.batch)?;
            let mut batch = Batch { size: examples.len(), codes: codes.of(&examples)?, ..Batch::default() };
            for (index, example) in examples.iter().enumerate() {
                let mut rng = Rng::new(self.spec.seed, "text", step, index as u64);
                let ids = bpe.encode_dropout(&example.caption, self.spec.text.dropout, &mut rng);
                let uncaptioned = rng.chance(spec.caption_dropout);
                batch.text.extend(text.fill(if uncaptioned { &[] } else { &ids }));
            }
            Ok(batch)
        };
        let mut validate = |stage: &mut (dyn TokenModel + 'static)| {
            stage.freeze()?;
            measure::transformer(stage, held.len(), &held_text, &held_codes)
        };
        let plan = Plan { steps: spec.steps, validate: spec.validate_every, checkpoint: spec.checkpoint_every };
        train(models.transformer.as_mut(), |s| s, run, self.watch, &plan, &mut batch, &mut validate)?;
        models.transformer.freeze()?;
        count_bad(run, "transformer", loader.bad())
    }

    fn clip(&self, run: &mut RunDir, models: &mut Models) -> Result<()> {
        let (spec, side) = (&self.spec.clip, models.first.geometry().side);
        let (bpe, vocab) = (self.bpe, models.clip_text);
        let text = |examples: &[Example]| clip_text(bpe, vocab, examples.iter().map(|e| e.caption.as_str()));
        let held = self.held(side)?;
        let (held_pixels, held_text) = (pixels(&held), text(&held));
        let mut loader = self.loader("clip", view(&self.spec.data, false), side)?;
        let mut codes = Codes::new(models.first.as_ref(), !self.spec.data.augment);
        let mut batch = |step| {
            let mut examples = loader.batch(step, spec.batch)?;
            let mut rng = Rng::new(self.spec.seed, "clip/reconstructed", step, 0);
            codes.reconstruct(&mut examples, |_| rng.chance(spec.reconstructed))?;
            Ok(Batch { size: examples.len(), pixels: pixels(&examples), text: text(&examples), ..Batch::default() })
        };
        let mut validate = |stage: &mut (dyn Ranker + 'static)| {
            stage.freeze()?;
            measure::clip(stage, held.len(), &held_pixels, &held_text)
        };
        let plan = Plan { steps: spec.steps, validate: spec.validate_every, checkpoint: spec.checkpoint_every };
        train(models.clip.as_mut(), |s| s, run, self.watch, &plan, &mut batch, &mut validate)?;
        models.clip.freeze()?;
        count_bad(run, "clip", loader.bad())
    }
}

/// The codes of training pictures. Pictures that look the same every time have the same codes every time: those are kept.
struct Codes<'a> {
    first: &'a dyn ImageTokenizer,
    cache: Option<HashMap<String, Vec<u32>>>,
}

impl<'a> Codes<'a> {
    fn new(first: &'a dyn ImageTokenizer, keep: bool) -> Self {
        Codes { first, cache: keep.then(HashMap::new) }
    }

    /// Puts the reconstructions of the chosen pictures in their places.
    fn reconstruct(&mut self, examples: &mut [Example], mut chosen: impl FnMut(usize) -> bool) -> Result<()> {
        let chosen: Vec<usize> = (0..examples.len()).filter(|&at| chosen(at)).collect();
        let originals: Vec<Example> = chosen.iter().map(|&at| examples[at].clone()).collect();
        let decoded = self.first.decode(&self.of(&originals)?)?;
        let side = self.first.geometry().side;
        for (&at, values) in chosen.iter().zip(decoded.chunks(3 * side * side)) {
            examples[at].picture = picture(values, side, side);
        }
        Ok(())
    }

    fn of(&mut self, examples: &[Example]) -> Result<Vec<u32>> {
        let Some(cache) = &mut self.cache else { return self.first.encode(examples.len(), &pixels(examples)) };
        let fresh: Vec<Example> = examples.iter().filter(|e| !cache.contains_key(&e.key)).cloned().collect();
        if !fresh.is_empty() {
            let grid = self.first.geometry().grid;
            let codes = self.first.encode(fresh.len(), &pixels(&fresh))?;
            cache.extend(fresh.iter().map(|e| e.key.clone()).zip(codes.chunks(grid * grid).map(<[u32]>::to_vec)));
        }
        Ok(examples.iter().flat_map(|e| &cache[&e.key]).copied().collect())
    }
}

/// `run.json`'s `bad_samples`: per stage and reason.
fn count_bad(run: &mut RunDir, stage: &str, bad: &BadCounts) -> Result<()> {
    if bad.total() == 0 {
        return Ok(());
    }
    let counts = json!({"by_reason": bad.by_reason, "examples": bad.examples});
    run.update(|facts| facts["bad_samples"][stage] = counts)
}

struct Plan {
    steps: u64,
    validate: u64,
    checkpoint: u64,
}

/// The loop that every stage runs: restore, step, log, measure, checkpoint, stop.
fn train<S: ?Sized>(
    stage: &mut S,
    erased: fn(&mut S) -> &mut dyn Stage,
    run: &mut RunDir,
    watch: &Watch,
    plan: &Plan,
    batch: &mut dyn FnMut(u64) -> Result<Batch>,
    validate: &mut dyn FnMut(&mut S) -> Result<Numbers>,
) -> Result<()> {
    let name = erased(stage).name();
    let from = restore(erased(stage), &run.path().join("checkpoints"))?.unwrap_or(0);
    run.rewind(name, from)?;
    if from >= plan.steps {
        return Ok(());
    }
    let mut bar = if watch.progress { Progress::stage(name, plan.steps) } else { Progress::quiet(name, plan.steps) };
    let earlier = run.run()["timings"][name].as_f64().unwrap_or(0.0);
    let started = Instant::now();
    Peak::forget();
    for step in from..plan.steps {
        let inputs = batch(step)?;
        let mut numbers = erased(stage).step(step, &inputs)?;
        let done = step + 1;
        bar.step(done, numbers[0].1);
        let last = done == plan.steps;
        let measured = step == 0 || done.is_multiple_of(plan.validate) || last;
        if measured {
            numbers.extend(validate(stage)?);
        }
        if measured || step.is_multiple_of(LOG_EVERY) {
            run.metrics(name, done, &numbers)?;
        }
        let stopped = watch.stop.requested();
        if last || done.is_multiple_of(plan.checkpoint) || stopped.is_some() {
            checkpoint::write(run.checkpoints(name), done, &erased(stage).checkpoint()?)?;
            let seconds = earlier + started.elapsed().as_secs_f64();
            run.update(|facts| {
                facts["timings"][name] = json!(seconds);
                facts["memory"][name] = json!(Peak::now());
            })?;
        }
        if let Some(signal) = stopped {
            return Err(Error::Interrupted { signal, run: run.path().to_owned() });
        }
    }
    bar.finish();
    Ok(())
}
