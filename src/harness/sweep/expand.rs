//! A file with `sweep:` to the specs that it stands for, every one of them checked before any of them runs.

use crate::Result;
use crate::harness::expected::problems as expected;
use crate::harness::lenders::Lenders;
use crate::harness::loaded::{Checked, Loaded, Tree, folder_of, judged, read, tree};
use crate::harness::sources;
use crate::spec::parse::Node;
use crate::spec::problem::{self, Problem};
use crate::spec::sweep::{self, Point};
use crate::spec::{DataSpec, Spec, set};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

/// One spec of a sweep.
#[derive(Debug, Clone)]
pub struct Variant {
    /// What it says otherwise than the file: `transformer.steps=100 seed=1`.
    pub said: String,
    /// The spec.
    pub loaded: Loaded,
}

/// `variants` as their numbers of pictures bound the steps that they leave out, and what is to be said of that, once for each kind. Data
/// that several of them share are opened once.
///
/// # Errors
/// Those of [`sources::fitted`].
pub fn fitted(variants: Vec<Variant>) -> Result<(Vec<Variant>, Vec<String>)> {
    let mut opened: Vec<(DataSpec, String, Option<usize>)> = Vec::new();
    let mut all_said: Vec<String> = Vec::new();
    let mut fit = |Variant { said, loaded }: Variant| -> Result<Variant> {
        let lent = loaded.said.iter().filter(|words| !all_said.contains(words)).cloned().collect::<Vec<_>>();
        all_said.extend(lent);
        let Spec { data, preset, .. } = &loaded.spec;
        let pictures = match opened.iter().find(|(of, at, _)| of == data && at == preset) {
            Some((.., pictures)) => *pictures,
            None => {
                let pictures = sources::pictures(&loaded, None)?;
                opened.push((data.clone(), preset.clone(), pictures));
                pictures
            }
        };
        let Some(pictures) = pictures else { return Ok(Variant { said, loaded }) };
        let (loaded, words) = sources::bounded(loaded, pictures)?;
        all_said.extend(words.filter(|words| !all_said.contains(words)));
        Ok(Variant { said, loaded })
    };
    let variants = variants.into_iter().map(&mut fit).collect::<Result<_>>()?;
    Ok((variants, all_said))
}

/// The specs of the sweep in the file at `path`, in its order, and what is to be said of them; one where it has no `sweep:`.
///
/// # Errors
/// [`Error::Usage`](crate::Error::Usage) without such a file; [`Error::Spec`](crate::Error::Spec) with every problem of the file, of
/// the sweep, and of all specs of it.
pub fn expand(path: impl AsRef<Path>, sets: &[String], presets: &[&str]) -> Result<(Vec<Variant>, Option<String>)> {
    let path = path.as_ref();
    expanded((&path.display().to_string(), path), &read(path)?, sets, presets)
}

/// Those of the sweep in `text`, with data beside `folder`; `name` stands for the file in messages.
///
/// # Errors
/// [`Error::Spec`](crate::Error::Spec) with every problem of the text, of the sweep, and of all specs of it.
pub fn parse(name: &str, text: &str, folder: &Path, presets: &[&str]) -> Result<(Vec<Variant>, Option<String>)> {
    let (mut variants, said) = expanded((name, &folder.join(name)), text, &[], presets)?;
    variants.iter_mut().for_each(|variant| variant.loaded.file = None);
    Ok((variants, said))
}

fn expanded(
    (name, path): (&str, &Path),
    text: &str,
    sets: &[String],
    presets: &[&str],
) -> Result<(Vec<Variant>, Option<String>)> {
    let Tree { root, sweep, sources, mut problems } = tree((name, path), text, sets)?;
    let (points, twice) = match &sweep {
        Some((_, sweep)) => sweep::points(sweep, &mut problems),
        None => (vec![Point::new()], 0),
    };
    // What a point says comes last: an argument would be passed over.
    let swept: BTreeSet<&str> = points.iter().flatten().map(|(path, _)| path.name.name.as_str()).collect();
    for (set, source) in sets.iter().zip(sources.len() - sets.len()..) {
        let said = swept.iter().filter_map(|key| Some((key, set::says(set, source, key)?)));
        problems.extend(said.map(|(key, place)| {
            Problem::new(&place, format!("`{key}` is swept, and cannot be set"), "the sweep itself says what it is")
        }));
    }
    // With no point left, what else is wrong with the file is to be told all the same.
    let points = if points.is_empty() { vec![Point::new()] } else { points };
    let lenders = Lenders::new(folder_of(path), presets);
    let one = |point: &Point| -> std::result::Result<Checked, Vec<Problem>> {
        let mut own: Node = root.clone();
        sweep::put(&mut own, point).map_err(|problem| vec![problem])?;
        judged(&own, &sources, presets, expected, &|root, given| lenders.settle(root, given))
    };
    let judged: Vec<_> = points.par_iter().map(one).collect();
    let mut variants = Vec::with_capacity(points.len());
    for (point, judged) in points.iter().zip(judged) {
        match judged {
            Ok(checked) => {
                variants.push(Variant { said: sweep::said(point), loaded: checked.loaded(text.to_owned(), path) })
            }
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() {
        let said = (twice > 0).then(|| format!("{twice} points were drawn more than once, and are run once"));
        return Ok((variants, said));
    }
    // A value that many specs share is wrong in each of them, and is told of once.
    let mut told = HashSet::new();
    problems.retain(|problem| told.insert((problem.place.source, problem.place.start, problem.message.clone())));
    Err(problem::report(problems, &sources))
}
