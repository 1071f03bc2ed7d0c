//! A run for TensorBoard: `DIR/<name>/<run>/` for its settings, results and samples, and in it a folder for each stage, whose steps
//! begin at 0 of their own.
//!
//! Everything is read off the run directory, so that a run is exported the same way while it is trained, beside it, and long
//! after. Training does nothing for it.

use super::events::{At, End, Events, Setting};
use super::line::Line;
use super::tail::{News, Tail};
use super::{figures, label, pictures};
use crate::harness::{notice, run_dir};
use crate::models::presets;
use crate::report::run::{Progress, Run};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The event files of one run, and how far they are.
pub struct Board {
    run: PathBuf,
    out: PathBuf,
    /// Seconds since 1970. Pauses between sessions are left out of every time that is written: the same run has the same bytes.
    started: f64,
    tail: Tail,
    whole: Events,
    stages: HashMap<String, Events>,
    /// Whether it was said that some lines are no measurements.
    said: bool,
}

impl Board {
    /// The run at `run`, below `out`, with its settings.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no run, or its spec or its start cannot be read.
    pub fn open(run: &Path, out: &Path) -> Result<Board> {
        let run = run_dir::find(run)?;
        let facts = run_dir::read_run(&run)?;
        let started = facts["started"].as_str().and_then(run_dir::seconds_since_1970);
        let started = started.ok_or_else(|| {
            Error::data(run.join("run.json"), format!("started: expected a time, got {}", facts["started"]))
        })? as f64;
        let out = out.join(label(&run, &facts));
        let mut whole = Events::new(&out, started);
        let settings = run_dir::read_spec(&run, presets::NAMES)?.spec.leaves()?;
        whole.settings(settings.iter().map(|(key, value)| (key.as_str(), setting(value))));
        let tail = Tail::new(run.join("metrics.jsonl"));
        Ok(Board { run, out, started, tail, whole, stages: HashMap::new(), said: false })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.out
    }

    /// Whether somebody writes the run, who may have more to tell.
    ///
    /// # Errors
    /// Those of [`run_dir::read_run`].
    pub fn grows(&self) -> Result<bool> {
        Ok(run_dir::status(&self.run, &run_dir::read_run(&self.run)?["status"]) == "running")
    }

    /// Writes what the run has measured since the last call, and what was drawn then.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn update(&mut self) -> Result<()> {
        let News { anew, lines } = self.tail.read()?;
        if anew {
            self.stages.values_mut().for_each(Events::begin);
        }
        let (lines, bad) = Line::all(&lines);
        if bad > 0 && !self.said {
            self.said = true;
            let what = "metrics.jsonl holds lines that are no measurements; they are left out";
            notice::line(format_args!("warning: {}: {what}", self.run.display()));
        }
        let mut drawn = HashMap::new();
        for line in &lines {
            let drawn = drawn.entry(line.stage.as_str()).or_insert_with(|| pictures::progress(&self.run, &line.stage));
            let new = || Events::new(self.out.join(&line.stage), self.started);
            let events = self.stages.entry(line.stage.clone()).or_insert_with(new);
            write(events, line, self.started, &self.run, drawn.as_ref());
        }
        self.whole.flush()?;
        self.stages.values_mut().try_for_each(Events::flush)
    }

    /// Writes the rest of a run that nobody writes any more: its results, its samples, and how it ended.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Data`].
    pub fn finish(mut self) -> Result<PathBuf> {
        self.update()?;
        let run = Run::read(&self.run)?;
        let seconds = run.seconds("total").unwrap_or(0.0);
        let at = At { time: self.started + seconds, step: 0 };
        if let Some(results) = run.facts.get("results") {
            for (key, figure) in figures(results) {
                self.whole.scalar(at, &format!("results/{key}"), figure.value);
            }
        }
        for (tag, sheet) in [("samples", pictures::samples(&run)), ("reconstructions", pictures::reconstructions(&run))]
        {
            if let Some(sheet) = sheet? {
                let sides = [sheet.width as u32, sheet.height as u32];
                let png = sheet.png().map_err(|error| Error::data(&self.run, error.detail))?;
                self.whole.image(at, tag, sides, &png);
            }
        }
        match run.text("status") {
            Some("done" | "expectation failed") => self.whole.end(End::Success, at.time),
            Some("failed") => self.whole.end(End::Failure, at.time),
            // It may be gone on with.
            _ => {}
        }
        self.whole.flush()?;
        Ok(self.out)
    }
}

/// A line's figures, and the sheet that was drawn after its step.
fn write(events: &mut Events, line: &Line, started: f64, run: &Path, drawn: Option<&Progress>) {
    let Line { stage, step, time, figures } = line;
    let at = At { time: started + time, step: *step };
    for (name, figure) in figures {
        events.scalar(at, &format!("{stage}/{name}"), *figure);
    }
    let sheet = drawn.and_then(|drawn| drawn.steps.iter().find(|sheet| sheet.step == *step));
    // One that is lost is said by the report.
    let png = sheet.and_then(|sheet| std::fs::read(run.join(&sheet.file)).ok());
    if let Some(png) = png
        && let Some(sides) = pictures::sides(&png)
    {
        let what = if stage == "transformer" { "samples" } else { "reconstructions" };
        events.image(at, &format!("{stage}/{what}"), sides, &png);
    }
}

fn setting(value: &Value) -> Setting {
    match value {
        Value::Bool(on) => Setting::Flag(*on),
        Value::String(text) => Setting::Text(text.clone()),
        other => other.as_f64().map_or_else(|| Setting::Text(other.to_string()), Setting::Number),
    }
}
