//! What is published: the files of the package, what the manifest and the documents say of each other.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The value of a key that stands on a line of its own in Cargo.toml.
fn manifest(key: &str) -> String {
    let text = read("Cargo.toml");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
    line.trim_matches('"').to_owned()
}

#[test]
fn the_package_holds_what_builds_and_what_the_readme_shows() {
    let mut cargo = Command::new(env!("CARGO"));
    let said = cargo.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(root()).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let listed = String::from_utf8(said.stdout).unwrap();
    let listed: BTreeSet<&str> = listed.lines().collect();
    for file in
        ["src/lib.rs", "src/report/style.css", "src/kernels/cuda/adamw.cu", "build.rs", "experiments/schema.json"]
    {
        assert!(listed.contains(file), "{file}");
    }
    let readme = read("README.md");
    let pictures: Vec<&str> =
        readme.split("![").skip(1).filter_map(|rest| rest.split_once("](")?.1.split(')').next()).collect();
    assert!(!pictures.is_empty());
    for file in pictures.into_iter().chain(["LICENSE-MIT", "LICENSE-APACHE", "CITATION.cff", "docs/cookbook.md"]) {
        assert!(listed.contains(file), "{file}: README shows it, or people look for it");
    }
    // Data, notebooks with their outputs and fixtures are ten times the size of the sources.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    for file in listed.iter().filter_map(|file| fs::read(root().join(file)).ok()) {
        packed.write_all(&file).unwrap();
    }
    let bytes = packed.finish().unwrap().len();
    assert!(bytes < 1_000_000, "{bytes} bytes as the package has them");
    assert!(!listed.iter().any(|file| file.starts_with("notebooks") || file.starts_with("tests")));
}

#[test]
fn the_crates_documentation_has_every_feature() {
    let (cargo, docs) = (read("Cargo.toml"), read("src/lib.rs"));
    let features = cargo.split("\n[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<&str> = features
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once(" = [")?.0))
        .filter(|name| *name != "default")
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        assert!(docs.contains(&format!("//! | `{name}` | ")), "{name} has no row in the table of features");
    }
}

#[test]
fn documents_agree_with_the_manifest() {
    let version = manifest("version");
    assert!(read("CITATION.cff").contains(&format!("\nversion: {version}\n")));
    assert!(
        read("CHANGELOG.md").contains(&format!("[Unreleased] {version}"))
            || read("CHANGELOG.md").contains(&format!("[{version}]"))
    );
    assert!(read("README.md").contains(&format!("Stable Rust ({} or later)", manifest("rust-version"))));
    assert!(read(".ci/run").contains("s/^rust-version"));
    for kind in ["MIT", "Apache-2.0"] {
        assert!(manifest("license").contains(kind) && read("CITATION.cff").contains(&format!("  - {kind}\n")));
    }
}
