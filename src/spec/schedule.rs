//! Schedules: values that a spec lets go from one to another, as pure functions of the step (paper A.2, B.2).

use super::kinds::{any, not_negative, positive};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How a value goes from `from` to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// to + (from − to)·½(1 + cos πt): the paper's for all of stage 1.
    Cosine,
    /// from + (to − from)·t.
    Linear,
}

/// A value as a closed-form function of the step: `from` until `warmup` is over, then along `curve` to `to` at step `steps`, then
/// constant. A number alone is a value that never changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Schedule {
    /// The value at step 0 (after the warm-up).
    pub from: f64,
    /// The value from step `steps` on.
    pub to: f64,
    /// When `to` is reached; 0: at the end of the stage.
    pub steps: u64,
    /// The shape between.
    pub curve: Curve,
    /// A linear rise from 0 to `from` over this many first steps (learning rates only).
    pub warmup: u64,
}

/// A [`Schedule`] as it may be written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Constant(f64),
    Whole(Parts),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parts {
    from: f64,
    to: f64,
    steps: u64,
    curve: Curve,
    warmup: u64,
}

impl Default for Parts {
    fn default() -> Self {
        let Schedule { from, to, steps, curve, warmup } = Schedule::default();
        Parts { from, to, steps, curve, warmup }
    }
}

impl From<Written> for Schedule {
    fn from(written: Written) -> Self {
        match written {
            Written::Constant(value) => Schedule::cosine(value, value, 0),
            Written::Whole(Parts { from, to, steps, curve, warmup }) => Schedule { from, to, steps, curve, warmup },
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule { from: 1.0, to: 1.0, steps: 0, curve: Curve::Cosine, warmup: 0 }
    }
}

impl Schedule {
    /// `from` → `to` along a cosine over `steps` (0: the whole stage).
    pub const fn cosine(from: f64, to: f64, steps: u64) -> Self {
        Schedule { from, to, steps, curve: Curve::Cosine, warmup: 0 }
    }

    /// The value at `step` (counted from 0) of a stage of `total` steps. A `steps` of 0 means the whole stage.
    pub fn at(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup {
            return self.from * (step + 1) as f64 / self.warmup as f64;
        }
        let length = if self.steps == 0 { total } else { self.steps };
        let length = length.saturating_sub(self.warmup).max(1);
        let t = ((step - self.warmup) as f64 / length as f64).min(1.0);
        match self.curve {
            Curve::Cosine => self.to + (self.from - self.to) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos()),
            Curve::Linear => self.from + (self.to - self.from) * t,
        }
    }
}

pub fn schedule_above_zero(generator: &mut SchemaGenerator) -> Schema {
    schedule(positive(generator), generator)
}

pub fn schedule_from_zero(generator: &mut SchemaGenerator) -> Schema {
    schedule(not_negative(generator), generator)
}

/// A number of `range`, or how it goes from one to another.
fn schedule(range: Schema, generator: &mut SchemaGenerator) -> Schema {
    let described = |schema: Schema, text: &str| {
        let mut schema = schema;
        schema.insert("description".into(), text.into());
        schema
    };
    let curve = generator.subschema_for::<Curve>();
    let parts = json_schema!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "from": described(range.clone(), "The value at step 0 (after the warm-up)."),
            "to": described(range.clone(), "The value from step `steps` on."),
            "steps": described(any(generator), "When `to` is reached; 0: at the end of the stage."),
            "curve": described(curve, "The shape between."),
            "warmup": described(
                any(generator),
                "A linear rise from 0 to `from` over this many first steps (learning rates only)."
            ),
        },
    });
    json_schema!({"anyOf": [range, parts]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_temperature_is_a_cosine_from_1_to_a_sixteenth() {
        let tau = Schedule::cosine(1.0, 1.0 / 16.0, 150_000);
        assert_eq!(tau.at(0, 0), 1.0);
        assert!((tau.at(75_000, 0) - (1.0 + 1.0 / 16.0) / 2.0).abs() < 1e-12);
        assert_eq!(tau.at(150_000, 0), 1.0 / 16.0);
        assert_eq!(tau.at(3_000_000, 0), 1.0 / 16.0);
    }

    #[test]
    fn a_warmup_rises_linearly_and_then_the_curve_begins() {
        let lr = Schedule { from: 4.5e-4, to: 0.0, steps: 0, curve: Curve::Linear, warmup: 10 };
        assert!((lr.at(0, 110) - 4.5e-5).abs() < 1e-18);
        assert_eq!(lr.at(9, 110), 4.5e-4);
        assert_eq!(lr.at(10, 110), 4.5e-4);
        assert!((lr.at(60, 110) - 2.25e-4).abs() < 1e-15);
        assert_eq!(lr.at(110, 110), 0.0);
    }
}
