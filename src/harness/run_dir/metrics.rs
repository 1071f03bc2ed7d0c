//! `metrics.jsonl` read and rewound without changing a byte of what is kept.

use super::{METRICS, write_atomic};
use crate::{Error, Result};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

/// `metrics.jsonl` as it lies there, without the torn last line that a crash leaves.
pub(super) struct Lines {
    pub lines: Vec<Line>,
    /// Whether there was such a line.
    torn: bool,
    /// Bytes of the file.
    length: usize,
}

pub(super) struct Line {
    bytes: Vec<u8>,
    /// What it says; `None` for what is no JSON.
    pub value: Option<Value>,
}

impl Lines {
    pub fn read(run: &Path) -> Result<Lines> {
        let path = run.join(METRICS);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(Error::io("read", &path))?,
        };
        let line = |bytes: &[u8]| Line { bytes: bytes.to_vec(), value: serde_json::from_slice(bytes).ok() };
        let mut lines: Vec<Line> = bytes.split(|&byte| byte == b'\n').map(line).collect();
        // What follows the last end of line: nothing, unless a crash cut it.
        let torn = lines.pop_if(|last| last.value.is_none()).is_some_and(|last| !last.bytes.is_empty());
        Ok(Lines { lines, torn, length: bytes.len() })
    }

    /// Writes those that are kept, byte for byte; not at all where that is the file as it is.
    pub fn write(&self, run: &Path, keep: impl Fn(&Line) -> bool) -> Result<()> {
        let text = self.text(keep);
        // The lines are the file's own, so that as many bytes are the same bytes.
        if text.len() == self.length { Ok(()) } else { write_atomic(run.join(METRICS), &text) }
    }

    /// Those that are kept, byte for byte.
    pub fn text(&self, keep: impl Fn(&Line) -> bool) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.length);
        for line in self.lines.iter().filter(|line| keep(line)) {
            text.extend_from_slice(&line.bytes);
            text.push(b'\n');
        }
        text
    }

    /// What to say of lines that are no JSON.
    pub fn garbage(&self) -> Option<String> {
        let mut bad = self.lines.iter().enumerate().filter(|(_, line)| line.value.is_none() && !line.bytes.is_empty());
        let (first, count) = (bad.next()?.0 + 1, 1 + bad.count());
        Some(format!(
            "{METRICS}: lines that are no JSON: {count}, the first is line {first}; they are kept, and left out of curves"
        ))
    }

    /// What to say of a torn last line.
    pub fn end(&self) -> Option<String> {
        let line = self.lines.len() + 1;
        let what = "as a killed process leaves it: it is dropped, and steps after the checkpoint are written again";
        self.torn.then(|| format!("{METRICS}: line {line}, the last, is cut short, {what}"))
    }
}

/// The file, to append to.
pub(super) fn open_metrics(run: &Path) -> Result<File> {
    let path = run.join(METRICS);
    OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("write", &path))
}
