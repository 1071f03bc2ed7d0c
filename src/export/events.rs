//! TensorBoard's event files. Of its messages only the few fields that are used are written.
//!
//! A file is made in memory and then put into its folder, where whatever this project wrote before is its beginning or is
//! superseded. So the same export twice is one file, and one that goes on appends to it.

use super::wire::{bytes, double, float, framed, int, message};
use crate::{Error, Result};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// When something was so: seconds since 1970, and a step.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Seconds since 1970.
    pub time: f64,
    /// Updates.
    pub step: u64,
}

/// A value of a setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// A number.
    Number(f64),
    /// A switch.
    Flag(bool),
    /// Whatever else, as it is written.
    Text(String),
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Success = 1,
    /// With an error.
    Failure = 2,
}

/// The event file of one folder.
pub struct Events {
    folder: PathBuf,
    /// Seconds since 1970: of the first record, and in the file's name.
    started: f64,
    /// The file, once there is one.
    path: Option<PathBuf>,
    /// What it does not have yet.
    ahead: Vec<u8>,
}

/// What the names of this project's files end with.
const OURS: &str = "dalle";

impl Events {
    /// The file of `folder`, of what started at `started` (seconds since 1970). Nothing is written before
    /// [`flush`](Events::flush).
    pub fn new(folder: impl Into<PathBuf>, started: f64) -> Events {
        let mut events = Events { folder: folder.into(), started, path: None, ahead: Vec::new() };
        events.record(At { time: started, step: 0 }, |event| bytes(3, b"brain.Event:2", event));
        events.begin();
        events
    }

    /// From here on the folder is told anew: readers forget what they have read of it. What a run writes again after it was set back
    /// replaces what it had written.
    pub fn begin(&mut self) {
        const START: u64 = 1;
        let at = At { time: self.started, step: 0 };
        self.record(at, |event| message(7, event, |log| int(1, START, log)));
    }

    /// A number, for the scalars.
    pub fn scalar(&mut self, at: At, tag: &str, x: f64) {
        self.value(at, tag, |value| float(2, x as f32, value));
    }

    /// A picture of `width` × `height`, as a PNG.
    pub fn image(&mut self, at: At, tag: &str, [width, height]: [u32; 2], png: &[u8]) {
        const RGB: u64 = 3;
        self.value(at, tag, |value| {
            message(4, value, |image| {
                int(1, height.into(), image);
                int(2, width.into(), image);
                int(3, RGB, image);
                bytes(4, png, image);
            });
        });
    }

    /// The settings of what this folder and those below it hold, for the table of hyperparameters.
    pub fn settings<'a>(&mut self, settings: impl Iterator<Item = (&'a str, Setting)>) {
        let started = self.started;
        self.hyperparameters("session_start_info", 3, |info| {
            for (key, setting) in settings {
                message(1, info, |entry| {
                    bytes(1, key.as_bytes(), entry);
                    message(2, entry, |value| match setting {
                        Setting::Number(x) => double(2, x, value),
                        Setting::Text(text) => bytes(3, text.as_bytes(), value),
                        Setting::Flag(on) => int(4, on.into(), value),
                    });
                });
            }
            double(5, started, info);
        });
    }

    /// How it ended, and when.
    pub fn end(&mut self, end: End, time: f64) {
        self.hyperparameters("session_end_info", 4, |info| {
            int(1, end as u64, info);
            double(2, time, info);
        });
    }

    /// Writes what is not written yet.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        if self.ahead.is_empty() {
            return Ok(());
        }
        let path = match &self.path {
            Some(path) => path.clone(),
            None => self.place()?,
        };
        let written =
            OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| file.write_all(&self.ahead));
        written.map_err(Error::io("write", &path))?;
        self.ahead.clear();
        self.path = Some(path);
        Ok(())
    }

    /// The file to write to: the last of ours where that is the beginning of this one, which then needs only the rest; else a new
    /// one, which readers come to after those that are there.
    fn place(&mut self) -> Result<PathBuf> {
        fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        let mut ours = ours(&self.folder)?;
        let last = ours.pop();
        if let Some((_, last)) = &last {
            let there = fs::read(last).map_err(Error::io("read", last))?;
            if self.ahead.starts_with(&there) {
                self.ahead.drain(..there.len());
                return Ok(last.clone());
            }
        }
        let number = last.map_or(0, |(number, _)| number + 1);
        Ok(self.folder.join(format!("events.out.tfevents.{:010}.{number:06}.{OURS}", self.started as u64)))
    }

    fn hyperparameters(&mut self, what: &str, field: u64, parts: impl FnOnce(&mut Vec<u8>)) {
        let mut content = Vec::new();
        message(field, &mut content, parts);
        let at = At { time: self.started, step: 0 };
        self.value(at, &format!("_hparams_/{what}"), |value| {
            message(9, value, |metadata| {
                message(1, metadata, |plugin| {
                    bytes(1, b"hparams", plugin);
                    bytes(2, &content, plugin);
                });
            });
        });
    }

    fn value(&mut self, at: At, tag: &str, what: impl FnOnce(&mut Vec<u8>)) {
        self.record(at, |event| {
            message(5, event, |summary| {
                message(1, summary, |value| {
                    bytes(1, tag.as_bytes(), value);
                    what(value);
                });
            });
        });
    }

    fn record(&mut self, At { time, step }: At, what: impl FnOnce(&mut Vec<u8>)) {
        let mut event = Vec::new();
        double(1, time, &mut event);
        int(2, step, &mut event);
        what(&mut event);
        framed(&event, &mut self.ahead);
    }
}

/// This project's event files of `folder`, by their numbers.
fn ours(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut ours = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number =
            name.strip_prefix("events.out.tfevents.").and_then(|rest| rest.strip_suffix(OURS)?.strip_suffix('.'));
        let number = number.and_then(|rest| rest.split_once('.')?.1.parse().ok());
        ours.extend(number.map(|number| (number, path.clone())));
    }
    ours.sort_unstable();
    Ok(ours)
}
