//! Runs for other programs: TensorBoard's event files, tables, and a folder of models in the manner of Hugging Face. All of it is read off
//! the run directory.

mod csv;
mod events;
mod follow;
mod line;
mod model;
mod pictures;
mod tail;
mod tensorboard;
mod wire;

pub use csv::tables;
pub use follow::{EVERY, Follower};
pub use model::{Folder, model};
pub use tensorboard::Board;

use crate::evaluate::estimate::Estimate;
use serde_json::Value;
use std::path::Path;

/// What a run is called outside its folder: its name, and its folder's.
fn label(run: &Path, facts: &Value) -> String {
    let absolute = std::path::absolute(run).unwrap_or_else(|_| run.to_owned());
    let folder = absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{}/{folder}", facts["name"].as_str().unwrap_or("run"))
}

/// Every figure of `run.json`'s results by its path, as `expect` and `experiment list` name it.
fn figures(results: &Value) -> Vec<(String, Estimate)> {
    fn collect(path: &str, value: &Value, found: &mut Vec<(String, Estimate)>) {
        let within = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match (Estimate::read(value), value) {
            (Some(figure), _) => found.push((path.to_owned(), figure)),
            (_, Value::Object(inner)) => inner.iter().for_each(|(key, value)| collect(&within(key), value, found)),
            (_, Value::Array(inner)) => {
                inner.iter().enumerate().for_each(|(at, value)| collect(&within(&at.to_string()), value, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect("", results, &mut found);
    found
}
