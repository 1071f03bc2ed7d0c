//! What is measured, as types: written to `run.json` and `evaluation.json`, read back, shown, compared and expected by one
//! definition each, with its unit and which way is better.

mod accuracy;
mod named;
mod quantity;
mod sets;

pub use accuracy::{Accuracy, AfterReconstruction, Breakdown, Choice, Choices};
pub use named::Named;
pub(crate) use quantity::words;
pub use quantity::{Better, Quantity, ResultRow, SHARE};
pub use sets::{
    Bounds, EvaluatedSet, Evaluation, NetworkResults, Recall, SampleFigures, SampleResults, SetResults, UnderBlur,
};

use super::estimate::Estimate;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// What reranking gains: figures of the best by CLIP of the first N candidates, for each N of `n`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RerankCurve {
    /// Numbers of candidates.
    pub n: Vec<usize>,
    /// CLIP's similarity, 100·cosine.
    #[serde(alias = "score")]
    pub similarity: Vec<Estimate>,
    /// The share that is right, where an oracle judges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accuracy: Vec<Estimate>,
    /// The same by the lenient reading.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lenient_accuracy: Vec<Estimate>,
}

/// All that a run comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results {
    /// What reranking gains.
    pub rerank_curve: Option<RerankCurve>,
    /// By set of captions: how often drawn pictures are right.
    pub attribute_accuracy: Named<Accuracy>,
    /// By validation set: CLIP as a classifier of real pictures.
    pub zero_shot: Named<Estimate>,
    /// By validation set: reconstruction and bounds.
    pub sets: Named<SetResults>,
    /// What another version measured.
    pub others: Map<String, Value>,
}

/// A validation set's key begins so.
const SET: &str = "elbo_";

/// The key of the validation set `set`.
pub fn set_key(set: &str) -> String {
    format!("{SET}{set}")
}

impl Results {
    /// The results of a `run.json`. What this version does not know, or cannot read, is among the others.
    pub fn read(json: &Map<String, Value>) -> Results {
        fn known<T: DeserializeOwned>(value: &Value) -> Option<T> {
            serde_json::from_value(value.clone()).ok()
        }
        let mut results = Results::default();
        for (key, value) in json {
            let understood = match (key.as_str(), key.strip_prefix(SET)) {
                ("rerank_curve", _) => known(value).map(|curve| results.rerank_curve = Some(curve)),
                ("attribute_accuracy", _) => known(value).map(|sets| results.attribute_accuracy = sets),
                ("zero_shot", _) => known(value).map(|sets| results.zero_shot = sets),
                (_, Some(set)) => known(value).map(|figures| results.sets.insert(set, figures)),
                _ => None,
            };
            if understood.is_none() {
                results.others.insert(key.clone(), value.clone());
            }
        }
        results
    }

    /// Every figure but the curve's, as rows.
    pub fn rows(&self) -> Vec<ResultRow> {
        let accuracy = self.attribute_accuracy.iter().flat_map(|(set, accuracy)| {
            let heading = format!("right, {}", words(set));
            let path = format!("attribute_accuracy.{set}");
            accuracy.rows().into_iter().map(move |row| row.below(&heading).within(&path))
        });
        let zero_shot = self
            .zero_shot
            .iter()
            .map(|(set, share)| ResultRow::share(set, words(set), *share).below("zero-shot").within("zero_shot"));
        let sets = self.sets.iter().flat_map(|(set, figures)| {
            let (rows, details) = figures.rows();
            rows.into_iter().chain(details).map(move |row| row.below(&words(set)).within(&set_key(set)))
        });
        accuracy.chain(zero_shot).chain(sets).collect()
    }
}

impl Serialize for Results {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = Map::new();
        if let Some(curve) = &self.rerank_curve {
            all.insert("rerank_curve".into(), json!(curve));
        }
        for (key, empty, value) in [
            ("attribute_accuracy", self.attribute_accuracy.is_empty(), json!(self.attribute_accuracy)),
            ("zero_shot", self.zero_shot.is_empty(), json!(self.zero_shot)),
        ] {
            if !empty {
                all.insert(key.into(), value);
            }
        }
        all.extend(self.sets.iter().map(|(set, figures)| (set_key(set), json!(figures))));
        all.extend(self.others.clone());
        all.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_unknown_is_kept() {
        let share = Estimate::of(1, 2);
        let mut results = Results {
            rerank_curve: Some(RerankCurve {
                n: vec![1, 2],
                similarity: vec![2.5.into(), f64::NAN.into()],
                ..RerankCurve::default()
            }),
            ..Results::default()
        };
        let breakdown = Breakdown { by_kind: [("blue ring", share)].into_iter().collect(), ..Breakdown::default() };
        let strict: Choices = [(Choice::BestOf(8), share), (Choice::Chance, Estimate::NOTHING)].into();
        let accuracy = Accuracy { strict: strict.clone(), lenient: strict, breakdown: breakdown.clone() };
        // In the order measured, which is not the alphabet's.
        results.attribute_accuracy.insert("seen", accuracy.clone());
        results.attribute_accuracy.insert("held_out", accuracy);
        results.zero_shot.insert("seen", share);
        let after_reconstruction = Some(AfterReconstruction { breakdown, lenient: Some(share) });
        results.sets.insert("validation", SetResults { bounds: Bounds::all(1.5.into()), after_reconstruction });
        results.others.insert("new".into(), json!({"x": 1}));
        let json = serde_json::to_value(&results).unwrap();
        assert_eq!(Results::read(json.as_object().unwrap()), results);
        let keys: Vec<&String> = json["attribute_accuracy"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["seen", "held_out"]);
        assert_eq!(json["elbo_validation"]["psnr"], 1.5);
        assert_eq!(json["attribute_accuracy"]["seen"]["lenient"]["best_of_8"]["value"], 0.5);
        assert_eq!(results.rows().len(), 2 * 5 + 1 + Bounds::QUANTITIES.len() + 2);
    }

    #[test]
    fn what_cannot_be_read_is_shown_as_it_is() {
        let json = json!({"zero_shot": {"seen": "often"}, "elbo_a": {"psnr": "good", "pairs": 1}, "elbo_b": {"psnr": 2, "new": 3}});
        let results = Results::read(json.as_object().unwrap());
        assert_eq!(results.others.keys().collect::<Vec<_>>(), ["zero_shot", "elbo_a"]);
        assert_eq!(results.sets.get("b").unwrap().bounds.psnr, Some(2.0.into()));
    }

    #[test]
    fn choices_are_read_back_and_the_best_of_most_comes_first() {
        let json = json!({"chance": 0, "best_of_1": 0, "any_of_16": 0, "best_of_16": 0, "by_kind": {}, "lenient": {}, "best_of_x": 0});
        let accuracy: Accuracy = serde_json::from_value(json).unwrap();
        let keys: Vec<String> = accuracy.strict.keys().map(Choice::to_string).collect();
        assert_eq!(keys, ["best_of_16", "best_of_1", "any_of_16", "chance"]);
        assert_eq!(Choice::BestOf(16).title(), "best of 16 by CLIP");
    }
}
