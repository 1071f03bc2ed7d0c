//! How a run begins, and how one is gone on with: from where it is, and with another spec.

use super::folders::{Gate, new_folder, remove_unfinished, sweep};
use super::lock::lock;
use super::metrics::{Lines, open_metrics};
use super::reading::{find, read_run};
use super::seal::{SEALS, seal, seal_of, unchanged};
use super::utc::utc;
use super::writer::RunDir;
use super::{FOLDERS, METRICS, RESOLVED, TOKENIZER, write_atomic};
use crate::checkpoint;
use crate::harness::identity::{Difference, SPEC_VERSION};
use crate::harness::loaded::Loaded;
use crate::harness::provenance;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

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
            "spec_version": SPEC_VERSION,
            "spec_hash": hash,
            "says": loaded.spec.says()?,
            "spec_folder": folder,
            SEALS: {RESOLVED: seal(resolved.as_bytes())},
            "argv": argv,
            "version": env!("CARGO_PKG_VERSION"),
            "built": provenance::built(),
            "spec_repository": provenance::of_spec(&folder, loaded.file.as_deref(), &parent)?,
            "cpu": provenance::cpu(),
            "machine": provenance::machine(),
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
            let [theirs, ours] = [&theirs, &ours].map(provenance::in_words);
            let what = format!("begun by a program of {theirs}; gone on with by one of {ours}: bits may differ");
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
        let says = loaded.spec.says()?;
        let (ours, now) = (seal(resolved.as_bytes()), utc(SystemTime::now()));
        let theirs = seal_of(&self.path, RESOLVED)?;
        let recorded = self.run["spec_hash"] == hash.as_str() && self.run[SEALS][RESOLVED] == ours.as_str();
        if recorded && theirs.as_deref() == Some(ours.as_str()) {
            return Ok(());
        }
        // Whichever of the two a crash leaves is one that was written here.
        self.update(|run| {
            run["spec_version"] = json!(SPEC_VERSION);
            run["spec_hash"] = json!(hash);
            run["says"] = json!(says);
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
}

fn absolute(folder: &Path) -> PathBuf {
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}
