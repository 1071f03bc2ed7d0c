//! README and docs say nothing that is not so: their commands parse, their specs check; keys, presets, files, links, and the names
//! that are said to be in a file exist.

use super::layering::ORDER;
use dalle::models::presets;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page of words.
struct Page {
    /// From the root.
    path: PathBuf,
    text: String,
}

impl Page {
    fn read(path: impl Into<PathBuf>) -> Page {
        let path = path.into();
        let text = fs::read_to_string(root().join(&path)).unwrap();
        Page { path, text }
    }

    /// The blocks fenced as `language`.
    fn blocks(&self, language: &str) -> Vec<String> {
        let fence = format!("```{language}\n");
        self.text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    }

    /// Everything but fenced blocks.
    fn prose(&self) -> String {
        let (mut prose, mut fenced) = (String::new(), false);
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        prose
    }

    /// The code spans.
    fn spans(&self) -> Vec<String> {
        self.prose().split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Where its links to other files, or to itself, lead.
    fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
    }

    /// What a link may name after `#`: its headings, as code hosts write them.
    fn anchors(&self) -> HashSet<String> {
        let slug = |heading: &str| -> String {
            let kept = heading.trim().chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
        };
        let prose = self.prose();
        prose.lines().filter(|line| line.starts_with('#')).map(|line| slug(line.trim_start_matches('#'))).collect()
    }

    /// The first cells of the table whose header starts with `header`, their code spans taken apart.
    fn first_column(&self, header: &str) -> Vec<String> {
        let table = self.text.split(&format!("| {header} |")).nth(1).unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let spans = |row: &str| -> Vec<String> {
            row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        rows.flat_map(spans).collect()
    }
}

/// README and all of docs.
fn pages() -> Vec<Page> {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let names = docs.map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    let named = names.filter(|name| name.extension().is_some_and(|end| end == "md"));
    let pages: Vec<Page> = std::iter::once(PathBuf::from("README.md")).chain(named).map(Page::read).collect();
    assert!(pages.len() > 6, "{} pages", pages.len());
    pages
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

/// A folder with the repository's specs and those of the pages, under the names in their first lines; and these names.
fn workplace() -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("experiments")).unwrap();
    for entry in fs::read_dir(root().join("experiments")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, folder.path().join("experiments").join(path.file_name().unwrap())).unwrap();
        }
    }
    let mut specs = BTreeMap::new();
    for page in pages() {
        for spec in page.blocks("yaml") {
            let first = spec.lines().next().unwrap();
            let name =
                first.strip_prefix("# ").unwrap_or_else(|| panic!("{}: {first}", page.path.display())).to_owned();
            fs::write(folder.path().join(&name), &spec).unwrap();
            let before = specs.insert(name.clone(), spec.clone());
            assert!(before.is_none_or(|before| before == spec), "{name} is two specs");
        }
    }
    lenders(folder.path(), &specs["pictures.yaml"]);
    (folder, specs.into_keys().collect())
}

/// What specs of the pages take stages from: a run of `spec`, and imported files.
fn lenders(folder: &Path, spec: &str) {
    let run = folder.join("results/pictures/20261130T000000Z-0123456789abcdef");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("spec.resolved.yaml"), spec).unwrap();
    let hash = blake3::hash(spec.as_bytes()).to_hex();
    fs::write(run.join("run.json"), format!("{{\"blake3\": {{\"spec.resolved.yaml\": \"{hash}\"}}}}")).unwrap();
    // Files without a tensor, and a name that CLIP's merges are known by.
    let empty = [&2u64.to_le_bytes()[..], b"{}"].concat();
    ["dvae.safetensors", "clip.safetensors"].iter().for_each(|file| fs::write(folder.join(file), &empty).unwrap());
    fs::write(folder.join("merges.txt"), "").unwrap();
}

