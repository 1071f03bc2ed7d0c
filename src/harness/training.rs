//! The loop that trains a stage: restore, step, log, measure, keep the best, checkpoint, stop.

use super::memory::Peak;
use super::progress::Progress;
use super::run_dir::RunDir;
use super::validation::{self, Validations};
use super::watch::Watch;
use crate::checkpoint;
use crate::checkpoint::{BEST, Older};
use crate::error::{Error, Result};
use crate::kernels::cpu::bf16::Unit;
use crate::ops::{Products, with_products};
use crate::spec::Keep;
use crate::train::{Batch, Learns, Metrics};
use serde_json::json;
use std::time::{Duration, Instant};

/// Steps between two lines of training metrics.
const LOG_EVERY: u64 = 10;
/// A share of the first average that wants a warning.
const START_LEFT: f64 = 0.01;

/// What a spec says of a stage's training.
pub struct StagePlan {
    /// Updates.
    pub steps: u64,
    /// Steps between validations.
    pub validate: u64,
    /// Steps between checkpoints.
    pub checkpoint: u64,
    /// What products round their factors to.
    pub precision: Products,
    /// Which weights are kept.
    pub keep: Keep,
    /// Validations without a better one after which the stage ends; 0: none.
    pub patience: u64,
    /// The figure of a validation that says which weights are the best: less is better.
    pub metric: &'static str,
}

impl StagePlan {
    /// Whether the stage is validated after so many steps.
    fn measures(&self, done: u64) -> bool {
        done == 1 || done.is_multiple_of(self.validate) || done == self.steps
    }
}

/// What came of a stage.
pub struct Trained<F: ?Sized> {
    /// It was gone on with after so many steps.
    pub from: u64,
    /// The model, with the weights that are kept.
    pub model: Box<F>,
}

/// Trains a stage to the end of its plan, from its newest checkpoint on.
///
/// # Errors
/// What the stage says; [`Error::Interrupted`] after a checkpoint where a signal came; [`Error::Diverged`].
pub fn train<F: ?Sized>(
    stage: &mut dyn Learns<F>,
    run: &mut RunDir,
    watch: &Watch,
    plan: &StagePlan,
    batch: &mut dyn FnMut(u64) -> Result<Batch>,
    validate: &mut dyn FnMut(&F, u64) -> Result<Metrics>,
) -> Result<Trained<F>> {
    let name = stage.name();
    let folder = run.checkpoints(name);
    let (mut from, mut validations) = (0, Validations::default());
    // Training on from an older one ends with the same bits, but it is said that it was needed.
    let mut older = Older::Told(&mut |text| run.warn(name, "fell-back", text));
    let mut found = checkpoint::latest(&folder, &mut older)?;
    // Best weights of a later step come again, unless the stage is now validated at other steps: then they are of no validation.
    let resumed = found.as_ref().map_or(0, |found| found.step);
    checkpoint::retain(folder.join(BEST), |step| step <= resumed || plan.measures(step))?;
    if let (Keep::Best, Some(newest)) = (plan.keep, &found)
        && let Some(best) = Validations::read(newest)?.best()
        && !checkpoint::reaches(folder.join(BEST), best.step)?
    {
        // Only what came before them trains them again.
        let earlier = checkpoint::before(&folder, best.step)?;
        let from = earlier.as_ref().map_or_else(|| "the start".to_owned(), |found| format!("step-{}", found.step));
        let what = format!("damaged: {name}/{BEST} lacks the best weights, of step {}; fell back to {from}", best.step);
        run.warn(name, "fell-back", &what)?;
        found = earlier;
    }
    if let Some(found) = found {
        stage.restore(&|name| found.read(name))?;
        (from, validations) = (found.step, Validations::read(&found)?);
    }
    run.rewind(name, from)?;
    if from < plan.steps && !validations.ended {
        let mut bar =
            if watch.progress { Progress::stage(name, plan.steps) } else { Progress::quiet(name, plan.steps) };
        let earlier = ["timings", "waits"].map(|what| run.run()[what][name].as_f64().unwrap_or(0.0));
        let mut waited = Duration::ZERO;
        say_of_products(run, name, plan.precision)?;
        let started = Instant::now();
        Peak::forget();
        for step in from..plan.steps {
            let asked = Instant::now();
            let inputs = batch(step)?;
            waited += asked.elapsed();
            let report = with_products(plan.precision, || stage.step(step, &inputs))?;
            let (done, mut metrics) = (step + 1, report.figures());
            bar.step(done, report.loss);
            validations.step(report.loss);
            let last = done == plan.steps;
            let measured = plan.measures(done);
            if measured {
                let figures = validate(stage.frozen()?.as_ref(), done)?;
                let value = figure(&figures, plan.metric, name, done)?;
                bar.validated(value);
                validations.add(done, value);
                metrics.extend(figures);
            }
            if measured || step.is_multiple_of(LOG_EVERY) {
                run.metrics(name, done, &metrics)?;
            }
            if measured {
                if let Some((first, now)) = validations.diverged() {
                    let what =
                        format!("{} is {now:.4}, at first it was {first:.4}: the stage has diverged", plan.metric);
                    return Err(Error::Diverged { stage: name.into(), step: done, what });
                }
                if plan.keep == Keep::Best && validations.improved() {
                    checkpoint::write(folder.join(BEST), done, &stage.averaged_file()?)?;
                }
                validations.ended = plan.patience > 0 && validations.without_improvement() >= plan.patience;
            }
            let stopped = watch.stop.requested();
            let ends = last || validations.ended;
            if ends || done.is_multiple_of(plan.checkpoint) || stopped.is_some() {
                let mut files = stage.checkpoint()?;
                files.push((validation::FILE, validations.to_bytes()?));
                checkpoint::write(&folder, done, &files)?;
                let [seconds, waits] = [started.elapsed(), waited].map(|time| time.as_secs_f64());
                run.update(|facts| {
                    facts["timings"][name] = json!(earlier[0] + seconds);
                    facts["waits"][name] = json!(earlier[1] + waits);
                    facts["memory"][name] = json!(Peak::now());
                })?;
            }
            if let Some(signal) = stopped {
                return Err(Error::stopped(signal, run.path()));
            }
            if ends {
                break;
            }
        }
        bar.finish();
    }
    let model = keep(stage, run, plan, &validations)?;
    Ok(Trained { from, model })
}

