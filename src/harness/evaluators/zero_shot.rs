//! CLIP as a classifier of real pictures.

use super::accuracy::kind_name;
use super::{Context, Evaluator, shares};
use crate::data::shapes::{Claim, kinds};
use crate::data::{Example, Picture};
use crate::error::Result;
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::{Named, Results};
use crate::harness::measure::held_out;
use crate::inference::rank;
use crate::spec::Spec;

/// Zero-shot classification of pictures with one object.
pub(super) struct ZeroShot;

impl Evaluator for ZeroShot {
    fn run(&self, context: &Context<'_>, results: &mut Results) -> Result<()> {
        context.proceed("zero-shot classification")?;
        results.zero_shot = zero_shot(context)?;
        Ok(())
    }

    fn will_hold(&self, _: &Spec, results: &mut Results) {
        results.zero_shot = shares(["seen", "held_out"]);
    }
}

/// CLIP as a classifier: which (shape, colour) a one-object validation picture shows, among all of them.
fn zero_shot(context: &Context<'_>) -> Result<Named<Estimate>> {
    let Context { spec, sources, models, .. } = *context;
    let reranker = &models.reranker;
    let all = [kinds(false, spec.seed), kinds(true, spec.seed)].concat();
    let names: Vec<String> = all.iter().map(|&(shape, colour)| format!("a {}", kind_name(colour, shape))).collect();
    let mut out = Named::default();
    for (name, source) in &sources.validation {
        let examples = held_out(spec, name, source.as_ref(), context.side(), spec.evaluate.pairs)?;
        let named = |e: &Example| {
            let claim = Claim::parse(&e.caption).filter(|claim| claim.objects.len() == 1)?;
            let object = &claim.objects[0];
            all.iter().position(|&kind| kind == (object.shape, object.colour))
        };
        let single = examples.into_iter().filter_map(|e| named(&e).map(|kind| (e.picture, kind)));
        let (pictures, truth): (Vec<Picture>, Vec<usize>) = single.unzip();
        let scores = reranker.similarity(&pictures, &names)?;
        let hits =
            scores.chunks(names.len()).zip(&truth).filter(|(row, kind)| rank(row).first() == Some(*kind)).count();
        out.insert(if name == "validation" { "seen" } else { name.as_str() }, Estimate::of(hits, truth.len()));
    }
    Ok(out)
}
