//! What the oracle says of drawn pictures: the share that is right, in all and by attribute, kind and number of objects; and
//! what chance would give.

use super::measure::picture;
use crate::data::shapes::{Attribute, Claim};
use crate::evaluate::measure::Estimate;
use crate::evaluate::oracle::{Rule, Verdict, compare};
use crate::evaluate::reading::{Reading, read};
use crate::inference::rank;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The candidates of some captions as the oracle reads them.
pub(super) struct Judged<'a> {
    /// `None` for a caption that is not of the set's grammar, which no picture can be right for.
    claims: Vec<Option<Claim>>,
    readings: Vec<Vec<Reading>>,
    scores: &'a [Vec<f32>],
}

impl<'a> Judged<'a> {
    /// `pictures` are the candidates of each caption, `scores` how a CLIP ranks them.
    pub fn new(captions: &[String], pictures: &[Vec<Vec<f32>>], scores: &'a [Vec<f32>], side: usize) -> Self {
        let seen = |candidates: &Vec<Vec<f32>>| -> Vec<Reading> {
            candidates.iter().map(|values| read(&picture(values, side, side))).collect()
        };
        Judged {
            claims: captions.iter().map(|caption| Claim::parse(caption)).collect(),
            readings: pictures.par_iter().map(seen).collect(),
            scores,
        }
    }

    /// Which candidates show everything that their caption names.
    pub fn right(&self, rule: Rule) -> Vec<Vec<bool>> {
        let right = |(readings, claim): (&Vec<Reading>, &Option<Claim>)| {
            readings.iter().map(|reading| is_right(reading, claim, rule)).collect()
        };
        self.readings.iter().zip(&self.claims).map(right).collect()
    }

    /// The best of the first `n` candidates by CLIP, per caption.
    fn best(&self, n: usize) -> impl Iterator<Item = Option<&Reading>> {
        self.readings.iter().zip(self.scores).map(move |(readings, scores)| {
            let best = rank(&scores[..n.min(scores.len())]).first().copied()?;
            readings.get(best)
        })
    }

