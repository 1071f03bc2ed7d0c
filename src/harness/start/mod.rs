//! A first spec for somebody's pictures: the data are looked at, a preset is chosen that fits them, and every choice stands in the
//! spec with its reason and what it will take here. What looking cannot tell is said there too.

mod choice;
mod look;
mod text;

use super::load::Loaded;
use super::plan::Machine;
use super::sources::Sources;
use crate::models::presets;
use crate::spec::check::TOKENS;
use crate::spec::defaults;
use crate::{Error, Result};
use choice::Choice;
use look::Look;
use std::path::{Component, Path, PathBuf};

/// A spec for some data, not yet written.
#[derive(Debug)]
pub struct Start {
    /// The spec, with its comments.
    pub text: String,
    /// What was found and chosen, in a line.
    pub said: String,
    /// What the data could not say, a sentence each; also in the spec.
    pub unknown: Vec<String>,
}

/// A spec for the pictures that `data` names (a folder of pairs, a shard, a folder of shards or a pattern), which is to lie at
/// `out`. Up to 512 samples are read.
///
/// # Errors
/// [`Error::Data`] where there is nothing there, too little of it can be used, or there are fewer than two samples.
pub fn start(data: &str, out: &Path, machine: Machine) -> Result<Start> {
    let look = Look::at(data)?;
    let choice = Choice::of(&look, Path::new(data), machine)?;
    let (name, folder) = (name(data), folder(out));
    let text = text::spec(&look, &choice, &name, &relative(data, &folder)?, out);
    // Held to what `check` would say of it, down to the files.
    let file = out.file_name().unwrap_or(out.as_os_str()).to_string_lossy();
    let loaded = Loaded::parse(&file, &text, &folder, &[], presets::NAMES)?;
    let side = defaults::side(&loaded.spec.preset).unwrap_or_default();
    Sources::open(&loaded, side)?.look(&loaded.spec, side)?;
    let said = format!("{}, preset {}, {}", look.in_words(), choice.preset, choice.time());
    Ok(Start { text, said, unknown: text::UNKNOWN.map(str::to_owned).into() })
}

/// Where specs go that are written for `data` and nobody says where.
pub fn usual_file(data: &str) -> PathBuf {
    PathBuf::from(format!("{}.yaml", name(data)))
}

/// A name for a run: that of the folder, or of the pattern's.
fn name(data: &str) -> String {
    let path = fixed(data).0;
    let path = path.canonicalize().unwrap_or(path);
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String =
        stem.unwrap_or_default().to_string_lossy().chars().map(|c| if usual(c) { c } else { '-' }).collect();
    let name: String = name.trim_matches(['-', '.']).chars().take(64).collect();
    if name.is_empty() || name.eq_ignore_ascii_case(TOKENS) { "pictures".into() } else { name }
}

/// A pattern's folder without anything to expand, and the rest.
fn fixed(data: &str) -> (PathBuf, PathBuf) {
    let path = Path::new(data);
    if path.exists() {
        return (path.to_owned(), PathBuf::new());
    }
    let plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '{']);
    let count = path.components().take_while(plain).count();
    let (head, rest): (PathBuf, PathBuf) =
        (path.components().take(count).collect(), path.components().skip(count).collect());
    (if count == 0 { PathBuf::from(".") } else { head }, rest)
}

fn folder(out: &Path) -> PathBuf {
    match out.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The pattern `data`, which is relative to here, relative to `folder`.
fn relative(data: &str, folder: &Path) -> Result<String> {
    let (head, rest) = fixed(data);
    let real = |path: &Path| path.canonicalize().map_err(Error::io("open", path));
    let (head, folder) = (real(&head)?, real(folder)?);
    let common = head.components().zip(folder.components()).take_while(|(left, right)| left == right).count();
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(head.components().skip(common)).chain(rest.components()).collect();
    match path.to_str() {
        Some("") => Ok(".".into()),
        Some(path) => Ok(path.to_owned()),
        None => Err(Error::data(&path, "expected a path in UTF-8, which a spec is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn paths_are_relative_to_the_spec() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("data/cats")).unwrap();
        fs::create_dir_all(at("specs/mine")).unwrap();
        let of = |data: &str, folder: &str| relative(at(data).to_str().unwrap(), &at(folder)).unwrap();
        assert_eq!(of("data/cats", "specs/mine"), "../../data/cats");
        assert_eq!(of("data/cats", "data"), "cats");
        assert_eq!(of("data/cats", "data/cats"), ".");
        assert_eq!(of("data/{a,b}/*.tar", "specs"), "../data/{a,b}/*.tar");
        assert!(relative(at("gone/x").to_str().unwrap(), place.path()).is_err());
    }

    #[test]
    fn names_are_those_that_a_spec_may_have() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("Meine Bilder (2)");
        fs::create_dir(&folder).unwrap();
        assert_eq!(name(folder.to_str().unwrap()), "Meine-Bilder--2");
        assert_eq!(name(folder.join("x-*.tar").to_str().unwrap()), "Meine-Bilder--2");
        assert_eq!(name("/"), "pictures");
        assert_eq!(usual_file("shards/gone.tar"), PathBuf::from("gone.yaml"));
    }
}
