//! A stage that a spec takes `from` another run: what that run's spec says of it, this one says from then on, so that whoever reads
//! the spec later knows what the weights are, whether the other run is still there or not.

use super::loaded::Settled;
use super::run_dir;
use crate::import::Weights;
use crate::inference::published;
use crate::spec::parse::Node;
use crate::spec::problem::{Place, Problem};
use crate::spec::{defaults, is_file};
use serde_yaml::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The sections of stages.
const STAGES: [&str; 3] = ["first_stage", "transformer", "clip"];
/// The file of a published first stage, and of a published CLIP, in the folder of a run that uses it.
pub const FIRST_STAGE: &str = "first_stage.safetensors";
/// As [`FIRST_STAGE`].
pub const CLIP: &str = "clip.safetensors";
/// Differences that are said.
const NAMED: usize = 8;

/// A run that lends.
struct Lender {
    /// As the spec would name it: the run itself, not the folder of which it is the newest.
    path: String,
    /// Its spec.
    spec: Value,
}

/// The runs that specs of one folder take stages from. Each is read once.
pub(super) struct Lenders<'a> {
    folder: &'a Path,
    presets: &'a [&'a str],
    read: Mutex<HashMap<String, Result<Arc<Lender>, String>>>,
}

impl<'a> Lenders<'a> {
    /// Of specs in `folder`.
    pub fn new(folder: &'a Path, presets: &'a [&'a str]) -> Self {
        Lenders { folder, presets, read: Mutex::default() }
    }

    /// `given` with what its lenders say of their stages.
    pub fn settle(&self, root: &Node, mut given: Value) -> Result<Settled, Vec<Problem>> {
        let (mut said, mut problems) = (Vec::new(), Vec::new());
        let preset = given["preset"].as_str().unwrap_or_default().to_owned();
        for stage in STAGES {
            let Some(from) = given[stage]["from"].as_str().map(str::to_owned) else { continue };
            let nowhere = Place { source: 0, start: 0, end: 0 };
            let place = root.at(&format!("{stage}.from")).map_or(nowhere, |node| node.place.clone());
            let mut wrong = |what: String, hint: &str| problems.push(Problem::new(&place, what, hint));
            if stage == "transformer" && given["first_stage"]["from"].as_str().is_none() {
                let what = "`transformer.from` needs the first stage whose codes it has learned";
                wrong(what.into(), &format!("say first_stage: {{from: {from}}} too"));
                continue;
            }
            if is_file(Some(&from)) {
                let path = self.folder.join(&from);
                if stage == "transformer" {
                    wrong("`transformer.from` must be a run: no published transformer has a preset's sizes".into(), "");
                } else if !path.is_file() {
                    wrong(
                        format!("`{stage}.from`: there is no file {}", path.display()),
                        "`experiment import` makes one",
                    );
                } else if let Err(error) = Weights::open(&path) {
                    wrong(format!("`{stage}.from`: {error}"), "`experiment import` makes one");
                } else if stage == "clip"
                    && let Err(error) = published::clip::beside(&path)
                {
                    wrong(format!("`{stage}.from`: {error}"), "");
                }
                continue;
            }
            let lender = match self.lender(&from) {
                Ok(lender) => lender,
                Err(why) => {
                    wrong(format!("`{stage}.from`: {why}"), "a path is relative to the spec's folder");
                    continue;
                }
            };
            let theirs = lender.spec["preset"].as_str().unwrap_or_default();
            if let (Some(ours), Some(other)) = (defaults::geometry(&preset), defaults::geometry(theirs))
                && stage == "first_stage"
                && ours != other
            {
                let sizes = |[side, grid, codes]: [usize; 3]| {
                    format!("pictures of {side} pixels a side to {grid}×{grid} of {codes} codes")
                };
                let what = format!(
                    "`{stage}.from`: preset {preset} takes {}, the run's {theirs} {}",
                    sizes(ours),
                    sizes(other)
                );
                wrong(what, "take a preset of the same first stage");
                continue;
            }
            self.lend(&lender, stage, &mut given, &mut said);
        }
        if problems.is_empty() { Ok(Settled { given, said }) } else { Err(problems) }
    }

    /// Puts what the lender says of a stage in its place.
    fn lend(&self, lender: &Lender, stage: &str, given: &mut Value, said: &mut Vec<String>) {
        let mut section = lender.spec[stage].clone();
        // What the lender has from a file lies in its folder.
        let file = if stage == "clip" { CLIP } else { FIRST_STAGE };
        section["from"] = match is_file(section["from"].as_str()) {
            true => format!("{}/{file}", lender.path).into(),
            false => lender.path.clone().into(),
        };
        let mut passed_over = Vec::new();
        differences(stage, &given[stage], &section, &mut passed_over);
        if stage != "first_stage" {
            // Its words are read by the tokenizer that it was trained with.
            let vocabulary = lender.spec["text"]["vocabulary"].clone();
            let ours = &given["text"]["vocabulary"];
            if !ours.is_null() && *ours != vocabulary {
                passed_over.push("text.vocabulary".into());
            }
            given["text"]["vocabulary"] = vocabulary;
        }
        passed_over.retain(|path| *path != format!("{stage}.from"));
        if !passed_over.is_empty() {
            let more = passed_over.len().saturating_sub(NAMED);
            passed_over.truncate(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            said.push(format!(
                "{stage} is that of {}, as its spec says: this one's {}{more} do not hold",
                lender.path,
                passed_over.join(", ")
            ));
        }
        given[stage] = section;
    }

    fn lender(&self, from: &str) -> Result<Arc<Lender>, String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(from) {
            return known.clone();
        }
        let found = self.look(from).map(Arc::new);
        read.insert(from.to_owned(), found.clone());
        found
    }

    fn look(&self, from: &str) -> Result<Lender, String> {
        let below = self.folder.join(from);
        let run = run_dir::find(&below).map_err(|error| error.to_string())?;
        let spec = run_dir::read_spec(&run, self.presets).map_err(|error| error.to_string())?.spec;
        let within = run.strip_prefix(&below).unwrap_or(Path::new(""));
        let path = Path::new(from).join(within);
        let path = path.components().collect::<std::path::PathBuf>().display().to_string();
        Ok(Lender { path, spec: serde_yaml::to_value(spec).map_err(|error| error.to_string())? })
    }
}

/// The dotted paths of what `given` says otherwise than `section`.
fn differences(path: &str, given: &Value, section: &Value, found: &mut Vec<String>) {
    match given {
        Value::Mapping(entries) => {
            for (key, value) in entries {
                let key = key.as_str().unwrap_or_default();
                differences(&format!("{path}.{key}"), value, &section[key], found);
            }
        }
        Value::Number(number) if number.as_f64() == section.as_f64() => {}
        // A constant schedule may be said as a number.
        Value::Number(number) if number.as_f64() == section["from"].as_f64() && section["from"] == section["to"] => {}
        value if value == section => {}
        _ => found.push(path.to_owned()),
    }
}
