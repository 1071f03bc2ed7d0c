//! Runs as tables for spreadsheets and data frames: one row a figure, so that runs of other stages and quantities stand in one table.

use super::line::Line;
use super::tail::Tail;
use super::{figures, label};
use crate::files::write_atomic;
use crate::harness::catalog::bare;
use crate::harness::{notice, run_dir};
use crate::models::presets;
use crate::{Error, Result};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The tables.
const NAMES: [&str; 3] = ["metrics.csv", "results.csv", "settings.csv"];

/// Writes `metrics.csv`, `results.csv` and `settings.csv` of `runs` into the folder `out`, which must hold none of them yet, and says
/// where they are.
///
/// # Errors
/// [`Error::Usage`] where one of them is there; [`Error::Data`] where there is no run or its spec cannot be read; [`Error::Io`].
pub fn tables(runs: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let paths = NAMES.map(|name| out.join(name));
    if let Some(there) = paths.iter().find(|path| path.exists()) {
        return Err(Error::Usage(format!("{} is there already: remove it, or name another folder", there.display())));
    }
    let mut metrics = String::from("run,stage,step,time,quantity,value\n");
    let mut results = String::from("run,quantity,value,low,high,n\n");
    let mut settings = String::from("run,key,value\n");
    for run in runs {
        let run = run_dir::find(run)?;
        let facts = run_dir::read_run(&run)?;
        let name = text(&label(&run, &facts));
        let (lines, bad) = Line::all(&Tail::new(run.join("metrics.jsonl")).read()?.lines);
        if bad > 0 {
            let what = format!("metrics.jsonl: lines that are no measurements: {bad}; they are left out");
            notice::line(format_args!("warning: {}: {what}", run.display()));
        }
        for Line { stage, step, time, figures } in &lines {
            for (quantity, value) in figures {
                let (stage, quantity) = (text(stage), text(quantity));
                let _ = writeln!(metrics, "{name},{stage},{step},{time},{quantity},{}", number(*value));
            }
        }
        for (quantity, figure) in figures(&facts["results"]) {
            let [low, high] = figure.interval.map_or(["".into(), "".into()], |ends| ends.map(number));
            let n = figure.n.map_or_else(String::new, |n| n.to_string());
            let _ = writeln!(results, "{name},{},{},{low},{high},{n}", text(&quantity), number(figure.value));
        }
        for (key, value) in run_dir::read_spec(&run, presets::NAMES)?.spec.leaves()? {
            let _ = writeln!(settings, "{name},{},{}", text(&key), text(&bare(&value)));
        }
    }
    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let write = |(path, table): (PathBuf, String)| write_atomic(&path, table.as_bytes()).map(|()| path);
    paths.into_iter().zip([metrics, results, settings]).map(write).collect()
}

/// Empty for what is no number.
fn number(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}

/// Quoted where it has to be (RFC 4180).
fn text(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_commas_and_quotes_is_quoted() {
        assert_eq!(text("plain words"), "plain words");
        assert_eq!(text("a, \"b\"\nc"), "\"a, \"\"b\"\"\nc\"");
        assert_eq!((number(f64::NAN), number(0.1), number(-3.0)), (String::new(), "0.1".into(), "-3".into()));
    }
}