#[test]
fn every_command_parses_and_every_spec_checks() {
    let (folder, own) = workplace();
    assert!(own.len() > 2, "{own:?}");
    let check = |specs: Vec<String>| {
        let arguments = [vec!["check".to_owned(), "--spec-only".to_owned()], specs].concat();
        let output = experiment(&arguments, folder.path());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    check(own);
    let mut seen = 0;
    let blocks: Vec<String> = pages().iter().flat_map(|page| page.blocks("bash")).collect();
    for line in blocks.iter().flat_map(|block| block.lines()) {
        let mut words = words(line);
        let start = match words.first().map(String::as_str) {
            Some("experiment") => 1,
            Some("cargo") if words.contains(&"--".to_owned()) => {
                words.iter().position(|word| word == "--").unwrap() + 1
            }
            Some("cargo" | "#") | None => continue,
            Some("python3") => {
                assert!(root().join(&words[1]).is_file(), "{line}");
                continue;
            }
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
            check(specs);
        }
        match arguments[0].as_str() {
            // A reader has pictures of their own.
            "check" => arguments.push("--spec-only".into()),
            "plan" | "masks" | "explain" => {}
            "data" if arguments[1] == "shapes" => {}
            first if first.ends_with(".yaml") => {
                // What it says without a GPU is tests/gpu/absent.rs's.
                let kept = |word: &String| {
                    !word.starts_with("--resume") && !["--device", "cuda", "--dry-run"].contains(&word.as_str())
                };
                arguments.retain(kept);
                arguments.push("--dry-run".into());
            }
            // The others need a run, or npm: unknown options are found before the help is printed.
            _ => arguments.push("--help".into()),
        }
        let output = experiment(&arguments, folder.path());
        assert!(output.status.success(), "{line}: {output:?}");
    }
    assert!(seen > 30, "{seen} commands");
    // That `--help` hides no wrong option.
    let wrong = ["sample", "results", "--caption", "a", "--nn", "3", "--help"].map(str::to_owned);
    assert_eq!(experiment(&wrong, folder.path()).status.code(), Some(2));
}

#[test]
fn their_keys_are_those_of_a_spec() {
    let spec = dalle::spec::schema::json();
    let sections = ["data.", "text.", "first_stage.", "transformer.", "clip.", "sample.", "evaluate.", "gpu."];
    let mut seen = 0;
    for page in pages() {
        for span in page.spans() {
            let key = span.split(':').next().unwrap();
            if sections.iter().any(|section| key.starts_with(section)) {
                let below = |schema: &'static serde_json::Value, part: &str| {
                    // A schedule is a number, or a mapping of its own.
                    let of = if schema["properties"].is_object() { Some(schema) } else { schema["anyOf"].get(1) };
                    of?["properties"].get(part)
                };
                let found = key.split('.').try_fold(spec, below);
                assert!(found.is_some(), "{}: {key}", page.path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen} keys");
}

#[test]
fn their_presets_and_modules_are_those_there_are() {
    assert_eq!(Page::read("docs/cookbook.md").first_column("preset"), presets::NAMES);
    assert_eq!(Page::read("docs/design.md").first_column("module"), ORDER);
}

/// Whether a code span names a file or a folder of the repository.
fn is_path(span: &str) -> bool {
    const STARTS: [&str; 10] = [
        "src/",
        "tests/",
        "experiments/",
        ".ci/",
        "benches/",
        "notebooks/",
        "scripts/",
        "docs/",
        "examples/",
        "results/",
    ];
    // `results/<name>/` is to be filled in.
    STARTS.iter().any(|start| span.starts_with(start)) && !span.contains('<')
}

#[test]
fn their_files_and_links_exist() {
    let (mut files, mut links) = (0, 0);
    for page in pages() {
        let said = page.path.display();
        for span in page.spans().iter().filter(|span| is_path(span)) {
            files += 1;
            let name = span.split_whitespace().next().unwrap();
            assert!(root().join(name).exists(), "{said}: {name}");
        }
        for link in page.links() {
            links += 1;
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(file, at)| (file, Some(at)));
            let target = match file {
                "" => page.path.clone(),
                file => page.path.parent().unwrap().join(file),
            };
            assert!(root().join(&target).exists(), "{said}: {link}");
            if let Some(anchor) = anchor {
                assert!(Page::read(target).anchors().contains(anchor), "{said}: {link}");
            }
        }
    }
    assert!(files > 100 && links > 50, "{files} files, {links} links");
}

/// A file, or all files below a folder.
fn code(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).unwrap();
    }
    fs::read_dir(path).unwrap().map(|entry| code(&entry.unwrap().path())).collect()
}

/// Whether `text` has `word` by itself.
fn holds(text: &str, word: &str) -> bool {
    let ends = |beside: Option<char>| beside.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    let mut places = text.match_indices(word);
    places.any(|(at, _)| ends(text[..at].chars().next_back()) && ends(text[at + word.len()..].chars().next()))
}

/// Wherever a page says `name` in `file`, or `one`, `two` and `three` in `file`.
#[test]
fn what_is_said_to_be_in_a_file_is_there() {
    let mut seen = 0;
    for page in pages() {
        let prose = page.prose();
        // Text and code spans by turns.
        let parts: Vec<&str> = prose.split('`').collect();
        for at in (3..parts.len()).step_by(2) {
            let file = parts[at];
            if !is_path(file) || !parts[at - 1].split_whitespace().eq(["in"]) {
                continue;
            }
            let text = code(&root().join(file));
            let mut name = at - 2;
            loop {
                let word = parts[name].rsplit("::").next().unwrap();
                assert!(holds(&text, word), "{}: {word} in {file}", page.path.display());
                seen += 1;
                if name < 3 || !matches!(parts[name - 1].trim(), "," | "and" | "or") || is_path(parts[name - 2]) {
                    break;
                }
                name -= 2;
            }
        }
    }
    assert!(seen > 100, "{seen} names");
}

/// What a newcomer reads in five minutes, at 220 words a minute.
#[test]
fn the_readme_is_one_page() {
    let words = Page::read("README.md").text.split_whitespace().count();
    assert!(words <= 1100, "{words} words");
}
