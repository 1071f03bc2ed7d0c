//! The sources that a spec's `data:` names, and a look at them before anything is trained.

use super::identity;
use super::loaded::Loaded;
use super::run_dir::RunDir;
use crate::data::shapes::Split;
use crate::data::{
    Crop, Example, Extensions, Flip, Folder, Joined, Loader, PictureError, Shapes, Source, Tally, View, WebDataset,
};
use crate::data::{hold_out, paths};
use crate::error::{Error, Result};
use crate::random::Rng;
use crate::spec::defaults;
use crate::spec::{DataKind, DataSpec, Spec};
use std::path::{Path, PathBuf};

/// Training pairs and named validation sets.
pub struct Sources {
    /// To learn from.
    pub train: Box<dyn Source>,
    /// To measure on: (name, source).
    pub validation: Vec<(String, Box<dyn Source>)>,
    /// What errors call the training set.
    pub name: PathBuf,
    /// The share that was held out of the training set, where the spec names no validation set.
    pub held_out: Option<f64>,
}

/// What the validation set is called that was held out.
pub const HELD_OUT: &str = "validation";
/// So many samples of a validation set are looked at before a run, at the most.
const MOST: usize = 1024;

/// The names of a spec's validation sets, and whether a set is one of kinds that were never trained on; `*` for the set whose name
/// the program chooses.
pub fn names(spec: &Spec) -> Vec<(&str, bool)> {
    let data = &spec.data;
    match data.kind.is_procedural() {
        true => vec![("validation", false), ("held_out", true)],
        false if data.validation.is_empty() => vec![("*", false)],
        false => data.validation.keys().map(|name| (name.as_str(), false)).collect(),
    }
}

impl Sources {
    /// Opens everything: a missing or broken file is found before anything starts.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file.
    pub fn open(loaded: &Loaded, side: usize) -> Result<Sources> {
        let data = &loaded.spec.data;
        let seed = loaded.spec.seed;
        if data.kind.is_procedural() {
            if side != 32 && side != 64 && side != 16 {
                let preset = &loaded.spec.preset;
                let what = format!("shapes are drawn at 16, 32 or 64 pixels a side, preset {preset} takes {side}");
                let hint = "train on pictures of your own: data.kind folder or webdataset";
                return Err(loaded.blamed("preset", Error::Usage(what), hint));
            }
            let shapes = |split, count| Box::new(Shapes { side, seed, split, count });
            return Ok(Sources {
                train: shapes(Split::Train, data.train_scenes),
                validation: vec![
                    ("validation".into(), shapes(Split::Validation, data.validation_scenes) as Box<dyn Source>),
                    ("held_out".into(), shapes(Split::HeldOut, data.validation_scenes)),
                ],
                name: PathBuf::from("shapes"),
                held_out: None,
            });
        }
        let root = std::env::var_os("DALLE_DATA").map_or_else(|| loaded.folder.clone(), PathBuf::from);
        let name = data.train.first().map_or_else(|| root.clone(), |first| root.join(first));
        let train = open(loaded, &root, ("data.train", &data.train))?;
        if data.validation.is_empty() {
            let usable = |source: &dyn Source, index| {
                let mut rng = Rng::new(seed, "data/held-out", 1, index as u64);
                source
                    .get(index)
                    .is_ok_and(|sample| View::EVALUATION.apply(&sample.picture, "", side, &mut rng).is_ok())
            };
            let (train, held) = hold_out(train, &name, (data.validation_share, seed), &usable)?;
            let validation = vec![(HELD_OUT.to_owned(), Box::new(held) as Box<dyn Source>)];
            return Ok(Sources { train: Box::new(train), validation, name, held_out: Some(data.validation_share) });
        }
        let set = |(name, paths): (&String, &Vec<String>)| {
            Ok((name.clone(), open(loaded, &root, (&format!("data.validation.{name}"), paths))?))
        };
        let validation = data.validation.iter().map(set);
        Ok(Sources { train, validation: validation.collect::<Result<_>>()?, name, held_out: None })
    }

    /// Reads what will be measured on, and samples of the training set until one can be used: a set that is of no use is
    /// found before training.
    ///
    /// # Errors
    /// [`Error::Data`] for a set of which too much, or everything, is broken or filtered out.
    pub fn look(&self, spec: &Spec, side: usize) -> Result<()> {
        // How many are broken is for the training to say, which reads them all.
        let mut loader =
            Loader::new(self.train.as_ref(), &self.name, View::EVALUATION, side, (spec.seed, "data/look"), 1.0)?;
        loader.spread(1)?;
        for (name, source) in &self.validation {
            let pairs = if spec.evaluate.pairs == 0 { MOST } else { spec.evaluate.pairs.clamp(64, MOST) };
            measured(spec, name, source.as_ref(), side, pairs)?;
        }
        Ok(())
    }

