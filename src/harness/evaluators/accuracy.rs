//! What the oracle says of drawn pictures: the share that is right, in all and by attribute, kind and number of objects; and
//! what chance would give.

use super::{Context, Evaluator, share, shares, shares_of};
use crate::data::shapes::{Attribute, Claim, Prompts, kinds};
use crate::error::Result;
use crate::evaluate::each::Each;
use crate::evaluate::estimate::Estimate;
use crate::evaluate::oracle::{Rule, Verdict, compare};
use crate::evaluate::reading::{Reading, read};
use crate::evaluate::results::{Accuracy, Breakdown, Choice, Choices, Named, Results};
use crate::inference::{Drawn, rank};
use crate::spec::{CaptionSet, Spec};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The oracle's reading of samples.
pub(super) struct AttributeAccuracy;

impl Evaluator for AttributeAccuracy {
    fn run(&self, context: &Context<'_>, results: &mut Results, each: &mut Each) -> Result<()> {
        for set in context.drawn()? {
            if let Some(judged) = &set.judged {
                each.set(&set.name, set.captions.clone());
                judged.keep(&set.name, each);
                results.attribute_accuracy.insert(&set.name, judged.accuracy());
            }
        }
        Ok(())
    }

    fn will_hold(&self, spec: &Spec, results: &mut Results) {
        let candidates = spec.sample.candidates;
        let choices = [Choice::BestOf(candidates), Choice::BestOf(1), Choice::AnyOf(candidates), Choice::Chance];
        let choices: Choices = choices.map(|choice| (choice, share())).into();
        for CaptionSet { name, about, count } in spec.judged() {
            let (objects, kinds) = match about {
                Prompts::Pairs => ("2", Vec::new()),
                about => ("1", kind_names(about == Prompts::HeldOut, spec.seed)),
            };
            let breakdown = parts(&[objects], kinds.into_iter().take(count).collect());
            results
                .attribute_accuracy
                .insert(name, Accuracy { strict: choices.clone(), lenient: choices.clone(), breakdown });
        }
    }
}

/// The kinds of one object: "blue square".
pub(super) fn kind_names(held_out: bool, seed: u64) -> Vec<String> {
    kinds(held_out, seed).into_iter().map(|(shape, colour)| kind_name(colour, shape)).collect()
}

/// The breakdown of pictures with so many objects, of captions of those kinds.
pub(super) fn parts(objects: &[&str], kinds: Vec<String>) -> Breakdown {
    let mut attributes = vec!["count", "shape", "colour", "size", "background"];
    attributes.extend(objects.contains(&"1").then_some("place"));
    attributes.extend(objects.contains(&"2").then_some("relation"));
    Breakdown { by_attribute: shares(attributes), by_objects: shares(objects.iter().copied()), by_kind: shares(kinds) }
}

/// The candidates of some captions as the oracle reads them.
pub(super) struct Judged {
    /// `None` for a caption that is not of the set's grammar, which no picture can be right for.
    claims: Vec<Option<Claim>>,
    readings: Vec<Vec<Reading>>,
    scores: Vec<Vec<f32>>,
}

impl Judged {
    /// `drawn` are the candidates of each caption, with how a CLIP ranks them.
    pub fn new(captions: &[String], drawn: &[Drawn]) -> Self {
        Judged {
            claims: captions.iter().map(|caption| Claim::parse(caption)).collect(),
            readings: drawn.par_iter().map(|drawn| drawn.pictures.iter().map(read).collect()).collect(),
            scores: drawn.iter().map(|drawn| drawn.scores.clone().unwrap_or_default()).collect(),
        }
    }

    /// Which candidates of a caption show everything that it names.
    pub fn right_of(&self, caption: usize, rule: Rule) -> Vec<bool> {
        self.readings[caption].iter().map(|reading| is_right(reading, &self.claims[caption], rule)).collect()
    }

    /// The best of the first `n` candidates by CLIP, per caption.
    fn best(&self, n: usize) -> impl Iterator<Item = Option<&Reading>> {
        self.readings.iter().zip(&self.scores).map(move |(readings, scores)| {
            let best = rank(&scores[..n.min(scores.len())]).first().copied()?;
            readings.get(best)
        })
    }

    /// Whether the best of the first `n` is right, per caption.
    fn rights_of(&self, n: usize, rule: Rule) -> Vec<bool> {
        let right = |(reading, claim): (Option<&Reading>, _)| reading.is_some_and(|seen| is_right(seen, claim, rule));
        self.best(n).zip(&self.claims).map(right).collect()
    }

    /// How often the best of the first `n` is right.
    pub fn best_of(&self, n: usize, rule: Rule) -> Estimate {
        share_of(&self.rights_of(n, rule))
    }

