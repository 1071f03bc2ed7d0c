//! CLIP as a classifier of real pictures.

use super::accuracy::kind_name;
use super::{Context, Evaluator, fingerprint, shares, shares_of};
use crate::data::shapes::{Claim, kinds};
use crate::data::{Example, Picture};
use crate::error::Result;
use crate::evaluate::each::Each;
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::{Named, Results};
use crate::harness::measure::held_out;
use crate::inference::rank;
use crate::spec::Spec;

/// Zero-shot classification of pictures with one object.
pub(super) struct ZeroShot;

impl Evaluator for ZeroShot {
    fn run(&self, context: &Context<'_>, results: &mut Results, each: &mut Each) -> Result<()> {
        context.proceed("zero-shot classification")?;
        results.zero_shot = zero_shot(context, each)?;
        Ok(())
    }

    fn will_hold(&self, _: &Spec, results: &mut Results) {
        results.zero_shot = shares(["seen", "held_out"]);
    }
}

/// CLIP as a classifier: which (shape, colour) a one-object validation picture shows, among all of them.
fn zero_shot(context: &Context<'_>, each: &mut Each) -> Result<Named<Estimate>> {
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
        let single = examples.into_iter().filter_map(|e| named(&e).map(|kind| (e, kind)));
        let (single, truth): (Vec<Example>, Vec<usize>) = single.unzip();
        let shown = single.iter().map(fingerprint).collect();
        let pictures: Vec<Picture> = single.into_iter().map(|example| example.picture).collect();
        let scores = reranker.similarity(&pictures, &names)?;
        let right = scores.chunks(names.len()).zip(&truth).map(|(row, kind)| rank(row).first() == Some(kind));
        let right: Vec<bool> = right.collect();
        let (set, shots) = (if name == "validation" { "seen" } else { name.as_str() }, format!("{name}, one object"));
        each.set(&shots, shown);
        each.add(format!("zero_shot.{set}"), &shots, shares_of(&right));
        out.insert(set, Estimate::of(right.iter().filter(|&&right| right).count(), truth.len()));
    }
    Ok(out)
}
