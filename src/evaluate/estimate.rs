//! Figures with their uncertainty.

use serde::de::{Deserializer, Error};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The normal distribution's 97.5 % quantile.
pub(super) const Z: f64 = 1.959_964;

/// A figure, with its 95 % interval where it has one. As JSON it is a number, or an object of `value`, `low`, `high` and `n`; what
/// is no number is null.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    /// What was found.
    pub value: f64,
    /// The interval: Wilson's for a share.
    pub interval: Option<[f64; 2]>,
    /// How many it was found in, where that is known.
    pub n: Option<usize>,
}

/// By the bits of a float: what is not there equals itself.
impl PartialEq for Estimate {
    fn eq(&self, other: &Self) -> bool {
        let bits = |of: &Estimate| (of.value.to_bits(), of.interval.map(|ends| ends.map(f64::to_bits)), of.n);
        bits(self) == bits(other)
    }
}

impl From<f64> for Estimate {
    /// A figure alone.
    fn from(value: f64) -> Self {
        Estimate { value, interval: None, n: None }
    }
}

impl Estimate {
    /// Of no trial: no figure.
    pub const NOTHING: Self = Estimate { value: f64::NAN, interval: Some([f64::NAN; 2]), n: Some(0) };

    /// `hits` of `n` trials.
    pub fn of(hits: usize, n: usize) -> Self {
        if n == 0 {
            return Estimate::NOTHING;
        }
        let (p, trials) = (hits as f64 / n as f64, n as f64);
        let z2 = Z * Z / trials;
        let centre = (p + z2 / 2.0) / (1.0 + z2);
        let half = Z / (1.0 + z2) * (p * (1.0 - p) / trials + z2 / (4.0 * trials)).sqrt();
        Estimate { value: p, interval: Some([(centre - half).max(0.0), (centre + half).min(1.0)]), n: Some(n) }
    }

    /// The mean of `values`, normal.
    pub fn mean(values: &[f64]) -> Self {
        if values.is_empty() {
            return Estimate::NOTHING;
        }
        let (mean, deviation) = moments(values);
        Estimate::normal(mean, deviation / (values.len().max(1) as f64).sqrt(), values.len())
    }

    /// The mean of shares, which its interval does not leave.
    pub fn mean_share(shares: &[f64]) -> Self {
        if shares.is_empty() {
            return Estimate::NOTHING;
        }
        let mean = Estimate::mean(shares);
        Estimate { interval: mean.interval.map(|[low, high]| [low.max(0.0), high.min(1.0)]), ..mean }
    }

    /// `value` with the spread of what it is on other draws, such as resampled ones.
    pub fn resampled(value: f64, others: &[f64], n: usize) -> Self {
        Estimate::normal(value, moments(others).1, n)
    }

    fn normal(value: f64, deviation: f64, n: usize) -> Self {
        Estimate { value, interval: Some([value - Z * deviation, value + Z * deviation]), n: Some(n) }
    }

    /// The figure without its interval.
    pub fn alone(self) -> Self {
        self.value.into()
    }

    /// A figure as JSON says it.
    pub fn read(json: &Value) -> Option<Self> {
        let at = |name: &str| json.get(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
        if let Some(value) = json.as_f64() {
            return Some(value.into());
        }
        let n = json.get("n").and_then(Value::as_u64).map(|n| n as usize);
        Some(Estimate { value: at("value")?, interval: at("low").zip(at("high")).map(|(low, high)| [low, high]), n })
    }
}

/// A count is written as one.
fn number(value: f64) -> Value {
    const MOST: f64 = 9e15;
    if value.fract() == 0.0 && value.abs() < MOST { json!(value as i64) } else { json!(value) }
}

impl Serialize for Estimate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = match (self.interval, self.n) {
            (None, None) => number(self.value),
            (Some([low, high]), n) => json!({"value": self.value, "low": low, "high": high, "n": n}),
            (None, n) => json!({"value": self.value, "n": n}),
        };
        json.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Estimate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(f64::NAN.into()),
            json => Estimate::read(&json).ok_or_else(|| D::Error::custom(format!("expected a figure, got {json}"))),
        }
    }
}

/// Mean and sample deviation.
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_is_no_figure() {
        for nothing in [Estimate::of(0, 0), Estimate::mean(&[]), Estimate::mean_share(&[])] {
            let json = json!(nothing);
            assert!(json["value"].is_null() && json["n"] == 0, "{json}");
            assert_eq!(serde_json::from_value::<Estimate>(json).unwrap(), nothing);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for figure in [
            Estimate::from(2.5),
            3.0.into(),
            f64::NAN.into(),
            Estimate::of(1, 3),
            Estimate { n: Some(2), ..1.5.into() },
        ] {
            assert_eq!(serde_json::from_value::<Estimate>(json!(figure)).unwrap(), figure);
        }
        assert_eq!((json!(Estimate::from(3.0)), json!(Estimate::from(2.5))), (json!(3), json!(2.5)));
        for wrong in [json!("2"), json!([1]), json!({"low": 1})] {
            assert!(serde_json::from_value::<Estimate>(wrong).is_err());
        }
    }

    #[test]
    fn wilsons_interval_is_the_textbooks() {
        let ends = |estimate: Estimate| estimate.interval.unwrap();
        let [low, high] = ends(Estimate::of(7, 10));
        assert!((low - 0.3968).abs() < 1e-3 && (high - 0.8922).abs() < 1e-3, "{low} {high}");
        let e = Estimate::mean(&[1.0, 2.0, 3.0, 4.0]);
        assert!((e.value - 2.5).abs() < 1e-12 && (ends(e)[1] - 2.5 - 1.959_964 * 0.645_497).abs() < 1e-5, "{e:?}");
        let e = Estimate::resampled(7.0, &[1.0, 2.0, 3.0], 9);
        assert!((e.value, e.n) == (7.0, Some(9)) && (ends(e)[0] - 7.0 + 1.959_964).abs() < 1e-5, "{e:?}");
        assert!(ends(Estimate::mean_share(&[0.0, 0.0, 0.1]))[0] == 0.0);
        let [low, high] = ends(Estimate::of(10, 10));
        assert!(high <= 1.0 && low < 0.75);
    }
}