    /// Whether any candidate is right, per caption.
    fn any(&self, rule: Rule) -> Vec<bool> {
        (0..self.claims.len()).map(|caption| self.right_of(caption, rule).contains(&true)).collect()
    }

    /// How often the best picture of a caption is right for another: the mean over all the others.
    fn chance(&self, rule: Rule) -> Estimate {
        let others = self.claims.len().saturating_sub(1);
        if others == 0 {
            return Estimate::of(0, 0);
        }
        let share = |(own, reading): (usize, Option<&Reading>)| {
            let claims = self.claims.iter().enumerate().filter(|(other, _)| *other != own);
            let hits = claims.filter(|(_, claim)| reading.is_some_and(|seen| is_right(seen, claim, rule))).count();
            hits as f64 / others as f64
        };
        Estimate::mean_share(&self.best(usize::MAX).enumerate().map(share).collect::<Vec<_>>())
    }

    fn by_choice(&self, rule: Rule) -> Choices {
        let candidates = self.scores.first().map_or(0, Vec::len);
        Choices::from([
            (Choice::BestOf(candidates), self.best_of(candidates, rule)),
            (Choice::BestOf(1), self.best_of(1, rule)),
            (Choice::AnyOf(candidates), share_of(&self.any(rule))),
            (Choice::Chance, self.chance(rule)),
        ])
    }

    /// Keeps what each caption of the set `set` came to.
    fn keep(&self, set: &str, each: &mut Each) {
        let candidates = self.scores.first().map_or(0, Vec::len);
        for (rule, place) in [(Rule::Strict, ""), (Rule::Lenient, "lenient.")] {
            for (choice, rights) in [
                (Choice::BestOf(candidates), self.rights_of(candidates, rule)),
                (Choice::BestOf(1), self.rights_of(1, rule)),
                (Choice::AnyOf(candidates), self.any(rule)),
            ] {
                each.add(format!("attribute_accuracy.{set}.{place}{choice}"), set, shares_of(&rights));
            }
        }
    }

    /// By both rules, and what the best candidates have right.
    pub fn accuracy(&self) -> Accuracy {
        let best = self.best(usize::MAX).zip(&self.claims);
        let judged = best.filter_map(|(reading, claim)| {
            let (reading, claim) = (reading?, claim.as_ref()?);
            Some((claim.clone(), compare(reading, claim, Rule::Strict)))
        });
        Accuracy {
            strict: self.by_choice(Rule::Strict),
            lenient: self.by_choice(Rule::Lenient),
            breakdown: breakdown(&judged.collect::<Vec<_>>()),
        }
    }
}

fn is_right(reading: &Reading, claim: &Option<Claim>, rule: Rule) -> bool {
    claim.as_ref().is_some_and(|claim| compare(reading, claim, rule).all())
}

/// Where pictures are right, by attribute and number of objects, and by kind where all have one object.
pub(super) fn breakdown(judged: &[(Claim, Verdict)]) -> Breakdown {
    let (mut objects, mut kinds) = (Shares::default(), Shares::default());
    let named = columns(judged).into_iter().filter(|(_, values)| !values.is_empty());
    for (claim, verdict) in judged {
        objects.0.entry(claim.objects.len().to_string()).or_default().push(verdict.all());
        if let [object] = &claim.objects[..] {
            kinds.0.entry(kind_name(object.colour, object.shape)).or_default().push(verdict.all());
        }
    }
    Breakdown {
        by_attribute: named.map(|(name, values)| (name, share_of(&values))).collect(),
        by_objects: objects.estimates(),
        by_kind: if judged.iter().all(|(claim, _)| claim.objects.len() == 1) {
            kinds.estimates()
        } else {
            Named::default()
        },
    }
}

/// "blue square".
pub(super) fn kind_name(colour: impl Attribute, shape: impl Attribute) -> String {
    format!("{} {}", colour.name(), shape.name())
}

