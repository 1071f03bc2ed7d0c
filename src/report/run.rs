//! A run directory as the report reads it: finished, failed or still growing. Only `run.json` must be there; whatever
//! else is missing or damaged is noted in words and the rest is shown.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::evaluate::results::{Evaluation, Results};
use crate::harness::run_dir;
use crate::spec::is_file;
use crate::{Error, Result};

/// Where the sheets of each stage are listed.
const PROGRESS: [(&str, &str); 3] = [
    ("dvae", "images/progress/dvae.json"),
    ("vqvae", "images/progress/vqvae.json"),
    ("transformer", "images/progress/transformer.json"),
];

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
    /// `images/progress/<stage>.json`, of the stages that have one.
    pub progress: Vec<(&'static str, Progress)>,
    /// `masks.json`.
    pub masks: Option<Masks>,
    /// Of `run.json`, once there are any.
    pub results: Option<Results>,
    /// `evaluation.json`, where the run was evaluated.
    pub evaluation: Option<Evaluation>,
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
}

/// A checkpoint that was chosen by a figure of its validation.
#[derive(Debug, Clone, Deserialize)]
pub struct Kept {
    /// The step after which it was written.
    pub step: u64,
    /// The key of the figure in `metrics.jsonl`.
    #[serde(default)]
    pub metric: Option<String>,
    /// The figure there.
    #[serde(default)]
    pub value: Option<f64>,
    /// The steps of the stage.
    #[serde(default)]
    pub of: Option<u64>,
}

/// The samples for one caption.
#[derive(Debug, Deserialize)]
pub struct Sampled {
    /// As the user wrote it.
    pub caption: String,
    /// Which captions it belongs to: "seen", "held_out", …
    #[serde(default)]
    pub split: Option<String>,
    /// A PNG of a real picture of the caption, relative to the run directory.
    #[serde(default)]
    pub real: Option<String>,
    /// In the order drawn.
    pub candidates: Vec<Candidate>,
}

/// One picture drawn.
#[derive(Debug, Deserialize)]
pub struct Candidate {
    /// A PNG, relative to the run directory.
    pub file: String,
    /// CLIP's similarity of picture and caption, 100·cosine.
    #[serde(default, alias = "clip")]
    pub similarity: Option<f64>,
    /// Whether the oracle found every attribute that the caption names.
    #[serde(default)]
    pub correct: Option<bool>,
    /// The same by a reading that takes the nearest shape however poor the fit.
    #[serde(default)]
    pub lenient: Option<bool>,
}

/// Small sheets of what a stage made of the same pairs while it trained: a row for each caption.
#[derive(Debug, Deserialize)]
pub struct Progress {
    /// The captions of the rows.
    pub captions: Vec<String>,
    /// A PNG of the real pictures, relative to the run directory.
    #[serde(default)]
    pub real: Option<String>,
    /// In the order of the steps.
    pub steps: Vec<Sheet>,
}

/// The sheet of one step.
#[derive(Debug, Deserialize)]
pub struct Sheet {
    /// The step after which it was made.
    pub step: u64,
    /// A PNG, relative to the run directory.
    pub file: String,
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
        let mut facts: Map<String, Value> = serde_json::from_slice(&facts)
            .map_err(|error| Error::data(&facts_path, format!("expected a JSON object, got: {error}")))?;
        // One that was killed cannot say that it is not running.
        if facts.get("status").is_some_and(Value::is_string) {
            facts["status"] = run_dir::status(path, &facts["status"]).into();
        }
        let results = facts.get("results").and_then(Value::as_object).filter(|results| !results.is_empty());
        let results = results.map(Results::read);
        let mut absent = Vec::new();
        let stages = bytes(path, "metrics.jsonl", &mut absent).map(|lines| stages(&lines, &mut absent));
        let mut progress = Vec::new();
        for (stage, name) in PROGRESS {
            // Runs of before have none.
            if path.join(name).exists() {
                progress.extend(json(path, name, &mut absent).map(|sheets| (stage, sheets)));
            }
        }
        let mut specs = Vec::new();
        for name in ["spec.yaml", "spec.resolved.yaml"] {
            specs
                .extend(bytes(path, name, &mut absent).map(|text| (name, String::from_utf8_lossy(&text).into_owned())));
        }
        Ok(Run {
            path: path.to_owned(),
            facts,
            results,
            stages: stages.unwrap_or_default(),
            samples: json(path, "images/samples.json", &mut absent).unwrap_or_default(),
            reconstructions: json(path, "images/reconstructions.json", &mut absent).unwrap_or_default(),
            progress,
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

    /// The seconds of a stage that was trained here, of "evaluation", or of the "total": all sessions of the run together.
    pub fn seconds(&self, of: &str) -> Option<f64> {
        let seconds = self.facts.get("timings")?.get(of)?.as_f64();
        seconds.filter(|seconds| *seconds > 0.0 && self.from(of).is_none())
    }

    /// The run that a stage was taken from whose curves are here, but which was not trained here.
    pub fn from(&self, stage: &str) -> Option<&str> {
        let about = self.facts.get("stages")?.get(stage)?;
        ["lent", "from"].iter().find_map(|key| about.get(key)?.as_str())
    }

    /// The sections of the spec that are published files, which have no curves: a title, and the file.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let file = |(section, title)| {
            let from = self.spec_value(section, "from")?;
            from.as_str().filter(|from| is_file(Some(from))).map(|from| (title, from.to_owned()))
        };
        [("first_stage", "First stage"), ("clip", "CLIP")].into_iter().filter_map(file).collect()
    }

    /// The checkpoint of `stage` that was kept.
    pub fn kept(&self, stage: &str) -> Option<Kept> {
        serde_json::from_value(self.facts.get("kept")?.get(stage)?.clone()).ok()
    }

    /// Things that want a look: (stage, text).
    pub fn warnings(&self) -> Vec<(&str, &str)> {
        let warnings = self.facts.get("warnings").and_then(Value::as_array).into_iter().flatten();
        warnings.filter_map(|w| Some((w.get("stage")?.as_str()?, w.get("text")?.as_str()?))).collect()
    }

    /// A number of the resolved spec.
    pub fn spec_number(&self, section: &str, key: &str) -> Option<u64> {
        self.spec_value(section, key)?.as_u64()
    }

    fn spec_value(&self, section: &str, key: &str) -> Option<serde_yaml::Value> {
        let text = &self.specs.iter().find(|spec| spec.0 == "spec.resolved.yaml")?.1;
        serde_yaml::from_str::<serde_yaml::Value>(text).ok()?.get(section)?.get(key).cloned()
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
        assert_eq!((stages.len(), stages[0].step, absent.len()), (1, 1, 0));
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
