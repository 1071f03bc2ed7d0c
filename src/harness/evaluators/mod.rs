//! What a run measures after training: a list of evaluators, none of which knows of the others. Each says beforehand what the
//! results will hold of it, so that an expectation can be checked before training.

mod accuracy;
mod bounds;
mod drawn;
mod reranking;
mod sheet;
mod zero_shot;

pub(super) use bounds::bounds;
pub use drawn::DrawnSet;

use super::models::Models;
use super::run_dir::write_atomic;
use super::sources::Sources;
use crate::data::Example;
use crate::error::Result;
use crate::evaluate::each::Each;
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::{Named, Results};
use crate::spec::Spec;
use crate::text::Bpe;
use serde_json::Value;
use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;

/// One of the things that are measured.
pub trait Evaluator {
    /// Measures it, keeps what each picture or caption came to, and writes pictures under the run's `images/`.
    ///
    /// # Errors
    /// What models, data and disk say; [`Error::Interrupted`](crate::Error::Interrupted) where a signal came.
    fn run(&self, context: &Context<'_>, results: &mut Results, each: &mut Each) -> Result<()>;
    /// Puts what the results of `spec` will hold of it in its place.
    fn will_hold(&self, spec: &Spec, results: &mut Results);
}

/// What is asked before each measurement and each part of one, with its name and how many of its parts are done; an error of it
/// ends them.
pub type Proceed<'a> = &'a dyn Fn(&str, usize, usize) -> Result<()>;

/// What evaluators measure.
pub struct Context<'a> {
    /// The run's spec.
    pub spec: &'a Spec,
    /// Its folder.
    pub run: &'a Path,
    /// Its data.
    pub sources: &'a Sources,
    /// Its models.
    pub models: &'a Models,
    /// Its tokenizer.
    pub bpe: &'a Rc<Bpe>,
    proceed: Proceed<'a>,
    /// Drawn once, for whoever asks first.
    drawn: OnceCell<Vec<DrawnSet>>,
}

impl<'a> Context<'a> {
    /// Of a run.
    pub fn new(
        spec: &'a Spec,
        run: &'a Path,
        sources: &'a Sources,
        (models, bpe): (&'a Models, &'a Rc<Bpe>),
        proceed: Proceed<'a>,
    ) -> Self {
        Context { spec, run, sources, models, bpe, proceed, drawn: OnceCell::new() }
    }

    /// Side of the pictures.
    fn side(&self) -> usize {
        self.models.architecture.geometry.side
    }

    /// Says what comes next.
    fn proceed(&self, task: &str) -> Result<()> {
        (self.proceed)(task, 0, 1)
    }

    /// The samples of every set of captions.
    fn drawn(&self) -> Result<&[DrawnSet]> {
        if let Some(drawn) = self.drawn.get() {
            return Ok(drawn);
        }
        let drawn = drawn::draw(self)?;
        Ok(self.drawn.get_or_init(|| drawn))
    }
}

/// Those that the data of `spec` can answer.
pub fn chosen(spec: &Spec) -> Vec<Box<dyn Evaluator>> {
    let mut chosen: Vec<Box<dyn Evaluator>> = vec![Box::new(reranking::Reranking)];
    if spec.data.kind.is_judged() {
        chosen.push(Box::new(accuracy::AttributeAccuracy));
        chosen.push(Box::new(zero_shot::ZeroShot));
    }
    chosen.push(Box::new(bounds::BoundsAndReconstructions));
    chosen.push(Box::new(sheet::SampleSheet));
    chosen
}

/// Everything that is measured of a run, and what each picture and caption came to.
///
/// # Errors
/// Those of [`Evaluator::run`].
pub fn evaluate(context: &Context<'_>) -> Result<(Results, Each)> {
    let (mut results, mut each) = (Results::default(), Each::default());
    for evaluator in chosen(context.spec) {
        evaluator.run(context, &mut results, &mut each)?;
    }
    Ok((results, each))
}

/// What the results of `spec` will hold: figures that are not known yet.
pub fn will_hold(spec: &Spec) -> Results {
    let mut results = Results::default();
    chosen(spec).iter().for_each(|evaluator| evaluator.will_hold(spec, &mut results));
    results
}

/// A figure that is not known yet.
fn figure() -> Estimate {
    f64::NAN.into()
}

/// A share that is not known yet.
fn share() -> Estimate {
    Estimate::NOTHING
}

fn shares(names: impl IntoIterator<Item = impl Into<String>>) -> Named<Estimate> {
    names.into_iter().map(|name| (name, share())).collect()
}

/// Which picture, with which caption, the models saw.
fn fingerprint(example: &Example) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(&example.picture.rgb).update(&[0]).update(example.caption.as_bytes());
    hash.finalize().to_hex()[..16].to_owned()
}

/// Hits as the values of which a share is the mean.
fn shares_of(hits: &[bool]) -> impl Iterator<Item = f64> {
    hits.iter().map(|&hit| f64::from(u8::from(hit)))
}

fn write_json(run: &Path, name: &str, value: &Value) -> Result<()> {
    write_atomic(run.join(name), value.to_string().as_bytes())
}
