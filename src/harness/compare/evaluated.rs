//! What `experiment eval` found of runs, where it was asked: figures by a judge that runs may have in common.

use crate::evaluate::results::{Better, Evaluation, ResultRow, words};
use crate::harness::eval::FILE;
use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The samples' figures of a run, by judge and network: those of two judges are two figures. Bounds are among the run's own.
pub(super) fn rows(run: &Path) -> Result<Vec<ResultRow>> {
    let path = run.join(FILE);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(Error::io("read", &path))?,
    };
    let found: Evaluation = serde_json::from_slice(&text).map_err(|error| Error::data(&path, error.to_string()))?;
    let mut rows = Vec::new();
    for (set, of) in found.sets.iter() {
        let within = |row: ResultRow, by: &str| {
            row.below(&format!("eval by {by}, {}", words(set))).within(&format!("evaluation.{set}.{by}"))
        };
        let samples = of.samples.iter().flat_map(|samples| samples.rows());
        rows.extend(samples.map(|row| within(row, &found.judge)));
        if let Some(network) = &of.network {
            for blur in &network.by_radius {
                for (key, better, estimate) in [
                    ("distance", Better::Lower, blur.distance),
                    ("inception score", Better::Higher, blur.inception_score),
                ] {
                    let (path, title) =
                        (format!("radius_{}.{key}", blur.radius), format!("{key}, radius {}", blur.radius));
                    rows.push(within(ResultRow { path, title, unit: "", better, estimate }, &network.metric));
                }
            }
        }
    }
    Ok(rows)
}