    /// How often the best of the first `n` is right.
    pub fn best_of(&self, n: usize, rule: Rule) -> Estimate {
        let right = |(reading, claim): (Option<&Reading>, _)| reading.is_some_and(|seen| is_right(seen, claim, rule));
        let hits = self.best(n).zip(&self.claims).filter(|pair| right(*pair)).count();
        Estimate::of(hits, self.claims.len())
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

    fn by_choice(&self, rule: Rule) -> Map<String, Value> {
        let candidates = self.scores.first().map_or(0, Vec::len);
        let right = self.right(rule);
        let any = right.iter().filter(|right| right.contains(&true)).count();
        let mut out = Map::new();
        out.insert(format!("best_of_{candidates}"), json!(self.best_of(candidates, rule)));
        out.insert("best_of_1".into(), json!(self.best_of(1, rule)));
        out.insert("chance".into(), json!(self.chance(rule)));
        out.insert(format!("any_of_{candidates}"), json!(Estimate::of(any, right.len())));
        out
    }

    /// By the strict rule, the same by the lenient one under `lenient`, and what the best candidates have right.
    pub fn accuracy(&self) -> Value {
        let mut out = self.by_choice(Rule::Strict);
        out.insert("lenient".into(), Value::Object(self.by_choice(Rule::Lenient)));
        let best = self.best(usize::MAX).zip(&self.claims);
        let judged = best.filter_map(|(reading, claim)| {
            let (reading, claim) = (reading?, claim.as_ref()?);
            Some((claim.clone(), compare(reading, claim, Rule::Strict)))
        });
        out.extend(breakdown(&judged.collect::<Vec<_>>()));
        Value::Object(out)
    }
}

fn is_right(reading: &Reading, claim: &Option<Claim>, rule: Rule) -> bool {
    claim.as_ref().is_some_and(|claim| compare(reading, claim, rule).all())
}

/// `by_attribute`: the share of the captions that name it; `by_objects`; and where all have one object, `by_kind`.
pub(super) fn breakdown(judged: &[(Claim, Verdict)]) -> Map<String, Value> {
    let (mut attributes, mut objects, mut kinds) = (Map::new(), Shares::default(), Shares::default());
    for (name, values) in columns(judged) {
        if !values.is_empty() {
            attributes.insert(name.into(), json!(share(&values)));
        }
    }
    for (claim, verdict) in judged {
        objects.0.entry(claim.objects.len().to_string()).or_default().push(verdict.all());
        if let [object] = &claim.objects[..] {
            kinds.0.entry(kind_name(object.colour, object.shape)).or_default().push(verdict.all());
        }
    }
    let mut out = Map::new();
    out.insert("by_attribute".into(), Value::Object(attributes));
    out.insert("by_objects".into(), objects.json());
    if judged.iter().all(|(claim, _)| claim.objects.len() == 1) {
        out.insert("by_kind".into(), kinds.json());
    }
    out
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
    fn json(self) -> Value {
        self.0.into_iter().map(|(name, rights)| (name, json!(share(&rights)))).collect::<Map<_, _>>().into()
    }
}

fn share(rights: &[bool]) -> Estimate {
    Estimate::of(rights.iter().filter(|&&right| right).count(), rights.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes::{Captions, Prompts, Scene, kinds, prompts};
    use crate::random::Rng;

    fn values(scene: &Scene) -> Vec<f32> {
        scene.render(32).values().collect()
    }

    /// Scenes of held-out kinds with everything that can be said of each, and a second candidate that is empty.
    fn drawn(count: usize) -> (Vec<String>, Vec<Vec<Vec<f32>>>, Vec<Vec<f32>>) {
        let kinds = kinds(true, 0);
        let scene = |i: usize| Scene::single(kinds[i % kinds.len()], &mut Rng::new(1, "accuracy", i as u64, 0));
        let empty = values(&Scene { objects: Vec::new(), ..scene(0) });
        let captions = (0..count).map(|i| scene(i).claim().write(&mut Rng::new(2, "accuracy", i as u64, 0)));
        let pictures = (0..count).map(|i| vec![empty.clone(), values(&scene(i))]);
        (captions.collect(), pictures.collect(), vec![vec![1.0, 2.0]; count])
    }

    #[test]
    fn a_perfect_sampler_is_right_by_every_measure_and_its_first_is_not() {
        let (captions, pictures, scores) = drawn(12);
        let found = Judged::new(&captions, &pictures, &scores, 32).accuracy();
        let at = |path: &str| found.pointer(path).and_then(|v| v["value"].as_f64()).unwrap_or_else(|| panic!("{path}"));
        for path in ["/best_of_2", "/any_of_2", "/lenient/best_of_2", "/by_attribute/shape", "/by_objects/1"] {
            assert_eq!(at(path), 1.0, "{path}");
        }
        assert_eq!((at("/best_of_1"), at("/by_attribute/place")), (0.0, 1.0));
        assert_eq!(found["by_kind"].as_object().unwrap().len(), 4, "{found}");
        assert!(found["by_attribute"].get("relation").is_none(), "no caption names one");
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
        let pictures: Vec<_> = captions.iter().map(|caption| vec![values(&scene(caption))]).collect();
        let scores = vec![vec![0.5]; 4];
        let judged = Judged::new(&captions, &pictures, &scores, 32);
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
        let pictures: Vec<_> = captions.iter().map(|caption| vec![values(&scene(caption).unwrap())]).collect();
        let scores = vec![vec![0.0]; captions.len()];
        let judged = Judged::new(&captions, &pictures, &scores, 32);
        assert_eq!(judged.best_of(1, Rule::Strict).value, 1.0);
        let chance = judged.chance(Rule::Strict);
        assert!((0.01..0.1).contains(&chance.value) && chance.low >= 0.0, "{chance:?}");
    }

    #[test]
    fn nothing_drawn_is_no_figure_and_no_panic() {
        for (captions, candidates) in [(0, 0), (1, 0), (1, 1)] {
            let captions = vec!["a red circle".to_owned(); captions];
            let pictures = vec![vec![vec![0.5; 32 * 32 * 3]; candidates]; captions.len()];
            let scores = vec![vec![0.0; candidates]; captions.len()];
            let found = Judged::new(&captions, &pictures, &scores, 32).accuracy();
            assert!(found["chance"]["value"].is_null() && found["chance"]["n"] == 0, "{found}");
        }
    }
}
