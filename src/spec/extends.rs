//! `extends: base.yaml`: a spec that says only what it does otherwise. The parent's tree is laid below the child's, mappings merge,
//! everything else is replaced whole. A parent is one more source, so whatever is wrong in it points into its own lines.

use super::parse::{self, Data, Key, Node};
use super::problem::{Place, Problem, Source};
use std::path::{Component, Path, PathBuf};

/// The key.
pub const EXTENDS: &str = "extends";
/// What it does.
pub const ABOUT: &str = "The path of the spec that this one changes, relative to this file. Mappings merge key by key; lists and \
    everything else are replaced whole.";
/// The most specs in a row of which each extends the next, the first one included.
pub const MOST_SPECS: usize = 8;

/// Reads the text of the spec at a path; the error is a sentence.
pub type Read<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// `root`, whose file is `file`, on top of all that it extends. The sources of its parents are added to `sources`, their repeated
/// keys to `problems`; what leaves no tree comes back as the error.
pub fn inherit(
    mut root: Node,
    file: &Path,
    sources: &mut Vec<Source>,
    problems: &mut Vec<Problem>,
    read: Read<'_>,
) -> Result<Node, Problem> {
    let mut seen = vec![file.to_owned()];
    let mut above = Vec::new();
    while let Some((place, parent)) = taken(&mut root)? {
        let path = folder(&seen[seen.len() - 1]).join(&parent);
        if let Some(first) = seen.iter().position(|before| same(before, &path)) {
            let circle = seen[first..].iter().chain([&path]).map(|path| path.display().to_string());
            let message = format!("`{EXTENDS}` leads back: {}", circle.collect::<Vec<_>>().join(" extends "));
            return Err(Problem::new(&place, message, "remove one of them"));
        }
        if seen.len() == MOST_SPECS {
            let message =
                format!("at most {MOST_SPECS} specs may extend each other in a row, this one would be the next");
            return Err(Problem::new(&place, message, "let a spec nearer to the first one say what is needed"));
        }
        let text = read(&path).map_err(|why| Problem::new(&place, why, format!("looked for {}", path.display())))?;
        let source = sources.len();
        sources.push(Source { name: path.display().to_string(), text: text.clone() });
        let mut tree = parse::parse(&text, source, 0, problems)?;
        if !matches!(tree.data, Data::Map(_)) {
            return Err(Problem::new(&tree.place, "a spec that is extended must be a mapping", ""));
        }
        beside(&mut tree, folder(&path), folder(file));
        seen.push(path);
        above.push(std::mem::replace(&mut root, tree));
    }
    Ok(above.into_iter().rev().fold(root, overlay))
}

/// Takes `extends` out of a spec: where it stands, and what it says.
fn taken(root: &mut Node) -> Result<Option<(Place, String)>, Problem> {
    let Data::Map(entries) = &mut root.data else { return Ok(None) };
    let Some(at) = entries.iter().position(|(key, _)| key.name == EXTENDS) else { return Ok(None) };
    let (_, value) = entries.remove(at);
    // One that is repeated is told of as such.
    entries.retain(|(key, _)| key.name != EXTENDS);
    match value {
        Node { place, data: Data::Text(parent) } if !parent.trim().is_empty() => Ok(Some((place, parent))),
        Node { place, .. } => {
            let message = format!("`{EXTENDS}` must be the path of one spec");
            Err(Problem::new(&place, message, "for example extends: quickstart.yaml"))
        }
    }
}

/// `child` on top of `parent`.
fn overlay(parent: Node, child: Node) -> Node {
    match (parent, child) {
        (Node { data: Data::Map(mut below), .. }, Node { data: Data::Map(entries), place }) => {
            for (key, value) in entries {
                match below.iter().position(|(other, _)| other.name == key.name) {
                    Some(at) => {
                        let (_, lower) = below.remove(at);
                        below.insert(at, (key, overlay(lower, value)));
                    }
                    None => below.push((key, value)),
                }
            }
            Node { place, data: Data::Map(below) }
        }
        (_, child) => child,
    }
}

/// The keys that hold paths.
const PATHS: [&str; 5] = ["data.train", "data.validation", "first_stage.from", "transformer.from", "clip.from"];

/// Paths are relative to the file that names them: those of a parent in another folder are put as seen from the child's.
fn beside(tree: &mut Node, folder: &Path, from: &Path) {
    let Data::Map(sections) = &mut tree.data else { return };
    for (Key { name: section, .. }, node) in sections {
        let Data::Map(entries) = &mut node.data else { continue };
        for (Key { name, .. }, value) in entries {
            if PATHS.iter().any(|path| path.split_once('.') == Some((section, name))) {
                moved(value, folder, from);
            }
        }
    }
}

fn moved(node: &mut Node, folder: &Path, from: &Path) {
    match &mut node.data {
        Data::Text(glob) if !glob.is_empty() && Path::new(&*glob).is_relative() => {
            let path = folder.join(&*glob);
            let seen = path.strip_prefix(from).map_or_else(|_| upwards(&path, from), Path::to_owned);
            *glob = seen.display().to_string();
        }
        Data::List(items) => items.iter_mut().for_each(|item| moved(item, folder, from)),
        Data::Map(entries) => entries.iter_mut().for_each(|(_, value)| moved(value, folder, from)),
        _ => {}
    }
}

/// `path` as seen from the folder `from`: up to what both share, then down; the whole path where that cannot be said in words.
fn upwards(path: &Path, from: &Path) -> PathBuf {
    let shared = path.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let own: Vec<Component<'_>> = from.components().skip(shared).collect();
    if path.is_absolute() != from.is_absolute() || own.contains(&Component::ParentDir) {
        return std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    }
    own.iter().map(|_| Component::ParentDir).chain(path.components().skip(shared)).collect()
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(a) == real(b)
}
