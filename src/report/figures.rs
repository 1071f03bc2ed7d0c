//! The numbers of `run.json`'s results as people read them: one name and one unit each, wherever they stand.

use serde_json::{Map, Value};

use super::axis::number;

/// A value with its 95 % interval.
#[derive(Debug, Clone)]
pub(crate) struct Estimate {
    pub value: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
    n: Option<u64>,
}

impl Estimate {
    pub fn new(json: &Value) -> Option<Self> {
        let at = |name: &str| json.get(name).and_then(Value::as_f64);
        if let Some(value) = json.as_f64() {
            return Some(Estimate { value, low: None, high: None, n: None });
        }
        Some(Estimate {
            value: at("value")?,
            low: at("low"),
            high: at("high"),
            n: json.get("n").and_then(Value::as_u64),
        })
    }

    /// The interval and the number of trials, where they are known.
    pub fn detail(&self, write: fn(f64) -> String) -> String {
        let interval = self.low.zip(self.high).map(|(low, high)| format!("{} to {}", write(low), write(high)));
        let trials = self.n.map(|n| format!("n = {n}"));
        [interval, trials].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", 100.0 * share).replace('-', "−") } else { "–".into() }
}

/// A key as words.
pub(crate) fn words(key: &str) -> String {
    key.replace('_', " ")
}

/// Keys with a name and a unit of their own.
const NAMED: [(&str, &str, &str); 23] = [
    ("psnr", "PSNR of reconstructions", "dB"),
    ("ssim", "SSIM of reconstructions", ""),
    ("codes_in_use", "codes in use", ""),
    ("perplexity", "codebook perplexity", "codes"),
    ("first_stage_hard_elbo_nats_per_dim", "first stage's ELBO, hard", "nats per value"),
    ("first_stage_relaxed_elbo_nats_per_dim", "first stage's ELBO, relaxed", "nats per value"),
    ("first_stage_elbo_gap_nats_per_dim", "first stage's ELBO, relaxed less hard", "nats per value"),
    ("joint_nats", "joint bound", "nats per pair"),
    ("joint_bits_per_dim", "joint bound", "bits per value"),
    ("joint_bits_per_dim_of_8_bit_pixels", "joint bound, 8-bit pixels", "bits per value"),
    ("joint_bits_per_value", "joint bound, 8-bit pixels", "bits per value"),
    ("joint_bits_per_value_as_density", "joint bound, as a density", "bits per value"),
    ("trained_beta", "β at the end of training", ""),
    ("joint_nats_at_trained_beta", "joint bound at that β", "nats per pair"),
    ("joint_bits_per_dim_at_trained_beta", "joint bound at that β", "bits per value"),
    ("picture_nats", "picture given its codes", "nats per picture"),
    ("image_token_nats", "image tokens", "nats per picture"),
    ("text_nats", "text tokens", "nats per caption"),
    ("similarity", "CLIP similarity", "100·cosine"),
    ("similarity_of_real_pictures", "CLIP similarity of real pictures", "100·cosine"),
    ("clip_score", "CLIPScore", ""),
    ("clip_score_of_real_pictures", "CLIPScore of real pictures", ""),
    ("attributes_after_reconstruction", "every attribute right after reconstruction", ""),
];

/// Keys that hold shares, or objects of shares.
const SHARES: [&str; 8] = [
    "attribute_accuracy",
    "attributes_after_reconstruction",
    "after_reconstruction",
    "zero_shot",
    "accuracy",
    "lenient_accuracy",
    "retrieval_of_captions",
    "retrieval_of_pictures",
];

/// A leaf of the results.
#[derive(Debug)]
pub(crate) struct Leaf<'a> {
    path: Vec<&'a str>,
    pub value: &'a Value,
}

impl Leaf<'_> {
    /// Whether `key` is its own, without those around it.
    pub fn is(&self, key: &str) -> bool {
        self.path.last() == Some(&key)
    }

    /// Whether it is the same quantity, of another set perhaps.
    pub fn same(&self, other: &Leaf<'_>) -> bool {
        self.path == other.path
    }

    /// What it is called.
    pub fn title(&self) -> String {
        let name = |key: &&str| match NAMED.iter().find(|named| named.0 == *key) {
            Some((_, name, _)) => (*name).to_owned(),
            None => words(key),
        };
        self.path.iter().map(name).collect::<Vec<_>>().join(" · ")
    }

    /// Its unit; empty where it has none.
    pub fn unit(&self) -> &'static str {
        let last = self.path.last().copied().unwrap_or_default();
        NAMED.iter().find(|named| named.0 == last).map_or("", |named| named.2)
    }

    /// How its numbers are written.
    pub fn write(&self) -> fn(f64) -> String {
        if self.path.iter().any(|key| SHARES.contains(key)) { percent } else { number }
    }

    /// The number in words, and its interval.
    pub fn figure(&self) -> (String, String) {
        match Estimate::new(self.value) {
            Some(estimate) => (self.write()(estimate.value), estimate.detail(self.write())),
            None => (plain(self.value), String::new()),
        }
    }

    /// The same with its unit in front of the interval, where it has one.
    pub fn text(&self) -> (String, String) {
        let (value, detail) = self.figure();
        let parts = [self.unit(), &detail].into_iter().filter(|part| !part.is_empty());
        (value, parts.collect::<Vec<_>>().join(" · "))
    }
}

