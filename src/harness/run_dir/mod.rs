//! The run directory: one writer, append-only metrics, everything else replaced atomically, readable while it grows.
//!
//! ```text
//! results/<name>/<utc>-<hash>/
//!   spec.yaml  spec.resolved.yaml  run.json  metrics.jsonl  checkpoints/<stage>/  images/  plots/  report.html  lock
//! ```

mod folders;
mod lock;
mod metrics;
mod seal;

use super::identity::Difference;
use super::load::{Loaded, reopen};
use super::{notice, provenance};
use crate::checkpoint;
pub use crate::files::write_atomic;
use crate::spec::Spec;
use crate::{Error, Result};
pub use folders::file_part;
use folders::{Gate, new_folder, newest_first, remove_unfinished, sweep};
use lock::{Holder, Lock, holder, lock};
use metrics::Lines;
use seal::{SEALS, seal, seal_of, unchanged};
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const RUN: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const RESOLVED: &str = "spec.resolved.yaml";
/// The tokenizer's file in a run.
pub const TOKENIZER: &str = "tokenizer.json";
/// The folders of a run.
const FOLDERS: [&str; 3] = ["checkpoints", "images", "plots"];

/// A run that this process writes.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    run: Value,
    metrics: File,
    /// Time of the sessions before this one.
    earlier: Duration,
    started: Instant,
    speaks: bool,
    /// What this process has warned of.
    warned: Vec<Value>,
    _lock: Lock,
}

impl RunDir {
    /// Starts `results/<name>/<utc>-<hash>/` with the spec as given and as resolved, and `run.json` with status `running`.
    ///
    /// # Errors
    /// [`Error::Io`] at once if the folder cannot be written.
    pub fn create(results: impl AsRef<Path>, loaded: &Loaded, argv: &[String]) -> Result<RunDir> {
        let (resolved, hash) = (loaded.spec.resolved()?, loaded.spec.hash()?);
        let now = SystemTime::now();
        let parent = results.as_ref().join(&loaded.spec.name);
        fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
        let gate = Gate::close(&parent);
        sweep(&parent, gate.as_ref());
        let path = new_folder(&parent, &format!("{}-{hash}", utc(now).replace(['-', ':'], "")))?;
        let lock = lock(&path)?;
        drop(gate);
        for folder in FOLDERS {
            let folder = path.join(folder);
            fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        }
        write_atomic(path.join("spec.yaml"), loaded.text.as_bytes())?;
        write_atomic(path.join(RESOLVED), resolved.as_bytes())?;
        let metrics = open_metrics(&path)?;
        let folder = absolute(&loaded.folder);
        let run = json!({
            "name": loaded.spec.name,
            "preset": loaded.spec.preset,
            "status": "running",
            "exit": null,
            "started": utc(now),
            "finished": null,
            "seeds": {"spec": loaded.spec.seed},
            "results": {},
            "timings": {},
            "memory": {},
            "spec_hash": hash,
            "spec_folder": folder,
            SEALS: {RESOLVED: seal(resolved.as_bytes())},
            "argv": argv,
            "version": env!("CARGO_PKG_VERSION"),
            "built": provenance::built(),
            "spec_repository": provenance::of_spec(&folder, loaded.file.as_deref()),
            "cpu": cpu(),
            "threads": rayon::current_num_threads(),
        });
        let (earlier, started) = (Duration::ZERO, Instant::now());
        let mut dir = RunDir { path, run, metrics, earlier, started, speaks: false, warned: Vec::new(), _lock: lock };
        // Last: a folder without run.json is not yet a run.
        dir.update(|_| {})?;
        Ok(dir)
    }