/// What multiplies, where factors are rounded: the bits of the stage are those of that unit.
fn say_of_products(run: &mut RunDir, stage: &str, precision: Products) -> Result<()> {
    if precision == Products::F32 {
        return Ok(());
    }
    let unit = Unit::best();
    if unit == Unit::Plain {
        let what = "this CPU has no instructions for bf16: products take longer than in f32";
        run.warn(stage, "no-bf16", what)?;
    }
    run.update(|facts| facts["products"][stage] = json!({"factors": precision, "unit": unit}))
}

/// The named figure of a validation.
fn figure(figures: &Metrics, metric: &'static str, stage: &str, step: u64) -> Result<f64> {
    let found = figures.iter().find(|(name, _)| *name == metric).map_or(f64::NAN, |(_, value)| *value);
    if found.is_finite() {
        return Ok(found);
    }
    Err(Error::Numeric { stage: stage.into(), step, tensor: metric.into(), value: found.to_string() })
}

/// Fixes the weights that are kept, writes down which they are, and says what the validations give reason to say.
fn keep<F: ?Sized>(
    stage: &dyn Learns<F>,
    run: &mut RunDir,
    plan: &StagePlan,
    validations: &Validations,
) -> Result<Box<F>> {
    let name = stage.name();
    let folder = run.checkpoints(name).join(BEST);
    let last = validations.last();
    let (kept, model) = match (plan.keep, validations.best()) {
        (Keep::Best, Some(best)) => {
            let found = checkpoint::latest(&folder, &mut Older::Refused)?.filter(|found| found.step == best.step);
            let Some(found) = found else {
                return Err(Error::data(&folder, format!("expected the weights of step {}, found others", best.step)));
            };
            (Some(best), stage.frozen_at(&|name| found.read(name))?)
        }
        _ => (last, stage.frozen()?),
    };
    if let (Some(kept), Some(last)) = (kept, last) {
        let fact = json!({"step": kept.step, "metric": plan.metric, "value": kept.value, "of": last.step});
        run.update(|facts| facts["kept"][name] = fact)?;
    }
    if let Some((best, last)) = validations.overfits() {
        let advice = match plan.keep {
            Keep::Best => {
                "the weights of that step are kept; fewer steps, more pictures or data.augment would do better"
            }
            Keep::Last => "the last weights are kept: set keep: best, fewer steps, or train on more pictures",
        };
        let text = format!(
            "{} was best at step {} of {} ({:.4}) and has risen to {:.4} while the training loss fell: {advice}",
            plan.metric, best.step, last.step, best.value, last.value
        );
        run.warn(name, "overfits", &text)?;
    }
    let share = stage.share_of_start();
    if share > START_LEFT {
        let text = format!(
            "the averaged weights are still to {:.0} % those of the first average: lower ema.every, or train longer",
            100.0 * share
        );
        run.warn(name, "average-lags", &text)?;
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::load::Loaded;
    use crate::harness::signals::Stop;
    use crate::train::{Files, Stage, StepReport};
    use std::path::Path;

    /// A stage whose weights are the number of its steps.
    #[derive(Default)]
    struct Counter(u64);

    impl Stage for Counter {
        fn name(&self) -> &'static str {
            "counter"
        }
        fn num_parameters(&self) -> usize {
            1
        }
        fn step(&mut self, step: u64, _: &Batch) -> Result<StepReport> {
            assert_eq!(step, self.0);
            self.0 += 1;
            Ok(StepReport { loss: 0.0, metrics: Vec::new() })
        }
        fn checkpoint(&self) -> Result<Files> {
            Ok(vec![("weights", self.0.to_string().into())])
        }
        fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
            self.0 = String::from_utf8(read("weights")?).unwrap().parse().unwrap();
            Ok(())
        }
        fn averaged_file(&self) -> Result<Files> {
            self.checkpoint()
        }
        fn share_of_start(&self) -> f64 {
            0.0
        }
    }

    impl Learns<u64> for Counter {
        fn frozen(&self) -> Result<Box<u64>> {
            Ok(Box::new(self.0))
        }
        fn frozen_at(&self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<Box<u64>> {
            let mut counter = Counter::default();
            counter.restore(read)?;
            counter.frozen()
        }
    }

    fn run(folder: &Path) -> RunDir {
        let loaded = Loaded::parse("a.yaml", "{name: a, preset: tiny}", folder, &[], &["tiny"]).unwrap();
        RunDir::create(folder, &loaded, &[]).unwrap()
    }

    /// Trains with checkpoints every 30 steps: where it began, and the step of the weights that were kept. The figure after each step
    /// is what `figure` says; at `killed` steps the process is gone.
    fn trained(
        run: &mut RunDir,
        (validate, patience): (u64, u64),
        killed: u64,
        figure: impl Fn(u64) -> f64,
    ) -> Result<(u64, u64)> {
        let plan = StagePlan {
            steps: 100,
            validate,
            checkpoint: 30,
            precision: Products::F32,
            keep: Keep::Best,
            patience,
            metric: "val",
        };
        let watch = Watch { stop: Stop::never(), progress: false, shared: None };
        let mut batch = |step| match step {
            step if step == killed => Err(Error::Usage("killed".into())),
            _ => Ok(Batch::default()),
        };
        let mut counter = Counter::default();
        let mut validate = |_: &u64, step| Ok(vec![("val", figure(step))]);
        let trained = train(&mut counter, run, &watch, &plan, &mut batch, &mut validate)?;
        Ok((trained.from, *trained.model))
    }

    #[test]
    fn the_best_weights_are_kept_and_patience_ends_a_stage() {
        let figure = |step: u64| step.abs_diff(42) as f64;
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(trained(&mut run(folder.path()), (20, 0), 100, figure).unwrap(), (0, 40));
        let mut ended = run(folder.path());
        assert_eq!(trained(&mut ended, (20, 2), 81, figure).unwrap(), (0, 40));
        assert_eq!(ended.run()["kept"]["counter"]["of"], 80);
        assert!(ended.run()["waits"]["counter"].as_f64() <= ended.run()["timings"]["counter"].as_f64());
        assert!(ended.run()["waits"]["counter"].is_f64());
        assert_eq!(trained(&mut ended, (20, 2), 0, figure).unwrap(), (80, 40));
    }

    #[test]
    fn best_weights_after_the_checkpoint_count_only_where_they_are_met_again() {
        // The best so far is of step 40, the newest checkpoint of step 30.
        let figure = |step: u64| step.abs_diff(42) as f64;
        let killed = || {
            let folder = tempfile::tempdir().unwrap();
            let mut run = run(folder.path());
            assert!(trained(&mut run, (20, 0), 45, figure).is_err());
            (folder, run)
        };
        let (_folder, mut run) = killed();
        assert_eq!(trained(&mut run, (20, 0), 100, figure).unwrap(), (30, 40));
        // Validated at other steps, none of which is as good as the step before the checkpoint.
        let worse = |step: u64| if step > 30 { 90.0 } else { figure(step) };
        let (_folder, mut run) = killed();
        assert_eq!(trained(&mut run, (35, 0), 100, worse).unwrap(), (30, 20));
    }
}
