//! The one writer of a run: what it appends, and what it replaces.

use super::lock::Lock;
use super::metrics::{Lines, open_metrics};
use super::seal::{SEALS, seal, seal_of, unchanged};
use super::utc::utc;
use super::{METRICS, RUN, write_atomic};
use crate::harness::notice;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A run that this process writes.
#[derive(Debug)]
pub struct RunDir {
    pub(super) path: PathBuf,
    pub(super) run: Value,
    pub(super) metrics: File,
    /// Time of the sessions before this one.
    pub(super) earlier: Duration,
    pub(super) started: Instant,
    pub(super) speaks: bool,
    /// What this process has warned of.
    pub(super) warned: Vec<Value>,
    pub(super) _lock: Lock,
}

impl RunDir {
    /// Writes a file that never changes from then on, and keeps its blake3 in `run.json`: whoever opens the run holds it to
    /// that.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_sealed(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(self.path.join(name), bytes)?;
        self.seal(name)
    }

    /// The same of a file that is written again where the run is measured again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_resealed(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        // Whichever of the two a crash leaves is one that was written here.
        let (theirs, ours) = (seal_of(&self.path, name)?, seal(bytes));
        self.update(|run| run[SEALS][name] = json!([theirs, ours]))?;
        write_atomic(self.path.join(name), bytes)?;
        self.update(|run| run[SEALS][name] = json!(ours))
    }

    /// Keeps the blake3 of a file that is there, if it is not kept yet.
    ///
    /// # Errors
    /// [`Error::Data`] if another one is kept.
    pub fn seal(&mut self, name: &str) -> Result<()> {
        unchanged(&self.path, &self.run, name)?;
        match seal_of(&self.path, name)? {
            Some(seal) if self.run[SEALS][name].is_null() => self.update(|run| run[SEALS][name] = json!(seal)),
            _ => Ok(()),
        }
    }

    /// The run's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the checkpoints of `stage` lie.
    pub fn checkpoints(&self, stage: &str) -> PathBuf {
        self.path.join("checkpoints").join(stage)
    }

    /// Time since the start of the run, earlier sessions included.
    pub fn elapsed(&self) -> Duration {
        self.earlier + self.started.elapsed()
    }

    /// Appends one line to `metrics.jsonl`: stage, step, time in seconds, then the values; one that is not finite is null.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn metrics(&mut self, stage: &str, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut line = Map::new();
        line.insert("stage".into(), json!(stage));
        line.insert("step".into(), json!(step));
        line.insert("time".into(), json!((self.elapsed().as_secs_f64() * 1e3).round() / 1e3));
        line.extend(values.iter().map(|&(name, value)| (name.to_owned(), json!(value))));
        // One write a line: a reader, or a crash, sees all of it or a part that `open` drops.
        let text = format!("{}\n", Value::Object(line));
        self.metrics.write_all(text.as_bytes()).map_err(Error::io("write", self.path.join(METRICS)))
    }

    /// Drops the lines of `stage` after `step`: a resumed stage writes them again. The others keep their bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rewind(&mut self, stage: &str, step: u64) -> Result<()> {
        let after = |line: &Value| line["stage"] == stage && line["step"].as_u64().is_some_and(|at| at > step);
        Lines::read(&self.path)?.write(&self.path, |line| !line.value.as_ref().is_some_and(after))?;
        self.metrics = open_metrics(&self.path)?;
        Ok(())
    }

    /// Takes over the stage `stage` of the run at `other`: its checkpoints, its lines of metrics, and what it drew meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn take_over(&mut self, other: &Path, stage: &str) -> Result<()> {
        // Nobody writes into a checkpoint's file once it is there: two names of one file take the room of one.
        let (theirs, ours) = (other.join("checkpoints").join(stage), self.checkpoints(stage));
        if ours.exists() {
            fs::remove_dir_all(&ours).map_err(Error::io("remove", &ours))?;
        }
        let made = ours.with_extension("tmp");
        if made.exists() {
            fs::remove_dir_all(&made).map_err(Error::io("remove", &made))?;
        }
        link(&theirs, &made)?;
        fs::rename(&made, &ours).map_err(Error::io("move", &made))?;
        let (theirs, ours) = (other.join("images/progress"), self.path.join("images/progress"));
        fs::create_dir_all(&ours).map_err(Error::io("create", &ours))?;
        for entry in fs::read_dir(&theirs).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix(stage).is_some_and(|rest| rest.starts_with(['-', '.'])) {
                let bytes = fs::read(entry.path()).map_err(Error::io("read", entry.path()))?;
                write_atomic(ours.join(&name), &bytes)?;
            }
        }
        self.rewind(stage, 0)?;
        let of_stage = |line: &Value| line["stage"] == stage;
        let text = Lines::read(other)?.text(|line| line.value.as_ref().is_some_and(of_stage));
        self.metrics.write_all(&text).map_err(Error::io("write", self.path.join(METRICS)))
    }

    /// Changes `run.json`, which is replaced atomically; `timings.total` becomes the time of all sessions so far.
    ///
    /// # Errors
    /// [`Error::Io`]; then the file is as it was.
    pub fn update(&mut self, change: impl FnOnce(&mut Value)) -> Result<()> {
        change(&mut self.run);
        self.run["timings"]["total"] = json!(self.elapsed().as_secs_f64());
        write_atomic(self.path.join(RUN), format!("{:#}\n", self.run).as_bytes())
    }

    /// What `run.json` holds.
    pub fn run(&self) -> &Value {
        &self.run
    }

    /// Says on stderr, and keeps in `run.json`'s `warnings`, that something in `stage` wants a look: `kind` is a word for
    /// programs ("few-codes"), `text` says what is wrong and what to do. A process says it once; `run.json` keeps it once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn warn(&mut self, stage: &str, kind: &str, text: &str) -> Result<()> {
        let warning = json!({"stage": stage, "kind": kind, "text": text});
        if self.speaks && !self.warned.contains(&warning) {
            notice::line(format_args!("warning: {stage}: {text}"));
            self.warned.push(warning.clone());
        }
        if self.run["warnings"].as_array().is_some_and(|known| known.contains(&warning)) {
            return Ok(());
        }
        self.update(|run| match run["warnings"].as_array_mut() {
            Some(warnings) => warnings.push(warning),
            None => run["warnings"] = json!([warning]),
        })
    }

    /// Whether warnings go to stderr too.
    pub fn speak(&mut self, speaks: bool) {
        self.speaks = speaks;
    }

    /// Keeps which `device` the arithmetic happens on, and the name of its `card` where it has one. Of a run that was begun on another
    /// one, warns.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn happens_on(&mut self, device: &str, card: Option<String>) -> Result<()> {
        if let Some(theirs) = self.run["device"].as_str().filter(|theirs| *theirs != device) {
            let what = format!("begun on {theirs}, gone on with on {device}: its bits are of neither");
            self.warn("run", "other-device", &what)?;
        }
        self.update(|run| {
            run["device"] = json!(device);
            run["gpu"] = json!(card);
        })
    }

    /// Ends the run with the exit code that the process will return.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(&mut self, exit: u8) -> Result<()> {
        let finished = utc(SystemTime::now());
        self.update(|run| {
            run["status"] = json!(match exit {
                0 => "done",
                3 => "expectation failed",
                75 | 130 => "interrupted",
                _ => "failed",
            });
            run["exit"] = json!(exit);
            run["finished"] = json!(finished);
        })
    }
}

/// A folder with the files of another one: the same files where the system allows it, else copies.
fn link(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).map_err(Error::io("create", to))?;
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let from = entry.map_err(Error::io("read", from))?.path();
        let Some(name) = from.file_name() else { continue };
        let to = to.join(name);
        if from.is_dir() {
            link(&from, &to)?;
        } else if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).map_err(Error::io("copy", &from))?;
        }
    }
    Ok(())
}
