//! A folder with a tiny spec in it, and the binary run there.

use dalle::data::Picture;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Every stage in a fraction of a second.
pub const TINY: &str = "\
name: tiny
preset: tiny
data: {train_scenes: 64, validation_scenes: 16}
first_stage: {steps: 12, batch: 8, validate_every: 6, checkpoint_every: 6}
transformer: {steps: 12, batch: 8, attention: [row, conv], conv_kernel: 3, validate_every: 6, checkpoint_every: 6}
clip: {steps: 12, batch: 8, validate_every: 6, checkpoint_every: 6}
sample: {candidates: 2, shown: 6}
evaluate: {pairs: 8, seen: 4, held_out: 4, two_objects: 4}
";

/// A temporary folder that commands run in.
pub struct Place(TempDir);

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    /// An empty folder.
    pub fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    /// A folder with [`TINY`] as `tiny.yaml`.
    pub fn with_spec() -> Self {
        Place::new().write("tiny.yaml", TINY)
    }

    /// A folder with `results/tiny/…`, a finished run.
    pub fn with_run() -> Self {
        let place = Place::with_spec();
        place.experiment(&["tiny.yaml"]).done();
        place
    }

    pub fn write(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The binary, to be run here.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiment"));
        command.args(arguments).current_dir(self.0.path()).env_remove("DALLE_DATA");
        command
    }

    pub fn experiment(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// The only run of `results/tiny`.
    pub fn run(&self) -> PathBuf {
        let runs: Vec<PathBuf> =
            fs::read_dir(self.path("results/tiny")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].clone()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Said {
    /// Its lines, of a command that must have succeeded.
    pub fn done(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout.lines().collect()
    }

    /// Asserts the exit code and that the line of the error says `needle`.
    pub fn failed(&self, code: i32, needle: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let line = self.stderr.lines().find(|line| line.starts_with("error: "));
        assert!(line.is_some_and(|line| line.contains(needle)), "{needle:?} in {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

/// `run.json` of a run.
pub fn facts(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap()
}

/// What two runs of one spec must agree on to the bit: the last checkpoints, the pictures, the results, the metrics without time.
pub fn bits(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut bits = BTreeMap::new();
    for stage in fs::read_dir(run.join("checkpoints")).unwrap() {
        let stage = stage.unwrap().path();
        let last = stage.join(fs::read_to_string(stage.join("LATEST")).unwrap().trim());
        collect(run, &last, &mut bits);
    }
    collect(run, &run.join("images"), &mut bits);
    bits.insert("results".into(), facts(run)["results"].to_string().into_bytes());
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let timeless = metrics.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        assert!(line.as_object_mut().unwrap().remove("time").is_some());
        format!("{line}\n")
    });
    bits.insert("metrics".into(), timeless.collect::<String>().into_bytes());
    bits
}

fn collect(run: &Path, folder: &Path, bits: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(run, &path, bits);
            continue;
        }
        let name = path.strip_prefix(run).unwrap().to_string_lossy().into_owned();
        bits.insert(name, fs::read(path).unwrap());
    }
}

/// Asserts that two runs agree, naming what differs.
pub fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (bits(left), bits(right));
    assert!(left.keys().any(|name| name.ends_with("model.safetensors")) && left.len() > 20, "{:?}", left.keys());
    assert!(left.keys().eq(right.keys()), "{:?} {:?}", left.keys(), right.keys());
    let differ: Vec<&String> = left.keys().filter(|name| left[*name] != right[*name]).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// A PNG with a gradient, so that no two positions are alike.
pub fn png(width: usize, height: usize, shade: u8) -> Vec<u8> {
    let pixel = |i: usize| [shade, (i % width * 255 / width) as u8, (i / width * 255 / height) as u8];
    Picture { width, height, rgb: (0..width * height).flat_map(pixel).collect() }.png().unwrap()
}

/// A PNG that claims to be `side` pixels wide and high, its header's checksum included.
pub fn huge(side: u32) -> Vec<u8> {
    let mut bytes = png(1, 1, 0);
    bytes[16..20].copy_from_slice(&side.to_be_bytes());
    bytes[20..24].copy_from_slice(&side.to_be_bytes());
    let mut sum = flate2::Crc::new();
    sum.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    bytes
}
