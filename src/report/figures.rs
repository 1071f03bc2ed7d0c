//! Figures as people read them.

use super::axis::number;
use crate::evaluate::estimate::Estimate;
pub(crate) use crate::evaluate::results::words;
use crate::evaluate::results::{ResultRow, SHARE};
use serde_json::Value;

/// The interval of a figure and the number of trials, where they are known.
pub(crate) fn detail(estimate: &Estimate, write: fn(f64) -> String) -> String {
    let known = estimate.interval.filter(|ends| ends.iter().all(|end| end.is_finite()));
    let interval = known.map(|[low, high]| format!("{} to {}", write(low), write(high)));
    let trials = estimate.n.map(|n| format!("n = {n}"));
    [interval, trials].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How the figures of a row are written.
fn write(row: &ResultRow) -> fn(f64) -> String {
    if row.unit == SHARE { percent } else { figure }
}

/// A number, or a dash where there is none.
fn figure(value: f64) -> String {
    if value.is_finite() { number(value) } else { "–".into() }
}

/// A row's unit as it is written beside its figure: a percentage has its own.
pub(crate) fn unit(row: &ResultRow) -> &'static str {
    if row.unit == SHARE { "" } else { row.unit }
}

/// A row's figure in words, and its interval.
pub(crate) fn figures(row: &ResultRow) -> (String, String) {
    (write(row)(row.estimate.value), detail(&row.estimate, write(row)))
}

/// The same with the unit in front of the interval, where there is one.
pub(crate) fn with_unit(row: &ResultRow) -> (String, String) {
    let (value, detail) = figures(row);
    let parts = [unit(row), &detail].into_iter().filter(|part| !part.is_empty());
    (value, parts.collect::<Vec<_>>().join(" · "))
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", 100.0 * share).replace('-', "−") } else { "–".into() }
}

/// A value of nested objects with the names that lead to it.
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

    /// What it is called.
    pub fn title(&self) -> String {
        self.path.iter().map(|key| words(key)).collect::<Vec<_>>().join(" · ")
    }

    /// The number in words, and its interval.
    pub fn text(&self) -> (String, String) {
        match Estimate::read(self.value) {
            Some(estimate) => (figure(estimate.value), detail(&estimate, figure)),
            None => (plain(self.value), String::new()),
        }
    }
}

/// The leaves of nested objects; an object with a value is a leaf.
pub(crate) fn leaves<'a>(path: &[&'a str], value: &'a Value) -> Vec<Leaf<'a>> {
    match value.as_object().filter(|_| Estimate::read(value).is_none()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::results::Results;
    use serde_json::json;

    #[test]
    fn a_share_is_a_percentage_and_everything_else_has_its_unit() {
        let results = json!({
            "elbo_validation": {"psnr": 21.5, "attributes_after_reconstruction": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}},
            "zero_shot": {"seen": 0.25}, "other": {"x": 2},
        });
        let results = Results::read(results.as_object().unwrap());
        let row = |row: &ResultRow| format!("{}: {} ({})", row.title, with_unit(row).0, with_unit(row).1);
        let mut written: Vec<String> = results.rows().iter().map(row).collect();
        let others = results.others.iter().flat_map(|(key, value)| leaves(&[key], value));
        written.extend(others.map(|leaf| format!("{}: {} ({})", leaf.title(), leaf.text().0, leaf.text().1)));
        assert_eq!(
            written,
            [
                "zero-shot · seen: 25.0 % ()",
                "validation · PSNR of reconstructions: 21.5 (dB)",
                "validation · every attribute right after reconstruction: 50.0 % (40.0 % to 60.0 %, n = 9)",
                "other · x: 2 ()",
            ]
        );
    }
}