/// Each attribute with what was right, over those who name it.
fn columns(judged: &[(Claim, Verdict)]) -> Vec<(&'static str, Vec<bool>)> {
    let mut columns: Vec<(&'static str, Vec<bool>)> = Vec::new();
    for (_, verdict) in judged {
        let attributes = verdict.by_attribute();
        columns.resize_with(attributes.len(), Default::default);
        for (column, (name, right)) in columns.iter_mut().zip(attributes) {
            column.0 = name;
            column.1.extend(right);
        }
    }
    columns
}

#[derive(Default)]
struct Shares(BTreeMap<String, Vec<bool>>);

impl Shares {
    fn estimates(self) -> Named<Estimate> {
        self.0.into_iter().map(|(name, rights)| (name, share_of(&rights))).collect()
    }
}

fn share_of(rights: &[bool]) -> Estimate {
    Estimate::of(rights.iter().filter(|&&right| right).count(), rights.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Picture;
    use crate::data::shapes::{Captions, Scene, prompts};
    use crate::random::Rng;

    /// Candidates of one caption, the last the best.
    fn candidates(pictures: Vec<Picture>) -> Drawn {
        let scores = Some((0..pictures.len()).map(|at| at as f32).collect());
        Drawn { first: 0, codes: Vec::new(), pictures, scores }
    }

    /// Scenes of held-out kinds with everything that can be said of each, and a first candidate that is empty.
    fn drawn(count: usize) -> (Vec<String>, Vec<Drawn>) {
        let kinds = kinds(true, 0);
        let scene = |i: usize| Scene::single(kinds[i % kinds.len()], &mut Rng::new(1, "accuracy", i as u64, 0));
        let empty = Scene { objects: Vec::new(), ..scene(0) }.render(32);
        let captions = (0..count).map(|i| scene(i).claim().write(&mut Rng::new(2, "accuracy", i as u64, 0)));
        let drawn = (0..count).map(|i| candidates(vec![empty.clone(), scene(i).render(32)]));
        (captions.collect(), drawn.collect())
    }

    #[test]
    fn a_perfect_sampler_is_right_by_every_measure_and_its_first_is_not() {
        let (captions, drawn) = drawn(12);
        let found = Judged::new(&captions, &drawn).accuracy();
        let Breakdown { by_attribute, by_objects, by_kind } = &found.breakdown;
        let right =
            [found.strict[&Choice::BestOf(2)], found.strict[&Choice::AnyOf(2)], found.lenient[&Choice::BestOf(2)]];
        let parts =
            [by_attribute.get("shape").unwrap(), by_attribute.get("place").unwrap(), by_objects.get("1").unwrap()];
        assert!(right.iter().chain(parts).all(|share| share.value == 1.0), "{found:?}");
        assert_eq!((found.strict[&Choice::BestOf(1)].value, by_kind.iter().count()), (0.0, 4));
        assert!(by_attribute.get("relation").is_none(), "no caption names one");
    }

    #[test]
    fn chance_is_the_mean_over_all_other_captions() {
        // Three captions that the picture of the first fits, and one that it does not: 2 of its 3 others.
        let claim = |caption: &str| caption.to_owned();
        let captions =
            [claim("a red circle"), claim("a red circle"), claim("a picture of a red circle"), claim("a blue ring")];
        let scene = |text: &str| {
            let object = Claim::parse(text).unwrap().objects[0];
            Scene::single((object.shape, object.colour), &mut Rng::new(3, "chance", 0, 0))
        };
        let drawn: Vec<_> = captions.iter().map(|caption| candidates(vec![scene(caption).render(32)])).collect();
        let judged = Judged::new(&captions, &drawn);
        let expected = (3.0 * 2.0 / 3.0 + 0.0) / 4.0;
        assert!((judged.chance(Rule::Strict).value - expected).abs() < 1e-12, "{:?}", judged.chance(Rule::Strict));
    }

    #[test]
    fn a_perfect_sampler_of_held_out_kinds_is_right_by_chance_now_and_then() {
        let captions = prompts(Prompts::HeldOut, Captions::Quoted, 0, 64);
        let scene = |caption: &String| {
            let said = Claim::parse(caption).unwrap();
            let object = said.objects[0];
            let fits = |scene: &Scene| {
                let shown = &scene.objects[0];
                said.background.is_none_or(|background| background == scene.background)
                    && object.size.is_none_or(|size| size == shown.size)
                    && object.place.is_none_or(|place| Some(place) == shown.place)
            };
            (0..).map(|i| Scene::single((object.shape, object.colour), &mut Rng::new(4, "perfect", i, 0))).find(fits)
        };
        let scene = |caption| candidates(vec![scene(caption).unwrap().render(32)]);
        let drawn: Vec<_> = captions.iter().map(scene).collect();
        let judged = Judged::new(&captions, &drawn);
        assert_eq!(judged.best_of(1, Rule::Strict).value, 1.0);
        let chance = judged.chance(Rule::Strict);
        assert!((0.01..0.1).contains(&chance.value) && chance.interval.unwrap()[0] >= 0.0, "{chance:?}");
    }

    #[test]
    fn nothing_drawn_is_no_figure_and_no_panic() {
        for (captions, count) in [(0, 0), (1, 0), (1, 1)] {
            let captions = vec!["a red circle".to_owned(); captions];
            let grey = Picture { width: 32, height: 32, rgb: vec![128; 32 * 32 * 3] };
            let drawn = vec![candidates(vec![grey; count]); captions.len()];
            let found = Judged::new(&captions, &drawn).accuracy();
            assert_eq!(found.strict[&Choice::Chance], Estimate::NOTHING);
        }
    }
}
