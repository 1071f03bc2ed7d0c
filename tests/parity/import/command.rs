//! The command line's `import` and `inspect`.

use super::crafted::archive;
use super::{PKL, open, path};
use dalle::import::Weights;
use std::process::Command;

fn experiment(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_experiment")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_imports_and_inspects() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("dvae.safetensors").display().to_string();
    let [encoder, decoder] = ["encoder.pkl", "decoder.pkl"].map(|f| path(&format!("{PKL}/{f}")).display().to_string());
    let (code, said, error) = experiment(&["import", "openai-dvae", &encoder, &decoder, "--out", &out]);
    assert_eq!(code, Some(0), "{error}");
    let last = said.lines().last().unwrap();
    let (read, written) = (open(&format!("{PKL}/encoder.pkl")), Weights::open(&out).unwrap());
    assert!(last.starts_with(&format!("{} tensors, ", written.tensors().len())), "{last}");
    assert!(written.tensors().len() > read.tensors().len());
    for (file, weights, layout) in
        [(&encoder, &read, "torch zip, a dall_e.encoder Encoder"), (&out, &written, "safetensors")]
    {
        let (code, said, error) = experiment(&["inspect", file]);
        assert_eq!(code, Some(0), "{error}");
        assert!(said.lines().next().unwrap().ends_with(layout), "{said}");
        for tensor in weights.tensors() {
            let line = said.lines().find(|line| line.split_whitespace().next() == Some(&tensor.name)).unwrap();
            assert!(line.contains("F32"), "{line}");
        }
        let values: u64 = weights.tensors().iter().map(|tensor| tensor.elements()).sum();
        let last = said.lines().last().unwrap();
        assert!(last.starts_with(&format!("{} tensors, {values} values, ", weights.tensors().len())), "{last}");
    }
    let broken = folder.path().join("broken.pt");
    std::fs::write(&broken, archive(b"\x80\x02cos\nsystem\n.")).unwrap();
    let broken = broken.display().to_string();
    for (arguments, code, expected) in [
        (vec!["inspect", &broken], 4, "call of \"os system\""),
        (vec!["inspect", "nowhere.pt"], 4, "nowhere.pt"),
        (vec!["inspect", "/"], 4, "expected a regular file, got a folder"),
        (vec!["import", "torch", &broken, "--out", "x"], 4, "expected tensors"),
        (vec!["import", "torcch", &encoder, "--out", "x"], 2, "expected one of openai-dvae"),
        (vec!["import", "openai-dvae", &encoder, "--out", "x"], 2, "encoder.pkl and decoder.pkl"),
        (vec!["decode", &encoder, "x"], 4, "cannot read x"),
    ] {
        let (got, said, error) = experiment(&arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {error}");
        assert!(said.is_empty() && error.lines().count() == 1 && error.contains(expected), "{arguments:?}: {error}");
    }
}
