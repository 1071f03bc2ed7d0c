//! Stages that several runs of one name have in common are trained once: a run takes over what another one has trained where all
//! that its training depends on is the same, down to the curves, and is then as if it had trained the stage itself.

use super::identity::SPEC_VERSION;
use super::lenders::FIRST_STAGE;
use super::notice;
use super::provenance;
use super::run_dir::{RunDir, read_run, read_spec, runs, sealed};
use crate::files::lock_in_turn;
use crate::models::presets;
use crate::spec::Spec;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

/// In `run.json`: for each stage, the hash of what it depends on, whether it is whole, and the run that it is from.
pub(super) const STAGES: &str = "stages";

/// A stage that may be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Pictures to tokens.
    First,
    /// Captions to tokens.
    Transformer,
    /// Captions against pictures.
    Clip,
}

impl Stage {
    /// Sections and keys of a spec that move its weights, its curve, or what it draws meanwhile.
    fn depends_on(self) -> &'static [&'static str] {
        match self {
            Stage::First => &["preset", "seed", "data", "first_stage"],
            Stage::Transformer => &["preset", "seed", "data", "text", "first_stage", "transformer", "sample"],
            Stage::Clip => &["preset", "seed", "data", "text", "first_stage", "clip"],
        }
    }

    /// Its section, under which `run.json` counts its samples.
    fn section(self) -> &'static str {
        match self {
            Stage::First => "first_stage",
            Stage::Transformer => "transformer",
            Stage::Clip => "clip",
        }
    }

    /// 16 hexadecimal digits of all that the stage's training depends on: keys of the spec, and of the run's `facts` the program, the
    /// device, the data with their fingerprint, and the folder that paths of data are relative to.
    pub(super) fn hash(self, spec: &Spec, facts: &Value) -> Result<String> {
        let mut text = format!("version {SPEC_VERSION}\n");
        for fact in ["built", "device", "spec_folder", "data", "data_changes"] {
            let _ = writeln!(text, "{fact} {}", facts[fact]);
        }
        // What was lent is known by its bits, wherever it is from.
        for (stage, about) in facts[STAGES].as_object().into_iter().flatten() {
            if !about["lent"].is_null() {
                let _ = writeln!(text, "{stage} {}", about["blake3"]);
            }
        }
        if self != Stage::First
            && let Some(file) = sealed(facts, FIRST_STAGE)
        {
            let _ = writeln!(text, "{FIRST_STAGE} {file}");
        }
        for (path, value) in spec.leaves()? {
            let first = path.split('.').next().unwrap_or_default();
            if self.depends_on().contains(&first) {
                let _ = writeln!(text, "{path} = {value}");
            }
        }
        Ok(blake3::hash(text.as_bytes()).to_hex()[..16].to_owned())
    }
}

/// Where runs look for stages of each other.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The runs of one name.
    pub runs: PathBuf,
    /// A file for each stage that is trained at this moment.
    pub locks: PathBuf,
}

/// Held while a stage is trained that others wait for.
#[derive(Debug)]
pub struct Training {
    _lock: File,
}

