//! The run directory: one writer, append-only metrics, everything else replaced atomically, readable while it grows.
//!
//! ```text
//! results/<name>/<utc>-<hash8>/
//!   spec.yaml  spec.resolved.yaml  run.json  metrics.jsonl  checkpoints/<stage>/  images/  plots/  report.html  lock
//! ```

use super::load::{Loaded, reopen};
use super::notice;
use super::spec::Spec;
use crate::train::checkpoint;
pub use crate::train::durable::write_atomic;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const RUN: &str = "run.json";
const METRICS: &str = "metrics.jsonl";
const RESOLVED: &str = "spec.resolved.yaml";

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
    _lock: Lock,
}

impl RunDir {
    /// Starts `results/<name>/<utc>-<hash8>/` with the spec as given and as resolved, and `run.json` with status `running`.
    ///
    /// # Errors
    /// [`Error::Io`] at once if the folder cannot be written.
    pub fn create(results: impl AsRef<Path>, loaded: &Loaded, argv: &[String]) -> Result<RunDir> {
        let (resolved, hash) = (loaded.spec.resolved()?, loaded.spec.hash()?);
        let now = SystemTime::now();
        let parent = results.as_ref().join(&loaded.spec.name);
        fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
        let path = new_folder(&parent, &format!("{}-{hash}", utc(now).replace(['-', ':'], "")))?;
        let lock = lock(&path)?;
        for folder in ["checkpoints", "images", "plots"] {
            let folder = path.join(folder);
            fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        }
        write_atomic(path.join("spec.yaml"), loaded.text.as_bytes())?;
        write_atomic(path.join(RESOLVED), resolved.as_bytes())?;
        let metrics = open_metrics(&path)?;
        let folder = fs::canonicalize(&loaded.folder).unwrap_or_else(|_| loaded.folder.clone());
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
            "argv": argv,
            "version": env!("CARGO_PKG_VERSION"),
            "git": git(Path::new(env!("CARGO_MANIFEST_DIR"))),
            "cpu": cpu(),
            "threads": rayon::current_num_threads(),
        });
        let mut dir =
            RunDir { path, run, metrics, earlier: Duration::ZERO, started: Instant::now(), speaks: false, _lock: lock };
        // Last: a folder without run.json is not yet a run.
        dir.update(|_| {})?;
        Ok(dir)
    }

    /// Goes on with the run at `path` (the run itself, or `results/<name>` for its newest): takes the lock, removes what a
    /// crash left behind, and sets the status to `running`.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no run or its `run.json` is damaged; [`Error::Io`] if another process writes it.
    pub fn open(path: impl AsRef<Path>) -> Result<RunDir> {
        let path = find(path)?;
        let lock = lock(&path)?;
        let run = read_run(&path)?;
        let checkpoints = path.join("checkpoints");
        for stage in fs::read_dir(&checkpoints).map_err(Error::io("read", &checkpoints))? {
            checkpoint::clean(stage.map_err(Error::io("read", &checkpoints))?.path())?;
        }
        let lines = metrics_lines(&path)?;
        let earlier = lines.iter().filter_map(|line| line.get("time")?.as_f64()).fold(0.0, f64::max);
        let earlier = Duration::try_from_secs_f64(earlier).unwrap_or_default();
        write_lines(&path, &lines)?;
        let metrics = open_metrics(&path)?;
        let mut dir = RunDir { path, run, metrics, earlier, started: Instant::now(), speaks: false, _lock: lock };
        dir.update(|run| {
            run["status"] = json!("running");
            run["exit"] = Value::Null;
            run["finished"] = Value::Null;
        })?;
        Ok(dir)
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

    /// Drops the lines of `stage` after `step`: a resumed stage writes them again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rewind(&mut self, stage: &str, step: u64) -> Result<()> {
        let mut lines = metrics_lines(&self.path)?;
        let after = |line: &Value| line["stage"] == stage && line["step"].as_u64().is_some_and(|at| at > step);
        lines.retain(|line| !after(line));
        write_lines(&self.path, &lines)?;
        self.metrics = open_metrics(&self.path)?;
        Ok(())
    }

    /// Changes `run.json`, which is replaced atomically.
    ///
    /// # Errors
    /// [`Error::Io`]; then the file is as it was.
    pub fn update(&mut self, change: impl FnOnce(&mut Value)) -> Result<()> {
        change(&mut self.run);
        write_atomic(self.path.join(RUN), format!("{:#}\n", self.run).as_bytes())
    }

    /// What `run.json` holds.
    pub fn run(&self) -> &Value {
        &self.run
    }

    /// Says on stderr, and keeps in `run.json`'s `warnings`, that something in `stage` wants a look: `kind` is a word for
    /// programs ("few-codes"), `text` says what is wrong and what to do. One that was said before is not said again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn warn(&mut self, stage: &str, kind: &str, text: &str) -> Result<()> {
        let warning = json!({"stage": stage, "kind": kind, "text": text});
        let known = self.run["warnings"].as_array().is_some_and(|known| known.contains(&warning));
        if known {
            return Ok(());
        }
        if self.speaks {
            notice::line(format_args!("warning: {stage}: {text}"));
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
        let (finished, seconds) = (utc(SystemTime::now()), self.elapsed().as_secs_f64());
        self.update(|run| {
            run["status"] = json!(match exit {
                0 => "done",
                3 => "expectation failed",
                75 | 130 => "interrupted",
                _ => "failed",
            });
            run["exit"] = json!(exit);
            run["finished"] = json!(finished);
            run["timings"]["total"] = json!(seconds);
        })
    }
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
    newest(path, "").ok_or_else(|| {
        Error::data(path, "no run here: expected a folder with run.json, or one that holds such folders")
    })
}

