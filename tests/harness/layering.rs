//! One way through the house: no module of the library names one to its right.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From what knows nothing to what knows everything.
pub(super) const ORDER: [&str; 22] = [
    "error",
    "files",
    "checkpoint",
    "random",
    "shape",
    "mask",
    "kernels",
    "text",
    "data",
    "ops",
    "nn",
    "models",
    "objective",
    "import",
    "spec",
    "inference",
    "train",
    "evaluate",
    "harness",
    "report",
    "notebook",
    "bin",
];

fn place(module: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == module)
}

/// What follows each `crate::` of a source: the first name, or the first names of a group, with the line.
fn named(source: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (at, path) in source.match_indices("crate::") {
        let line = 1 + source[..at].matches('\n').count();
        let rest = &source[at + path.len()..];
        let mut depth = 0;
        let mut name = String::new();
        let mut first = true;
        for character in rest.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                c if c.is_alphanumeric() || c == '_' => {
                    if first && depth <= 1 {
                        name.push(c);
                    }
                    continue;
                }
                _ => {}
            }
            if !name.is_empty() {
                names.push((line, std::mem::take(&mut name)));
                first = false;
            }
            // In a group, each entry at its top begins a name again.
            first |= character == ',' && depth == 1;
            if depth == 0 {
                break;
            }
        }
    }
    names
}

/// Each file of the library with the module at the top that it belongs to.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && path != root.join("lib.rs") {
                let top = path.strip_prefix(&root).unwrap().components().next().unwrap().as_os_str().to_string_lossy();
                // The binary is a crate of its own and names the library as `dalle::`.
                if top != "bin" {
                    files.push((path.clone(), top.trim_end_matches(".rs").to_owned()));
                }
            }
        }
    }
    files
}

#[test]
fn no_module_names_one_to_its_right() {
    let sources = sources();
    assert!(sources.len() > 50);
    let texts: Vec<(PathBuf, usize, String)> = sources
        .into_iter()
        .map(|(path, top)| {
            let at = place(&top).unwrap_or_else(|| panic!("{top} has no place in the order"));
            let text = fs::read_to_string(&path).unwrap();
            (path, at, text)
        })
        .collect();
    // An exported macro lives at the crate's root, but belongs to the module that writes it.
    let mut macros = HashMap::new();
    for (_, at, text) in &texts {
        for rest in text.split("macro_rules! ").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            macros.insert(name, *at);
        }
    }
    let mut wrong = Vec::new();
    for (path, at, text) in &texts {
        for (line, name) in named(text) {
            let named = place(&name).or_else(|| macros.get(&name).copied());
            match named {
                Some(named) if named > *at => wrong.push(format!("{}:{line}: {name}", path.display())),
                // `dfdx` is no module: macros that write dfdx's types name it through this crate.
                None if !["Error", "Result", "dfdx"].contains(&name.as_str()) => {
                    wrong.push(format!("{}:{line}: {name}?", path.display()))
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `println!` and its like panic where nobody reads on. The binary has `say`, everybody `harness::notice::line`.
#[test]
fn nothing_prints_by_a_macro_that_panics() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut wrong = Vec::new();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            seen += 1;
            for (at, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if ["print!(", "println!(", "dbg!("].iter().any(|name| code.contains(name)) {
                    wrong.push(format!("{}:{}: {line}", path.display(), at + 1));
                }
            }
        }
    }
    assert!(seen > 100);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_found_in_groups_and_paths() {
    let source = "use crate::{\n    Error,\n    data::{Folder, source::Source},\n    report::grid,\n};\n\
                  use crate::train::checkpoint;\nlet x = $crate::shape::Group<A>;\nuse std::fs;";
    let names: Vec<String> = named(source).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(names, ["1 Error", "1 data", "1 report", "6 train", "7 shape"]);
}