impl Shared {
    /// Takes the stage `name` over into `run` where another run has it, or lets `run` train it: then until the value is dropped nobody
    /// else does. Waits for who trains it now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn take(&self, spec: &Spec, stage: Stage, name: &str, run: &mut RunDir) -> Result<Option<Training>> {
        let hash = stage.hash(spec, run.run())?;
        if is_whole(run.run(), name, &hash) {
            return Ok(None);
        }
        let lock = self.lock(&format!("{name}-{hash}"))?;
        match self.find(name, &hash, run.path()) {
            None => {
                if let Some(other) = self.by_another_build((stage, name), &hash, run) {
                    let section = stage.section();
                    notice::line(format_args!(
                        "{name}: trained by another build in {}, and again here, since bits may differ between builds; \
                         `{section}: {{from: RUN}}` takes it as it is",
                        other.display()
                    ));
                }
                run.update(|facts| facts[STAGES][name] = json!({"hash": hash, "whole": false}))?;
                Ok(Some(lock))
            }
            Some(other) => {
                let from = other.file_name().map(|name| name.to_string_lossy().into_owned());
                adopt(run, &other, (stage, name), json!({"hash": hash, "whole": true, "from": from}))?;
                Ok(None)
            }
        }
    }

    /// Another run in which the stage is whole.
    fn find(&self, name: &str, hash: &str, own: &Path) -> Option<PathBuf> {
        let whole = |run: &PathBuf| run != own && read_run(run).is_ok_and(|facts| is_whole(&facts, name, hash));
        runs(&self.runs).into_iter().find(whole)
    }

    /// Another run in which the stage is whole and of the same spec, data and device, but of another program.
    fn by_another_build(&self, (stage, name): (Stage, &str), hash: &str, run: &RunDir) -> Option<PathBuf> {
        let ours = &run.run()["built"];
        let alike = |other: &PathBuf| {
            let Ok(mut facts) = read_run(other) else { return false };
            if facts["built"] == *ours || facts[STAGES][name]["whole"] != true {
                return false;
            }
            facts["built"] = ours.clone();
            let theirs = read_spec(other, presets::NAMES).and_then(|loaded| stage.hash(&loaded.spec, &facts));
            theirs.is_ok_and(|theirs| theirs == hash)
        };
        runs(&self.runs).into_iter().filter(|other| other != run.path()).find(alike)
    }

    fn lock(&self, name: &str) -> Result<Training> {
        fs::create_dir_all(&self.locks).map_err(Error::io("create", &self.locks))?;
        let path = self.locks.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("write", &path))?;
        // Where there are no locks it may be trained twice, to the same bits.
        lock_in_turn(&file, || notice::line(format_args!("{name}: another run trains it: waiting")))
            .map_err(Error::io("lock", &path))?;
        Ok(Training { _lock: file })
    }
}

/// Takes the stage `name` of the run at `other` over: its checkpoints, curves and pictures, and what `run.json` says of it. `taken` is
/// what that says from then on of where it is from.
///
/// # Errors
/// Those of [`RunDir::take_over`] and [`read_run`].
pub(super) fn adopt(run: &mut RunDir, other: &Path, (stage, name): (Stage, &str), taken: Value) -> Result<()> {
    notice::line(format_args!("{name}: taken over from {}", other.display()));
    let facts = read_run(other)?;
    run.take_over(other, name)?;
    run.update(|own| {
        for (part, key) in [
            ("timings", name),
            ("waits", name),
            ("memory", name),
            ("kept", name),
            ("samples", stage.section()),
            ("bad_samples", stage.section()),
        ] {
            if !facts[part][key].is_null() {
                own[part][key] = facts[part][key].clone();
            }
        }
        if !facts["captions"][name]["trained_on"].is_null() {
            own["captions"][name]["trained_on"] = facts["captions"][name]["trained_on"].clone();
        }
        let told = facts["warnings"].as_array().into_iter().flatten().filter(|warning| warning["stage"] == name);
        let told: Vec<Value> = told.cloned().collect();
        if !told.is_empty() {
            let mut all = own["warnings"].as_array().cloned().unwrap_or_default();
            all.extend(told.into_iter().filter(|warning| !all.contains(warning)).collect::<Vec<_>>());
            own["warnings"] = Value::Array(all);
        }
        own[STAGES][name] = taken;
    })
}

/// How many of the runs in a folder were begun by another build than this one: no stage is taken over from them.
pub fn by_other_builds(folder: impl AsRef<Path>) -> usize {
    let ours = provenance::built();
    runs(folder).iter().filter(|run| read_run(run).is_ok_and(|facts| facts["built"] != ours)).count()
}

/// Writes down that a stage of `run` is whole, for others to take over.
///
/// # Errors
/// Those of [`RunDir::update`].
pub fn whole(run: &mut RunDir, name: &str) -> Result<()> {
    match run.run()[STAGES][name].clone() {
        Value::Object(facts) if facts["whole"] == false => run.update(|own| own[STAGES][name]["whole"] = json!(true)),
        _ => Ok(()),
    }
}

fn is_whole(facts: &Value, name: &str, hash: &str) -> bool {
    let stage = &facts[STAGES][name];
    stage["hash"] == hash && stage["whole"] == true
}