/// The newest run of a spec that means the same as `spec`, to resume.
///
/// # Errors
/// Those of [`Spec::resolved`].
pub fn find_same(results: impl AsRef<Path>, spec: &Spec) -> Result<Option<PathBuf>> {
    Ok(newest(&results.as_ref().join(&spec.name), &format!("-{}", spec.hash()?)))
}

/// The newest run in `folder` whose name holds `part`: names start with the time, so they sort by it.
fn newest(folder: &Path, part: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let runs = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join(RUN).is_file());
    // By (time and hash, suffix length, suffix), so that `-10` comes after `-9`.
    let order = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (stem, suffix) = name.split_at(name.char_indices().nth(25).map_or(name.len(), |(i, _)| i));
        (stem.to_owned(), suffix.len(), suffix.to_owned())
    };
    runs.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(part))).max_by_key(order)
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
    let lock = File::open(run.as_ref().join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The spec that a run was started with, defaults and `--set` included; its data paths stay relative to the original's folder.
///
/// # Errors
/// Those of [`reopen`] and [`read_run`].
pub fn read_spec(run: impl AsRef<Path>, presets: &[&str]) -> Result<Loaded> {
    let run = run.as_ref();
    let mut loaded = reopen(run.join(RESOLVED), presets)?;
    if let Some(folder) = read_run(run)?["spec_folder"].as_str() {
        loaded.folder = PathBuf::from(folder);
    }
    Ok(loaded)
}

/// The lines of `metrics.jsonl`, without a torn last one. Readable while the run writes.
///
/// # Errors
/// [`Error::Io`].
pub fn metrics_lines(run: impl AsRef<Path>) -> Result<Vec<Value>> {
    let path = run.as_ref().join(METRICS);
    match fs::read(&path) {
        Ok(bytes) => {
            Ok(bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

fn write_lines(run: &Path, lines: &[Value]) -> Result<()> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    write_atomic(run.join(METRICS), text.as_bytes())
}

fn open_metrics(run: &Path) -> Result<File> {
    let path = run.join(METRICS);
    OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("write", &path))
}

/// Creates `parent/stem`, or `stem-2`, `stem-3`… where runs of one spec start within a second.
fn new_folder(parent: &Path, stem: &str) -> Result<PathBuf> {
    let mut path = parent.join(stem);
    for number in 2.. {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => path = parent.join(format!("{stem}-{number}")),
            Err(error) => return Err(Error::io("create", &path)(error)),
            Ok(()) => break,
        }
    }
    Ok(path)
}

/// The run's lock. The system drops it with the process, so a dead one never blocks its run.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has forked and that has not yet begun its program holds the
        // same open file, and with it the lock. Where unlocking fails the close still follows.
        let _ = self.0.unlock();
    }
}

/// Takes the run's lock.
fn lock(run: &Path) -> Result<Lock> {
    let path = run.join("lock");
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(&path).map_err(Error::io("write", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            let why = format!("process {} is writing this run", owner.trim());
            return Err(Error::io("lock", run)(std::io::Error::new(ErrorKind::WouldBlock, why)));
        }
        // Some network file systems know no locks: better a run without one than none.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(Error::io("write", &path))?;
    Ok(Lock(file))
}

/// The commit of the sources and whether they differ from it; null where they are no longer there or no repository.
fn git(sources: &Path) -> Value {
    let ask = |arguments: &[&str]| {
        let output =
            Command::new("git").arg("-C").arg(sources).args(arguments).env("GIT_OPTIONAL_LOCKS", "0").output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (ask(&["rev-parse", "HEAD"]), ask(&["status", "--porcelain"])) {
        (Some(commit), Some(changes)) => json!({"commit": commit, "dirty": !changes.is_empty()}),
        _ => Value::Null,
    }
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

    #[test]
    fn git_tells_the_commit_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(git(folder.path()), Value::Null);
        assert_eq!(git(&folder.path().join("gone")), Value::Null);
    }
}
