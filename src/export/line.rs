//! A line of `metrics.jsonl`, taken apart for other programs.

use serde_json::{Map, Value};

/// One measurement: figures of a stage after a step.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// `dvae`, `vqvae`, `transformer` or `clip`.
    pub stage: String,
    /// Updates.
    pub step: u64,
    /// Seconds since the run began, pauses left out.
    pub time: f64,
    /// By name, in the order of the line; what is no number there is NaN.
    pub figures: Vec<(String, f64)>,
}

impl Line {
    /// `None` for what is no measurement.
    pub fn parse(text: &[u8]) -> Option<Line> {
        let mut fields: Map<String, Value> = serde_json::from_slice(text).ok()?;
        let Value::String(stage) = fields.shift_remove("stage")? else { return None };
        let step = fields.shift_remove("step")?.as_u64()?;
        let time = fields.shift_remove("time").and_then(|time| time.as_f64()).unwrap_or(0.0);
        let number = |value: &Value| if value.is_null() { Some(f64::NAN) } else { value.as_f64() };
        let figures = fields.into_iter().filter_map(|(name, value)| Some((name, number(&value)?))).collect();
        Some(Line { stage, step, time, figures })
    }

    /// The measurements among whole lines, and how many are none.
    pub fn all(lines: &[u8]) -> (Vec<Line>, usize) {
        let texts: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').filter(|text| !text.is_empty()).collect();
        let read: Vec<Line> = texts.iter().copied().filter_map(Line::parse).collect();
        let bad = texts.len() - read.len();
        (read, bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_measurement_is_counted() {
        let good = r#"{"stage":"clip","step":11,"time":0.5,"loss":2,"lr":null,"word":"x"}"#;
        let (lines, bad) = Line::all(
            format!("{good}\nnothing\n\n{{\"stage\":\"clip\"}}\n[1]\n{{\"stage\":1,\"step\":2}}\n").as_bytes(),
        );
        assert_eq!((lines.len(), bad), (1, 4));
        let Line { stage, step, time, figures } = &lines[0];
        assert_eq!((stage.as_str(), *step, *time), ("clip", 11, 0.5));
        assert_eq!((figures[0].clone(), figures[1].0.as_str()), (("loss".to_owned(), 2.0), "lr"));
        assert!(figures[1].1.is_nan() && figures.len() == 2);
    }
}
