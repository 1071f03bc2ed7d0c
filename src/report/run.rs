//! A run directory as the report reads it: finished, failed or still growing. Only `run.json` must be there; whatever
//! else is missing or damaged is noted in words and the rest is shown.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Everything the report shows, read once.
#[derive(Debug)]
pub struct Run {
    /// The directory.
    pub path: PathBuf,
    /// `run.json`.
    pub facts: Map<String, Value>,
    /// `metrics.jsonl`, by stage in order of appearance.
    pub stages: Vec<Stage>,
    /// `images/samples.json`.
    pub samples: Vec<Sampled>,
    /// `images/reconstructions.json`.
    pub reconstructions: Vec<Reconstruction>,
    /// `masks.json`.
    pub masks: Option<Masks>,
    /// `evaluation.json`, where the run was evaluated.
    pub evaluation: Option<Value>,
    /// `spec.yaml` and `spec.resolved.yaml`, those that are there.
    pub specs: Vec<(&'static str, String)>,
    /// What could not be shown and why, by file.
    pub absent: Vec<(&'static str, String)>,
}

/// One stage's curves.
#[derive(Debug, Default)]
pub struct Stage {
    /// "dvae", "transformer", "clip", …
    pub name: String,
    /// The values of each key by step. A step written again after a resume replaces what was there; NaN is a gap.
    pub curves: Vec<(String, BTreeMap<u64, f64>)>,
    /// The last step written.
    pub step: u64,
    /// The seconds of the last line.
    pub time: Option<f64>,
}

/// The pictures drawn for one caption.
#[derive(Debug, Deserialize)]
pub struct Sampled {
    /// As the user wrote it.
    pub caption: String,
    /// Which captions it belongs to: "seen", "held_out", …
    #[serde(default)]
    pub split: Option<String>,
    /// In the order drawn.
    pub candidates: Vec<Candidate>,
}

/// One picture drawn.
#[derive(Debug, Deserialize)]
pub struct Candidate {
    /// A PNG, relative to the run directory.
    pub file: String,
    /// 100·cosine by CLIP: larger fits the caption better. Runs before this name called it `clip`.
    #[serde(default, alias = "clip")]
    pub similarity: Option<f64>,
    /// Whether the oracle found every attribute that the caption names, by its strict rule.
    #[serde(default)]
    pub correct: Option<bool>,
    /// The same by its lenient rule.
    #[serde(default)]
    pub lenient: Option<bool>,
}

/// A picture and what the first stage makes of it.
#[derive(Debug, Deserialize)]
pub struct Reconstruction {
    /// The picture's caption.
    #[serde(default)]
    pub caption: String,
    /// A PNG, relative to the run directory.
    pub original: String,
    /// A PNG, relative to the run directory.
    pub reconstruction: String,
    /// Decibels.
    #[serde(default)]
    pub psnr: Option<f64>,
}

/// The attention patterns of the transformer.
#[derive(Debug, Deserialize)]
pub struct Masks {
    /// Text positions; the image's follow.
    pub text: usize,
    /// Image positions per side.
    pub grid: usize,
    /// The pattern of each layer, first to last.
    #[serde(default)]
    pub layers: Vec<String>,
    /// For each pattern a string of 0 and 1 per query position, one digit per key position.
    pub patterns: BTreeMap<String, Vec<String>>,
}

impl Run {
    /// Reads the run directory at `path`.
    ///
    /// # Errors
    /// [`Error::Data`] if `run.json` is missing or is not a JSON object; [`Error::Io`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Run> {
        let facts_path = path.join("run.json");
        let facts = match fs::read(&facts_path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(Error::data(path, "not a run directory: expected a run.json in it, found none"));
            }
            facts => facts.map_err(Error::io("read", &facts_path))?,
        };
        let facts = serde_json::from_slice(&facts)
            .map_err(|error| Error::data(&facts_path, format!("expected a JSON object, got: {error}")))?;
        let mut absent = Vec::new();
        let stages = bytes(path, "metrics.jsonl", &mut absent).map(|lines| stages(&lines, &mut absent));
        let mut specs = Vec::new();
        for name in ["spec.yaml", "spec.resolved.yaml"] {
            specs
                .extend(bytes(path, name, &mut absent).map(|text| (name, String::from_utf8_lossy(&text).into_owned())));
        }
        Ok(Run {
            path: path.to_owned(),
            facts,
            stages: stages.unwrap_or_default(),
            samples: json(path, "images/samples.json", &mut absent).unwrap_or_default(),
            reconstructions: json(path, "images/reconstructions.json", &mut absent).unwrap_or_default(),
            masks: json(path, "masks.json", &mut absent),
            evaluation: path
                .join("evaluation.json")
                .exists()
                .then(|| json(path, "evaluation.json", &mut absent))
                .flatten(),
            specs,
            absent,
        })
    }

