//! The notebooks: what is committed holds to their rules, and with `DALLE_NOTEBOOKS=1` they are run in Jupyter.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("notebooks")
}

fn paths() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == "ipynb")).collect();
    paths.sort();
    paths
}

/// A notebook's list of lines as one text.
fn text(value: &Value) -> String {
    match value {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().unwrap_or("").to_owned(),
    }
}

fn tagged(cell: &Value, tag: &str) -> bool {
    cell["metadata"]["tags"].as_array().is_some_and(|tags| tags.iter().any(|it| it == tag))
}

#[test]
fn cells_are_short_and_their_outputs_are_there_and_sound() {
    assert_eq!(paths().len(), 8);
    for path in paths() {
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() <= 1 << 20, "{}: {} bytes", path.display(), bytes.len());
        let book: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(book["metadata"]["kernelspec"]["name"], "rust", "{}", path.display());
        let (mut pictures, mut prose) = (0, 0);
        for cell in book["cells"].as_array().unwrap() {
            let source = text(&cell["source"]);
            let at = format!("{}: {source}", path.display());
            if cell["cell_type"] == "markdown" {
                prose += 1;
                continue;
            }
            assert!(source.lines().count() <= 12, "{at}");
            let outputs = cell["outputs"].as_array().unwrap();
            let errors = outputs.iter().filter(|output| output["output_type"] == "error").count();
            assert_eq!(errors > 0, tagged(cell, "raises-exception"), "{at}");
            assert!(outputs.iter().all(|output| !text(&output["text"]).contains("panicked at")), "{at}");
            for data in outputs.iter().map(|output| &output["data"]).filter(|data| data.is_object()) {
                assert!(data.get("text/plain").is_some() || data.get("text/html").is_some(), "{at}");
                // Debug text is all that evcxr has of a value whose cell moved a variable.
                assert!(data.as_object().is_some_and(|forms| forms.keys().any(|form| form != "text/plain")), "{at}");
                let svg = text(&data["image/svg+xml"]);
                // A picture needs nothing but itself: no script, nothing from elsewhere, no colours of a page around it.
                assert!(!svg.contains("<script") && !svg.contains("var(--"), "{at}");
                assert!(!svg.contains("href=\"http") && !text(&data["text/html"]).contains("<script"), "{at}");
                pictures += usize::from(!svg.is_empty() || data.get("image/png").is_some());
            }
        }
        assert!(pictures >= 2 && prose >= 4, "{}: {pictures} pictures, {prose} cells of prose", path.display());
    }
}

/// What the strict runner says. It needs evcxr's kernel and Jupyter, as `scripts/notebook-setup.sh` installs them.
#[test]
fn they_run_in_jupyter() {
    if std::env::var_os("DALLE_NOTEBOOKS").is_none_or(|value| value != "1") {
        eprintln!("skipped: set DALLE_NOTEBOOKS=1 after scripts/notebook-setup.sh");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let check = |notebooks: &[&Path]| {
        let python = root.join("target/notebook-venv/bin/python");
        Command::new(python).arg(root.join("scripts/notebooks.py")).args(notebooks).output().unwrap()
    };
    let output = check(&[]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{said}");
    assert!(output.status.success(), "{said}");
    // That the runner would have noticed: a panic and a returned error are no errors to Jupyter.
    let folder = tempfile::tempdir().unwrap();
    for (name, code, said) in [
        ("panic", "let numbers: Vec<i32> = Vec::new();\\nnumbers[3]", "panicked at"),
        ("error", "Err::<(), _>(String::from(\\\"no such run\\\"))?;", "no such run"),
    ] {
        let path = folder.path().join(format!("{name}.ipynb"));
        let cell = format!(
            "{{\"cell_type\": \"code\", \"id\": \"a\", \"metadata\": {{}}, \"execution_count\": null, \"outputs\": [], \"source\": \"{code}\"}}"
        );
        let book = format!("{{\"cells\": [{cell}], \"metadata\": {{}}, \"nbformat\": 4, \"nbformat_minor\": 5}}");
        std::fs::write(&path, book).unwrap();
        let output = check(&[&path]);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && printed.contains(said), "{name}: {printed}");
    }
}