    /// Keeps in `run.json` what there is, and gives it in a line. What is left out, and what is no longer as it was when the
    /// run began, is a warning.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn record(&self, run: &mut RunDir) -> Result<String> {
        let sets: Vec<(&str, &dyn Source)> =
            self.validation.iter().map(|(name, source)| (name.as_str(), source.as_ref())).collect();
        self.keep_facts(run)?;
        for (name, source) in [("training", self.train.as_ref())].into_iter().chain(sets.iter().copied()) {
            let left_out = source.left_out();
            // What was held out has the listing of what it was taken from.
            if left_out.total() > 0 && !(self.held_out.is_some() && name == HELD_OUT) {
                let text = format!("{name}: left out: {}; first: {}", left_out.summary(), left_out.first());
                run.warn("data", "left-out", &text)?;
            }
        }
        Ok(self.to_string())
    }
}

impl std::fmt::Display for Sources {
    /// "54 samples to train on; validation: 6, held out of them".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} samples to train on", self.train.len())?;
        for (name, source) in &self.validation {
            write!(f, "; {name}: {}", source.len())?;
        }
        match self.held_out {
            Some(share) => write!(f, ", held out of the training set (data.validation_share {share})"),
            None => Ok(()),
        }
    }
}

/// `limit` usable samples of a validation set, spread over it, centre-cropped, each with its first caption.
///
/// # Errors
/// [`Error::Data`] where too many samples are broken, or none can be used.
pub fn measured(spec: &Spec, name: &str, source: &dyn Source, side: usize, limit: usize) -> Result<Vec<Example>> {
    Loader::new(source, name, View::EVALUATION, side, (spec.seed, name), spec.data.max_bad)?.spread(limit)
}

/// What the spec names at `key`; an error points at the one of its `patterns` that is at fault.
fn open(loaded: &Loaded, root: &Path, (key, patterns): (&str, &[String])) -> Result<Box<dyn Source>> {
    let data = &loaded.spec.data;
    let blame = |at: usize, error: Error| {
        let hint = match std::env::var_os("DALLE_DATA") {
            None => "a path is relative to the spec's folder",
            Some(_) => "a path is relative to DALLE_DATA",
        };
        loaded.blamed(&format!("{key}[{at}]"), error, hint)
    };
    let extensions = Extensions::new(&data.extensions.picture, &data.extensions.caption);
    let mut left_out = Tally::default();
    let mut once: Vec<PathBuf> = Vec::new();
    let mut new = |path: &PathBuf| {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        let new = !once.contains(&real);
        if new {
            once.push(real);
        } else {
            left_out.add(&PictureError::new("named-twice", "it is read once").of(&path.to_string_lossy()));
        }
        new
    };
    if data.kind == DataKind::Webdataset {
        // The shards, and for each the pattern that names it.
        let (mut shards, mut named) = (Vec::new(), Vec::new());
        for (at, pattern) in patterns.iter().enumerate() {
            let found = WebDataset::find(root, pattern).map_err(|error| blame(at, error))?;
            let first = shards.len();
            shards.extend(found.into_iter().filter(&mut new));
            named.resize(named.len() + shards.len() - first, at);
        }
        let opened = WebDataset::open_as(&shards, &extensions).map_err(|error| match &error {
            Error::Data { path, .. } | Error::Io { path, .. } => match shards.iter().position(|shard| shard == path) {
                Some(shard) => blame(named[shard], error),
                None => error,
            },
            _ => error,
        });
        return Ok(Box::new(Joined::new(vec![Box::new(opened?)], left_out)));
    }
    let (mut sources, mut empty) = (Vec::<Box<dyn Source>>::new(), Vec::new());
    for (at, pattern) in patterns.iter().enumerate() {
        let found = paths::expand(root, pattern).map_err(|error| blame(at, error))?;
        let found: Vec<PathBuf> = found.into_iter().filter(&mut new).collect();
        let (folders, files): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| !path.is_file());
        let several = folders.len() + files.len() > 1;
        for folder in folders {
            match Folder::open_as(&folder, &extensions) {
                Ok(source) => sources.push(Box::new(source)),
                // One of many that a pattern names may be empty or closed.
                Err(error) if several => empty.push((folder, at, error)),
                Err(error) => return Err(blame(at, error)),
            }
        }
        match files.as_slice() {
            [] => {}
            [file] if !paths::is_pattern(pattern) => {
                Folder::open_as(file, &extensions).map_err(|error| blame(at, error))?;
            }
            files => {
                let source = Folder::of_files(root, files, &extensions).map_err(|error| blame(at, error))?;
                sources.push(Box::new(source));
            }
        }
    }
    if sources.is_empty()
        && let Some((_, at, error)) = empty.pop()
    {
        return Err(blame(at, error));
    }
    for (folder, _, error) in empty {
        left_out.add(&PictureError::new("no-samples", error.to_string()).of(&folder.to_string_lossy()));
    }
    Ok(Box::new(Joined::new(sources, left_out)))
}