/// The leaves of nested objects with their paths; an object with a value is a leaf.
pub(crate) fn leaves<'a>(path: &[&'a str], value: &'a Value) -> Vec<Leaf<'a>> {
    match value.as_object().filter(|_| Estimate::new(value).is_none()) {
        Some(object) => object.iter().flat_map(|(key, inner)| leaves(&[path, &[key]].concat(), inner)).collect(),
        None => vec![Leaf { path: path.to_vec(), value }],
    }
}

/// The most items of a list that are written.
const ITEMS: usize = 16;

/// A JSON value as people write it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::String(text) => text.clone(),
        // A seed or a count is shown with all its digits.
        Value::Number(n) if n.is_f64() => number(n.as_f64().unwrap_or(f64::NAN)),
        Value::Number(n) => n.to_string(),
        Value::Array(items) => {
            let shown = items.iter().take(ITEMS).map(plain).collect::<Vec<_>>().join(", ");
            if items.len() > ITEMS { format!("{shown}, … ({} in all)", items.len()) } else { shown }
        }
        Value::Object(_) => value.to_string(),
    }
}

/// How the pictures of a caption are chosen, with the words for it: the best of the most candidates first.
pub(crate) fn choices(accuracy: &Map<String, Value>) -> Vec<(String, String)> {
    let rows = accuracy.values().filter_map(Value::as_object);
    let mut keys: Vec<&String> = rows.flat_map(Map::keys).filter(|key| rank(key).is_some()).collect();
    keys.sort_unstable_by_key(|key| rank(key));
    keys.dedup();
    let name = |key: &String| match (key.strip_prefix("best_of_"), key.strip_prefix("any_of_")) {
        (Some("1"), _) => "the first drawn".to_owned(),
        (Some(n), _) => format!("best of {n} by CLIP"),
        (_, Some(n)) => format!("any of {n}"),
        _ => "chance: the best picture of another caption".to_owned(),
    };
    keys.into_iter().map(|key| (key.clone(), name(key))).collect()
}

/// The place of a choice in the table.
fn rank(key: &str) -> Option<(u8, std::cmp::Reverse<u64>)> {
    let count = |prefix: &str| key.strip_prefix(prefix)?.parse().ok().map(std::cmp::Reverse);
    match key {
        "chance" => Some((2, std::cmp::Reverse(0))),
        _ => count("best_of_").map(|n| (0, n)).or_else(|| count("any_of_").map(|n| (1, n))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_share_is_a_percentage_and_everything_else_has_its_unit() {
        let results = json!({
            "elbo_validation": {"psnr": 21.5, "attributes_after_reconstruction": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}},
            "zero_shot": {"seen": 0.25}, "other": {"x": 2},
        });
        let written: Vec<String> = leaves(&[], &results)
            .iter()
            .map(|leaf| format!("{}: {} ({})", leaf.title(), leaf.text().0, leaf.text().1))
            .collect();
        assert_eq!(
            written,
            [
                "elbo validation · PSNR of reconstructions: 21.5 (dB)",
                "elbo validation · every attribute right after reconstruction: 50.0 % (40.0 % to 60.0 %, n = 9)",
                "zero shot · seen: 25.0 % ()",
                "other · x: 2 ()",
            ]
        );
    }

    #[test]
    fn the_best_of_any_number_is_found_and_comes_first() {
        let accuracy = json!({"seen": {"chance": 0, "best_of_1": 0, "any_of_16": 0, "best_of_16": 0, "by_kind": {}, "lenient": {}, "best_of_x": 0}});
        let keys: Vec<String> = choices(accuracy.as_object().unwrap()).into_iter().map(|choice| choice.0).collect();
        assert_eq!(keys, ["best_of_16", "best_of_1", "any_of_16", "chance"]);
    }
}
