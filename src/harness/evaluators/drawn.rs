//! The samples that are measured and shown: of captions that an oracle can judge by, or else of validation pictures' captions.

use super::Context;
use super::accuracy::Judged;
use crate::data::Picture;
use crate::data::shapes::{Claim, Scene, prompts};
use crate::error::Result;
use crate::harness::measure::{held_out, request};
use crate::inference::Drawn;

/// The samples of a set of captions.
pub struct DrawnSet {
    /// Its name in results.
    pub name: String,
    /// The captions.
    pub captions: Vec<String>,
    /// A real picture of each, where there is one.
    pub real: Vec<Option<Picture>>,
    /// The candidates of each.
    pub drawn: Vec<Drawn>,
    /// What the oracle reads, where there is one.
    pub(super) judged: Option<Judged>,
}

/// The samples of every set.
pub(super) fn draw(context: &Context<'_>) -> Result<Vec<DrawnSet>> {
    let Context { spec, sources, .. } = *context;
    let mut sets = Vec::new();
    if spec.data.kind.is_judged() {
        for set in spec.judged() {
            let captions = prompts(set.about, spec.evaluate.captions, spec.seed, set.count);
            let scene = |caption: &String| Some(Scene::of(&Claim::parse(caption)?)?.render(context.side()));
            let real = captions.iter().map(scene).collect();
            let drawn = draw_set(context, set.name, &captions)?;
            let judged = Some(Judged::new(&captions, &drawn));
            sets.push(DrawnSet { name: set.name.to_owned(), captions, real, drawn, judged });
        }
        return Ok(sets);
    }
    let count = spec.sample.shown.div_ceil(sources.validation.len().max(1)).max(1);
    for (name, source) in &sources.validation {
        let examples = held_out(spec, name, source.as_ref(), context.side(), count)?;
        let (captions, real): (Vec<String>, Vec<Option<Picture>>) =
            examples.into_iter().map(|example| (example.caption, Some(example.picture))).unzip();
        let drawn = draw_set(context, name, &captions)?;
        sets.push(DrawnSet { name: name.clone(), captions, real, drawn, judged: None });
    }
    Ok(sets)
}

fn draw_set(context: &Context<'_>, set: &str, captions: &[String]) -> Result<Vec<Drawn>> {
    let (candidates, all) = (context.spec.sample.candidates, captions.len());
    let task = format!("drawing {candidates} pictures for each of {all} captions ({set})");
    let generator = context.models.generator(context.spec, context.bpe);
    generator.draw(captions, &request(context.spec), &mut |done| (context.proceed)(&task, done, all))
}