/// `loaded` as its number of pictures bounds the steps that it leaves out, and what is to be said of it: what does not hold since a
/// stage is another run's, and which steps are bounded. The pictures are of `side`, or of the preset's where that is none.
///
/// # Errors
/// Those of [`pictures`].
pub fn fitted(loaded: Loaded, side: Option<usize>) -> Result<(Loaded, Vec<String>)> {
    let mut said = loaded.said.clone();
    match pictures(&loaded, side)? {
        Some(pictures) => {
            let (loaded, few) = bounded(loaded, pictures)?;
            said.extend(few);
            Ok((loaded, said))
        }
        None => Ok((loaded, said)),
    }
}

/// How many pictures there are to train on. The data are opened only where their number matters.
///
/// # Errors
/// Those of [`Sources::open`].
pub fn pictures(loaded: &Loaded, side: Option<usize>) -> Result<Option<usize>> {
    let matters = !loaded.spec.data.kind.is_procedural() && loaded.with_pictures(1)?.spec != loaded.spec;
    match side.or_else(|| defaults::side(&loaded.spec.preset)).filter(|_| matters) {
        Some(side) => Ok(Some(Sources::open(loaded, side)?.train.len())),
        None => Ok(None),
    }
}

/// `loaded` as so many pictures to train on bound the steps that it leaves out, and what is to be said of that.
///
/// # Errors
/// Those of [`Loaded::with_pictures`].
pub fn bounded(loaded: Loaded, pictures: usize) -> Result<(Loaded, Option<String>)> {
    if loaded.spec.data.kind.is_procedural() {
        return Ok((loaded, None));
    }
    let fitted = loaded.with_pictures(pictures)?;
    let steps = identity::differences(&loaded.spec, &fitted.spec)?;
    let steps = steps.iter().filter(|difference| difference.path.ends_with(".steps"));
    let said: Vec<String> = steps.map(|step| format!("{} is {}, not {}", step.path, step.ours, step.theirs)).collect();
    let said = (!said.is_empty()).then(|| format!("{pictures} pictures to train on are few: {}", said.join(", ")));
    Ok((fitted, said))
}

/// How the first stage, or the other two, see a training picture.
pub fn view(data: &DataSpec, first_stage: bool) -> View {
    let crop = match (data.augment, first_stage) {
        (false, _) => Crop::Evaluation,
        (true, true) => Crop::FirstStage { whole: data.whole },
        (true, false) => Crop::Transformer,
    };
    let flip = match (first_stage, data.flip, data.flip_pairs) {
        (true, true, _) => Flip::Any,
        (false, _, true) => Flip::WithoutSides,
        _ => Flip::Never,
    };
    View { crop, flip }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_those_that_the_spec_says() {
        let of = |augment, whole, flip, flip_pairs| {
            let data = DataSpec { augment, whole, flip, flip_pairs, ..DataSpec::default() };
            [true, false].map(|first_stage| view(&data, first_stage))
        };
        let papers = View { crop: Crop::FirstStage { whole: false }, flip: Flip::Any };
        assert_eq!(of(true, false, true, false), [papers, View { crop: Crop::Transformer, flip: Flip::Never }]);
        let [first, later] = of(true, true, false, true);
        assert_eq!(first, View { crop: Crop::FirstStage { whole: true }, flip: Flip::Never });
        assert_eq!(later, View { crop: Crop::Transformer, flip: Flip::WithoutSides });
        assert_eq!(of(false, true, false, false), [View::EVALUATION; 2]);
        assert!(!of(false, false, true, true).iter().any(|view| view.is_fixed()));
    }
}
