//! The README says nothing that is not so: its commands parse, its specs check, its keys, presets and files exist.

use dalle::models::presets;
use serde_yaml::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The blocks fenced as `language`.
fn blocks(readme: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The first cells of the table whose header starts with `header`, their code spans taken apart.
fn first_column(readme: &str, header: &str) -> Vec<String> {
    let table = readme.split(&format!("| {header} |")).nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let spans = |row: &str| -> Vec<String> {
        row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    rows.flat_map(spans).collect()
}

/// The words of a shell line without expansions: blanks apart, double quotes together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('"').enumerate() {
        if i % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn experiment(arguments: &[String], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_experiment")).args(arguments).current_dir(folder).output().unwrap()
}

/// A folder with the repository's specs and those of the README, under the names in their first lines.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("experiments")).unwrap();
    for entry in fs::read_dir(root().join("experiments")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join("experiments").join(path.file_name().unwrap())).unwrap();
    }
    for spec in blocks(&readme(), "yaml") {
        let name = spec.lines().next().unwrap().strip_prefix("# ").unwrap();
        fs::write(folder.path().join(name), &spec).unwrap();
    }
    folder
}

#[test]
fn every_command_parses_and_every_spec_checks() {
    let folder = workplace();
    let mut seen = 0;
    for line in blocks(&readme(), "bash").iter().flat_map(|block| block.lines()) {
        let mut words = words(line);
        let start = match words.first().map(String::as_str) {
            Some("experiment") => 1,
            Some("cargo") if words.contains(&"--".to_owned()) => {
                words.iter().position(|word| word == "--").unwrap() + 1
            }
            Some("cargo" | "#") | None => continue,
            Some(script) if script.starts_with("scripts/") => {
                assert!(root().join(script).is_file(), "{line}");
                continue;
            }
            Some(program) if program.starts_with("target/notebook-venv/") => {
                let setup = fs::read_to_string(root().join("scripts/notebook-setup.sh")).unwrap();
                assert!(setup.contains(line), "{line}");
                continue;
            }
            Some(other) => panic!("{other}: {line}"),
        };
        let mut arguments = words.split_off(start);
        seen += 1;
        let specs: Vec<String> = arguments.iter().filter(|word| word.ends_with(".yaml")).cloned().collect();
        if !specs.is_empty() {
            let check = [vec!["check".to_owned(), "--spec-only".to_owned()], specs].concat();
            let check = experiment(&check, folder.path());
            assert!(check.status.success(), "{line}: {check:?}");
        }
        match arguments[0].as_str() {
            // A reader has pictures of their own.
            "check" => arguments.push("--spec-only".into()),
            "plan" | "masks" => {}
            "data" if arguments[1] == "shapes" => {}
            first if first.ends_with(".yaml") => {
                // What it says without a GPU is tests/gpu/absent.rs's.
                arguments
                    .retain(|word| !word.starts_with("--resume") && !["--device", "cuda"].contains(&word.as_str()));
                arguments.push("--dry-run".into());
            }
            // The others need a run, or npm: unknown options are found before the help is printed.
            _ => arguments.push("--help".into()),
        }
        let output = experiment(&arguments, folder.path());
        assert!(output.status.success(), "{line}: {output:?}");
    }
    assert!(seen > 12, "{seen} commands");
    // That `--help` hides no wrong option.
    let wrong = ["sample", "results", "--caption", "a", "--nn", "3", "--help"].map(str::to_owned);
    assert_eq!(experiment(&wrong, folder.path()).status.code(), Some(2));
}

#[test]
fn its_keys_are_those_of_a_spec() {
    let output = experiment(&["experiments/ci.yaml", "--dry-run"].map(str::to_owned), root());
    let spec: Value = serde_yaml::from_slice(&output.stdout).unwrap();
    let keys = first_column(&readme(), "key");
    assert!(keys.len() > 20, "{keys:?}");
    let exists = |key: &str| key.split('.').try_fold(&spec, |value, part| value.get(part)).is_some();
    let named = readme();
    let dotted = named.split('`').skip(1).step_by(2).map(|span| span.split(':').next().unwrap()).filter(|span| {
        ["data.", "text.", "first_stage.", "transformer.", "clip.", "sample.", "evaluate."]
            .iter()
            .any(|stage| span.starts_with(stage))
    });
    for key in keys.iter().map(String::as_str).chain(dotted) {
        assert!(exists(key), "{key}");
    }
}

#[test]
fn its_presets_are_those_of_the_table() {
    assert_eq!(first_column(&readme(), "preset"), presets::NAMES);
}

#[test]
fn its_files_exist() {
    let readme = readme();
    let links = readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let spans = readme.split('`').skip(1).step_by(2);
    let starts = ["src/", "tests/", "experiments/", ".ci/", "benches/", "notebooks/"];
    let mut seen = 0;
    for name in links
        .filter(|link| !link.contains("://"))
        .chain(spans.filter(|span| starts.iter().any(|start| span.starts_with(start))))
    {
        // Pictures of results are put there by the runs that draw them.
        if !name.starts_with("results/") {
            seen += 1;
            assert!(root().join(name).exists(), "{name}");
        }
    }
    let layout = blocks(&readme, "text").into_iter().find(|block| block.starts_with("src/")).unwrap();
    for line in layout.lines() {
        let names = line.split_once("  ").unwrap().0;
        let (folder, rest) = names.split_once('/').unwrap();
        for name in rest.split_whitespace() {
            seen += 1;
            assert!(root().join(folder).join(name).exists(), "{folder}/{name}");
        }
        assert!(root().join(folder).is_dir(), "{folder}");
    }
    assert!(seen > 20, "{seen} files");
}
