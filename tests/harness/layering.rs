//! One way through the house: no module of the library names one to its right, and no two of a folder name each other.

mod circles;
mod imports;

use circles::{House, module};
use imports::{code, imports};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From what knows nothing to what knows everything.
pub(super) const ORDER: [&str; 23] = [
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
    "export",
    "notebook",
    "bin",
];

fn place(module: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == module)
}

/// Circles that stand, by the folder and its modules, each with the reason why.
const KNOWN: [(&str, &[&str]); 0] = [];

/// The library, and each program: crates of their own, which name the library as `dalle::`.
fn crates() -> Vec<PathBuf> {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let programs = fs::read_dir(library.join("bin")).unwrap().map(|program| program.unwrap().path());
    [library.clone()].into_iter().chain(programs).collect()
}

/// The sources of a crate, each with its path below the crate's root.
fn files(root: &Path) -> Vec<(String, String)> {
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path != root.join("bin") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                files.push((file, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

#[test]
fn no_module_names_one_to_its_right() {
    let sources = files(&crates()[0]);
    assert!(sources.len() > 50);
    let texts: Vec<(&str, usize, &str)> = sources
        .iter()
        .filter_map(|(file, text)| {
            let top = module(file).into_iter().next()?;
            let at = place(&top).unwrap_or_else(|| panic!("{top} has no place in the order"));
            Some((file.as_str(), at, text.as_str()))
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
    for (file, at, text) in texts {
        // Those of comments and tests too: they are read, and must be there.
        for import in imports(text).iter().filter(|import| import.path[0] == "crate") {
            let Some(name) = import.path.get(1) else { continue };
            let line = import.line;
            match place(name).or_else(|| macros.get(name).copied()) {
                Some(named) if named > at => wrong.push(format!("{file}:{line}: {name}")),
                // `dfdx` is no module: macros that write dfdx's types name it through this crate.
                None if !["Error", "Result", "dfdx"].contains(&name.as_str()) => {
                    wrong.push(format!("{file}:{line}: {name}?"))
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_circle_between_files_of_a_folder() {
    let mut wrong = Vec::new();
    for root in crates() {
        let files = files(&root);
        let sources = files.iter().map(|(file, source)| (file.as_str(), source.as_str()));
        for (folder, graph) in House::new(sources).graphs() {
            let folder = folder.join("/");
            for (circle, text) in circles::circles(&graph) {
                let known = KNOWN.iter().any(|(place, modules)| *place == folder && circle == *modules);
                if !known {
                    wrong.push(format!("{}/{folder}: {text}", root.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `println!` and its like panic where nobody reads on. The binary has `say`, everybody `harness::notice::line`.
#[test]
fn nothing_prints_by_a_macro_that_panics() {
    let sources: Vec<_> = crates().iter().flat_map(|root| files(root)).collect();
    assert!(sources.len() > 100);
    let mut wrong = Vec::new();
    for (file, text) in &sources {
        for (at, line) in code(text).lines().enumerate() {
            if ["print!(", "println!(", "dbg!("].iter().any(|name| line.contains(name)) {
                wrong.push(format!("{file}:{}: {line}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