    /// Goes on with the run at `path` (the run itself, or `results/<name>` for its newest): takes the lock, removes what a
    /// crash left behind, and sets the status to `running`. What it finds damaged it warns of.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no run, its `run.json` is damaged, or its spec or tokenizer is not what it wrote;
    /// [`Error::Io`] if another process writes it.
    pub fn open(path: impl AsRef<Path>) -> Result<RunDir> {
        let path = find(path)?;
        if let Some(parent) = path.parent() {
            sweep(parent, Gate::close(parent).as_ref());
        }
        let lock = lock(&path)?;
        let run = read_run(&path)?;
        unchanged(&path, &run, RESOLVED)?;
        unchanged(&path, &run, TOKENIZER)?;
        let checkpoints = path.join("checkpoints");
        for stage in fs::read_dir(&checkpoints).map_err(Error::io("read", &checkpoints))? {
            let stage = stage.map_err(Error::io("read", &checkpoints))?.path();
            if stage.is_dir() {
                checkpoint::clean(stage)?;
            }
        }
        remove_unfinished(&path)?;
        remove_unfinished(&path.join("images"))?;
        remove_unfinished(&path.join("images/progress"))?;
        let known = path.join(METRICS).exists();
        let read = Lines::read(&path)?;
        read.write(&path, |_| true)?;
        let times = read.lines.iter().filter_map(|line| line.value.as_ref()?.get("time")?.as_f64());
        // Measurements write no lines: what they took is in the total alone.
        let earlier = times.fold(run["timings"]["total"].as_f64().unwrap_or(0.0), f64::max);
        let earlier = Duration::try_from_secs_f64(earlier).unwrap_or_default();
        let metrics = open_metrics(&path)?;
        let (speaks, warned) = (true, Vec::new());
        let mut dir = RunDir { path, run, metrics, earlier, started: Instant::now(), speaks, warned, _lock: lock };
        dir.update(|run| {
            run["status"] = json!("running");
            run["exit"] = Value::Null;
            run["finished"] = Value::Null;
        })?;
        if !known {
            dir.warn("run", "metrics-lost", &format!("{METRICS} was not there: its curves begin here"))?;
        }
        for text in [read.garbage(), read.end()].into_iter().flatten() {
            dir.warn("run", "metrics-damaged", &text)?;
        }
        let (theirs, ours) = (dir.run["built"].clone(), provenance::built());
        if !theirs.is_null() && ["commit", "dirty", "rustc"].iter().any(|fact| theirs[fact] != ours[fact]) {
            let what =
                format!("begun by a program built from {theirs}, gone on with by one from {ours}: bits may differ");
            dir.warn("run", "other-build", &what)?;
        }
        Ok(dir)
    }

    /// Goes on with another spec from here: `changes` are what it says otherwise.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn change_spec(&mut self, loaded: &Loaded, changes: &[Difference]) -> Result<()> {
        let (theirs, ours) = (self.run["spec_folder"].clone(), json!(absolute(&loaded.folder)));
        if theirs != ours {
            if !loaded.spec.data.kind.is_procedural() {
                let what = format!("data paths were relative to {theirs} and are relative to {ours} from here on");
                self.warn("run", "other-folder", &what)?;
            }
            self.update(|run| run["spec_folder"] = ours)?;
        }
        let (resolved, hash) = (loaded.spec.resolved()?, loaded.spec.hash()?);
        let (ours, now) = (seal(resolved.as_bytes()), utc(SystemTime::now()));
        let theirs = seal_of(&self.path, RESOLVED)?;
        let recorded = self.run["spec_hash"] == hash.as_str() && self.run[SEALS][RESOLVED] == ours.as_str();
        if recorded && theirs.as_deref() == Some(ours.as_str()) {
            return Ok(());
        }
        // Whichever of the two a crash leaves is one that was written here.
        self.update(|run| {
            run["spec_hash"] = json!(hash);
            run[SEALS][RESOLVED] = json!([theirs, ours]);
            for Difference { path, theirs, ours } in changes {
                let change = json!({"at": now, "key": path, "from": theirs, "to": ours});
                match run["spec_changes"].as_array_mut() {
                    Some(changes) => changes.push(change),
                    None => run["spec_changes"] = json!([change]),
                }
            }
        })?;
        write_atomic(self.path.join(RESOLVED), resolved.as_bytes())?;
        self.update(|run| run[SEALS][RESOLVED] = json!(ours))
    }

    /// Writes a file that never changes from then on, and keeps its blake3 in `run.json`: whoever opens the run holds it to
    /// that.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_sealed(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(self.path.join(name), bytes)?;
        self.seal(name)
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