    /// The fact at `name` as text, where it is there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.facts.get(name)?.as_str()
    }

    /// The bytes of a file that the run's own lists name. Only files below the run directory: a run copied from
    /// elsewhere must not pull others into a report that will be passed on.
    pub fn listed(&self, file: &str) -> std::result::Result<Vec<u8>, String> {
        let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || file.is_empty() {
            return Err("lies outside the run directory".into());
        }
        fs::read(self.path.join(file)).map_err(|error| reason(&error))
    }
}

fn reason(error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::NotFound { "not written".into() } else { error.to_string() }
}

fn bytes(run: &Path, name: &'static str, absent: &mut Vec<(&'static str, String)>) -> Option<Vec<u8>> {
    fs::read(run.join(name)).map_err(|error| absent.push((name, reason(&error)))).ok()
}

fn json<T: DeserializeOwned>(run: &Path, name: &'static str, absent: &mut Vec<(&'static str, String)>) -> Option<T> {
    let text = bytes(run, name, absent)?;
    serde_json::from_slice(&text).map_err(|error| absent.push((name, format!("cannot be read: {error}")))).ok()
}

/// Collects the lines of `metrics.jsonl`. The last line may be half-written; any other that does not parse is counted.
fn stages(text: &[u8], absent: &mut Vec<(&'static str, String)>) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut broken = 0;
    let mut lines = text.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let Some((name, step, fields)) = metrics_line(line) else {
            let unfinished = lines.peek().is_none();
            broken += usize::from(!unfinished && !line.trim_ascii().is_empty());
            continue;
        };
        let index = stages.iter().position(|stage| stage.name == name).unwrap_or_else(|| {
            stages.push(Stage { name, ..Stage::default() });
            stages.len() - 1
        });
        stages[index].add(step, fields);
    }
    if broken > 0 {
        let lines = if broken == 1 { "1 line that is" } else { &format!("{broken} lines that are") };
        absent.push(("metrics.jsonl", format!("{lines} not a JSON object with a stage and a step: left out")));
    }
    stages
}

fn metrics_line(line: &[u8]) -> Option<(String, u64, Map<String, Value>)> {
    let fields: Map<String, Value> = serde_json::from_slice(line).ok().or_else(|| {
        // Some writers put NaN and Infinity, which JSON does not know, where this project puts null.
        let text = String::from_utf8_lossy(line);
        let text =
            ["-Infinity", "Infinity", "NaN"].iter().fold(text.into_owned(), |text, word| text.replace(word, "null"));
        serde_json::from_str(&text).ok()
    })?;
    Some((fields.get("stage")?.as_str()?.to_owned(), fields.get("step")?.as_u64()?, fields))
}

impl Stage {
    fn add(&mut self, step: u64, fields: Map<String, Value>) {
        self.step = step;
        self.time = fields.get("time").and_then(Value::as_f64).or(self.time);
        for (key, value) in fields {
            let value = if value.is_null() { Some(f64::NAN) } else { value.as_f64() };
            let Some(value) = value.filter(|_| !["stage", "step", "time"].contains(&key.as_str())) else { continue };
            match self.curves.iter_mut().find(|curve| curve.0 == key) {
                Some(curve) => drop(curve.1.insert(step, value)),
                None => self.curves.push((key, BTreeMap::from([(step, value)]))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Stage>, Vec<(&'static str, String)>) {
        let mut absent = Vec::new();
        (stages(text.as_bytes(), &mut absent), absent)
    }

    #[test]
    fn a_half_written_last_line_is_not_an_error_but_others_are_told() {
        let good = "{\"stage\":\"dvae\",\"step\":1,\"time\":2.5,\"loss\":3.0}\n";
        let (stages, absent) = read(&format!("{good}{{\"stage\":\"dvae\",\"st"));
        assert_eq!((stages.len(), stages[0].step, stages[0].time, absent.len()), (1, 1, Some(2.5), 0));
        let (_, absent) = read(&format!("{good}garbage\n\n[1]\n{good}"));
        assert!(absent[0].1.starts_with("2 lines"), "{absent:?}");
    }

    #[test]
    fn null_and_nan_are_gaps() {
        let (stages, absent) = read(
            "{\"stage\":\"a\",\"step\":1,\"x\":null,\"word\":\"no\"}\n{\"stage\":\"a\",\"step\":2,\"x\":NaN}\n{\"stage\":\"a\",\"step\":3,\"x\":4}\n",
        );
        let values: Vec<f64> = stages[0].curves[0].1.values().copied().collect();
        assert!(values[0].is_nan() && values[1].is_nan() && values[2] == 4.0);
        assert_eq!((stages[0].curves.len(), absent.len()), (1, 0));
    }

    #[test]
    fn a_resumed_run_overwrites_the_steps_it_repeats() {
        let line = |step: u64, loss: u64| format!("{{\"stage\":\"a\",\"step\":{step},\"loss\":{loss}}}\n");
        let (stages, _) = read(&[line(1, 9), line(2, 8), line(3, 7), line(2, 5)].concat());
        let curve: Vec<(u64, f64)> = stages[0].curves[0].1.iter().map(|(step, loss)| (*step, *loss)).collect();
        assert_eq!((curve, stages[0].step), (vec![(1, 9.0), (2, 5.0), (3, 7.0)], 2));
    }
}
