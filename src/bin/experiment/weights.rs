//! Published weights: `experiment import`, and `experiment inspect` of any file of tensors.

use crate::output::Output;
use crate::say;
use clap::Args;
use dalle::Result;
use dalle::error::one_line;
use dalle::harness::notice;
use dalle::import::{Imported, Kind, Stored, Weights, import};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Whose checkpoint it is: openai-dvae, openai-clip, hf-clip, rudalle, taming-gumbel, or torch for any.
    kind: String,
    /// Its files: encoder.pkl and decoder.pkl of openai-dvae, config.json and model.safetensors (its shards, or their
    /// .index.json) of hf-clip, else one.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The safetensors file to write.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub fn import_weights(args: &ImportArgs) -> Result<()> {
    let imported = import(Kind::named(&args.kind)?, &args.files, &args.out)?;
    imported.left_out.iter().for_each(notice::line);
    let Imported { config, tensors, bytes, .. } = &imported;
    let found =
        json!({"config": config, "tensors": tensors, "bytes": bytes, "left_out": imported.left_out, "file": args.out});
    args.output
        .tell(&found, || Ok(format!("config: {config}\n{tensors} tensors, {} to {}", size(*bytes), args.out.display())))
}

pub fn inspect(path: &Path, output: Output) -> Result<()> {
    let weights = Weights::open(path)?;
    let tensors = weights.tensors();
    if output.json {
        let tensor =
            |t: &Stored| json!({"name": t.name, "dtype": t.dtype.to_string(), "shape": t.shape, "bytes": t.size()});
        let Weights { layout, class, attributes, opaque, .. } = &weights;
        let attributes: serde_json::Map<String, Value> = attributes.iter().cloned().collect();
        let tensors: Vec<Value> = tensors.iter().map(tensor).collect();
        return output.end(&json!({
            "file": path, "layout": layout, "class": class, "attributes": attributes, "tensors": tensors, "not_read": opaque,
        }));
    }
    say(format_args!("{}: {}{}", path.display(), weights.layout, named(weights.class.as_deref())))?;
    for (key, value) in weights.attributes.iter().filter(|(key, _)| !key.contains('.')) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        say(format_args!("  {}: {}", shown(key), shown(&value)))?;
    }
    let shape = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
    let rows: Vec<[String; 4]> = tensors
        .iter()
        .map(|t| [shown(&t.name), t.dtype.to_string(), shown(&shape(&t.shape)), size(t.size())])
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, kind, sides) = (width(0), width(1), width(2));
    for row in &rows {
        say(format_args!("{:<name$}  {:<kind$}  {:<sides$}  {:>9}", row[0], row[1], row[2], row[3]))?;
    }
    for (path, global) in &weights.opaque {
        say(format_args!("{}  not read: only a call of {} would make it", shown(path), shown(global)))?;
    }
    let values: u64 = tensors.iter().map(|tensor| tensor.elements()).sum();
    let bytes = tensors.iter().map(|tensor| tensor.size()).sum();
    say(format_args!("{} tensors, {values} values, {}", tensors.len(), size(bytes)))
}

fn named(class: Option<&str>) -> String {
    class.map_or_else(String::new, |class| format!(", a {}", shown(class)))
}

/// A file may call a tensor anything, at any length: a table shows the beginning, on one line.
fn shown(text: &str) -> String {
    const MOST: usize = 160;
    let mut shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    one_line(&shown)
}

fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}