fn absolute(folder: &Path) -> PathBuf {
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}

/// The run at `path`: the folder itself, or the newest run in `results/<name>`.
///
/// # Errors
/// [`Error::Data`] if there is none.
pub fn find(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    if path.join(RUN).is_file() {
        return Ok(path.to_owned());
    }
    newest_first(path).into_iter().next().ok_or_else(|| {
        Error::data(path, "no run here: expected a folder with run.json, or one that holds such folders")
    })
}

/// The newest run of a spec that means the same as `spec`, to resume.
///
/// # Errors
/// Those of [`Spec::hash`].
pub fn find_same(results: impl AsRef<Path>, spec: &Spec) -> Result<Option<PathBuf>> {
    let hash = spec.hash()?;
    // Not by its name: a run that went on with more steps keeps the name that it had.
    let same = |run: &PathBuf| read_run(run).is_ok_and(|facts| facts["spec_hash"] == hash.as_str());
    Ok(newest_first(&results.as_ref().join(&spec.name)).into_iter().find(same))
}

/// Reads `run.json` of a run that another process may be writing.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Data`] if it is no JSON object.
pub fn read_run(run: impl AsRef<Path>) -> Result<Value> {
    let path = run.as_ref().join(RUN);
    let text = fs::read(&path).map_err(Error::io("read", &path))?;
    let value: Value =
        serde_json::from_slice(&text).map_err(|error| Error::data(&path, format!("not JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Error::data(&path, "expected a JSON object")) }
}

/// Whether a living process writes the run: its lock is held.
pub fn is_written(run: impl AsRef<Path>) -> bool {
    matches!(holder(run.as_ref()), Holder::Somebody)
}

/// What a reader should say of a run whose `run.json` has this `status`: that one which was killed is not running.
pub fn status(run: impl AsRef<Path>, status: &Value) -> String {
    let status = status.as_str().unwrap_or("unknown");
    if status == "running" && matches!(holder(run.as_ref()), Holder::Nobody) {
        return "stopped (no process writes it)".into();
    }
    status.into()
}

/// The spec that a run was started with, defaults and `--set` included; its data paths stay relative to the original's folder.
///
/// # Errors
/// Those of [`reopen`] and [`read_run`]; [`Error::Data`] where the file is not what the run wrote.
pub fn read_spec(run: impl AsRef<Path>, presets: &[&str]) -> Result<Loaded> {
    let run = run.as_ref();
    let facts = read_run(run)?;
    unchanged(run, &facts, RESOLVED)?;
    let mut loaded = reopen(run.join(RESOLVED), presets)?;
    if let Some(folder) = facts["spec_folder"].as_str() {
        loaded.folder = PathBuf::from(folder);
    }
    Ok(loaded)
}

/// Holds the tokenizer of a run that is opened to be used to what the run wrote.
///
/// # Errors
/// Those of [`read_run`]; [`Error::Data`] where it is another.
pub fn tokenizer_unchanged(run: impl AsRef<Path>) -> Result<()> {
    unchanged(run.as_ref(), &read_run(&run)?, TOKENIZER)
}

/// The lines of `metrics.jsonl` that are JSON. Readable while the run writes.
///
/// # Errors
/// [`Error::Io`].
pub fn metrics_lines(run: impl AsRef<Path>) -> Result<Vec<Value>> {
    Ok(Lines::read(run.as_ref())?.lines.into_iter().filter_map(|line| line.value).collect())
}

fn open_metrics(run: &Path) -> Result<File> {
    let path = run.join(METRICS);
    OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("write", &path))
}

/// The processor's model name, where the system tells it.
fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// `2026-11-23T03:45:00Z`.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years from March, so that the leap day is the last: 146,097 days an era of 400 years; 719,468 days from 0000-03-01 to 1970.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, era * 400 + year) } else { (month - 9, era * 400 + year + 1) };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_knows_leap_years_and_the_ends_of_years() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (1_795_405_500, "2026-11-23T03:45:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
