//! The course of `examples/`: each program runs in seconds, holds what it asserts, and prints what it promises.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `cargo test` builds it beside the tests' own programs: target/PROFILE/examples/NAME.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.is_file(), "{}: not built; `cargo build --examples` builds it, as `cargo test` does", path.display());
    path
}

/// What an example says, in a folder of its own.
fn said(name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program(name)).current_dir(folder.path()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

/// The lines of `text` from the first that starts with `head` on.
fn from<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with(head)).collect();
    assert!(!lines.is_empty(), "no line {head:?} in {text}");
    lines
}

#[test]
fn the_course_is_seven_short_programs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (name, text) = (path.file_stem().unwrap().to_str().unwrap(), std::fs::read_to_string(&path).unwrap());
        assert!(text.lines().count() < 60, "{name}");
        assert!(
            text.starts_with("//! ") && text.contains(&format!("//! `cargo run --release --example {name}`")),
            "{name}"
        );
        names.push(name.to_owned());
    }
    names.sort();
    let course = ["masks", "dvae", "train-from-code", "sample", "your-own-mask", "your-own-preset", "your-own-loss"];
    let numbered = course.iter().enumerate().map(|(at, name)| format!("{:02}-{name}", at + 1));
    assert_eq!(names, numbered.collect::<Vec<_>>());
}

#[test]
fn masks() {
    let said = said("01-masks");
    // Figure 11: the position in row 2 and column 1.
    assert_eq!(from(&said, "row:")[1..5], ["   . . . .", "   . # # #", "   # # . .", "   . . . ."]);
    assert_eq!(from(&said, "col:")[1..5], ["   . # . .", "   . # . .", "   . # . .", "   . . . ."]);
    assert_eq!(from(&said, "conv:3:")[1..5], ["   . . . .", "   # # # .", "   # # . .", "   . . . ."]);
    assert!(said.contains("1280") && from(&said, "conv:11").len() > 1, "{said}");
}

#[test]
fn dvae() {
    let said = said("02-dvae");
    assert_eq!(said.lines().filter(|line| line.starts_with("codes [")).count(), 2, "{said}");
    let largest = |tau: &str| -> f64 {
        from(&said, &format!("τ = {tau}:"))[0].split("is ").nth(1).unwrap()[..4].parse().unwrap()
    };
    assert!(largest("0.0625") > largest("1"), "{said}");
    assert!(said.ends_with("picture of 16 × 16 pixels\n"), "{said}");
}

#[test]
fn train_from_code() {
    let said = said("03-train-from-code");
    assert!(from(&said, "dvae:")[3].starts_with("  step 60: loss "), "{said}");
    assert!(from(&said, "transformer:")[3].starts_with("  step 60: loss "), "{said}");
}

#[test]
fn sample() {
    let said = said("04-sample");
    assert!(said.contains("4 pictures of \"a large red circle\", similarity "), "{said}");
    let (given, primed) = (from(&said, "given"), from(&said, "primed"));
    assert_eq!(given[1..3], primed[1..3], "the first two rows of codes are given");
    assert!(from(&said, "report: ")[0].ends_with("report.html"), "{said}");
}

#[test]
fn your_own_mask() {
    let diagonals = [" . . . . . .", " . . # . . .", " . # . # . .", " # . . . # .", " . . . . . #", " . . . . . ."];
    assert_eq!(said("05-your-own-mask").lines().collect::<Vec<_>>(), diagonals);
}

#[test]
fn your_own_preset() {
    let said = said("06-your-own-preset");
    assert!(said.starts_with("preset narrow\n  dvae ") && said.contains("nats per value\ncodes ["), "{said}");
}

#[test]
fn your_own_loss() {
    let said = said("07-your-own-loss");
    let perplexity = |line: &str| -> f64 { line.rsplit(' ').next().unwrap().parse().unwrap() };
    let [without, with] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert!(without.starts_with("weight 0: ") && with.starts_with("weight 1: "), "{said}");
    assert!(perplexity(with) > perplexity(without), "{said}");
}
