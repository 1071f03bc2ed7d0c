//! When two specs mean the same. A spec is its leaves; its hash covers those that differ from the defaults, so that a key which
//! is added tomorrow moves no hash of today; and some keys change nothing of what a run has done, so that it may go on with
//! other values of them.

use crate::error::{Error, Result};
use crate::spec::Spec;
use crate::spec::defaults;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};

/// Part of every hash. Whoever changes a default raises it, since specs that leave it out mean something else from then on;
/// `tests/defaults.txt` holds every default to it.
pub const SPEC_VERSION: u32 = 2;

/// Digits of a hash in the names of runs.
const DIGITS: usize = 16;

/// Dotted paths of a spec and their values as JSON.
pub type Leaves = BTreeMap<String, Value>;

/// A key in which a run's spec and another one differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The dotted path.
    pub path: String,
    /// The run's value, as JSON.
    pub theirs: Value,
    /// What is asked for.
    pub ours: Value,
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: theirs {}, ours {}", self.path, self.theirs, self.ours)
    }
}

impl Spec {
    /// What the spec says, key by key, defaults included.
    ///
    /// # Errors
    /// [`Error::Spec`] for a value that JSON cannot hold; none of a checked spec is.
    pub fn leaves(&self) -> Result<Leaves> {
        let mut leaves = Leaves::new();
        collect("", tree(self)?, &mut leaves);
        Ok(leaves)
    }

    /// 16 hexadecimal digits that are equal for specs that mean the same: of the version, name and preset, of the keys that
    /// move defaults, and of what differs from the defaults that they leave.
    ///
    /// # Errors
    /// Those of [`Spec::leaves`].
    pub fn hash(&self) -> Result<String> {
        let of = |spec: serde_yaml::Result<serde_yaml::Value>| match spec {
            Ok(given) => Ok(defaults::of(&given, None)),
            Err(error) => Err(Error::Spec(error.to_string())),
        };
        let plain = of(serde_yaml::to_value(BTreeMap::from([("name", &self.name), ("preset", &self.preset)])))?;
        self.hash_beside(&plain, &of(serde_yaml::to_value(self))?)
    }

    /// What the spec says otherwise than one that says no more than its name and preset.
    ///
    /// # Errors
    /// Those of [`Spec::leaves`].
    pub fn says(&self) -> Result<Leaves> {
        let plain = Spec { name: self.name.clone(), ..defaults::plain(&self.preset) };
        Ok(differences(&plain, self)?.into_iter().map(|found| (found.path, found.ours)).collect())
    }

    /// [`Spec::hash`] where `plain` are the defaults of its preset, and `own` those that its own keys leave.
    fn hash_beside(&self, plain: &Spec, own: &Spec) -> Result<String> {
        let mut text = format!("version {SPEC_VERSION}\nname {}\npreset {}\n", self.name, self.preset);
        let moving =
            differences(plain, self)?.into_iter().filter(|found| defaults::MOVERS.contains(&found.path.as_str()));
        for Difference { path, ours, .. } in moving.chain(differences(own, self)?) {
            let _ = writeln!(text, "{path} = {ours}");
        }
        Ok(blake3::hash(text.as_bytes()).to_hex()[..DIGITS].to_owned())
    }
}

/// The keys in which two specs differ; one that a spec lacks is null there.
///
/// # Errors
/// Those of [`Spec::leaves`].
pub fn differences(theirs: &Spec, ours: &Spec) -> Result<Vec<Difference>> {
    let (mut theirs, ours) = (theirs.leaves()?, ours.leaves()?);
    let mut all: Vec<Difference> = ours
        .into_iter()
        .map(|(path, ours)| Difference { theirs: theirs.remove(&path).unwrap_or(Value::Null), path, ours })
        .collect();
    all.extend(theirs.into_iter().map(|(path, theirs)| Difference { path, theirs, ours: Value::Null }));
    all.retain(|difference| difference.theirs != difference.ours);
    Ok(all)
}

/// Sections and keys that change nothing of what a run has trained: what is measured, drawn and expected of it, how often it
/// is kept, how it spends memory. Not how often it validates: the best validation says which weights are kept.
const FREE: [&str; 8] = [
    "sample",
    "evaluate",
    "expect",
    "data.max_bad",
    "transformer.recompute",
    "first_stage.checkpoint_every",
    "transformer.checkpoint_every",
    "clip.checkpoint_every",
];

/// Whether a run whose spec is `theirs` may go on with the value of `ours` at `difference`: nothing, or why not. Updates may
/// grow in number where every schedule of their stage says its own length, and nothing was trained on what the stage was.
///
/// # Errors
/// Those of [`Spec::leaves`].
pub fn refused(difference: &Difference, ours: &Spec, transformer_begun: bool) -> Result<Option<String>> {
    let path = difference.path.as_str();
    let below = |free: &&str| path.strip_prefix(*free).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if FREE.iter().any(below) {
        return Ok(None);
    }
    let Some(stage) = path.strip_suffix(".steps").filter(|stage| !stage.contains('.')) else {
        return Ok(Some(String::new()));
    };
    if difference.ours.as_u64() < difference.theirs.as_u64() {
        return Ok(Some("updates may grow in number, not shrink".into()));
    }
    if stage == "first_stage" && transformer_begun {
        return Ok(Some("the transformer has learned its codes".into()));
    }
    let mut open = Vec::new();
    without_length(stage, &tree(ours)?[stage], &mut open);
    Ok(open.first().map(|schedule| format!("{schedule}.steps is 0, the whole stage: it would bend another way")))
}

/// The schedules below `node` that change a value over the whole stage, however long it is.
fn without_length(path: &str, node: &Value, found: &mut Vec<String>) {
    let Some(entries) = node.as_object() else { return };
    if entries.contains_key("curve") {
        if node["steps"] == 0 && node["from"] != node["to"] {
            found.push(path.to_owned());
        }
        return;
    }
    entries.iter().for_each(|(key, below)| without_length(&format!("{path}.{key}"), below, found));
}

fn tree(spec: &Spec) -> Result<Value> {
    serde_json::to_value(spec).map_err(|error| Error::Spec(error.to_string()))
}

fn collect(path: &str, node: Value, leaves: &mut Leaves) {
    match node {
        Value::Object(entries) => {
            let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            entries.into_iter().for_each(|(key, below)| collect(&join(&key), below, leaves));
        }
        leaf => drop(leaves.insert(path.to_owned(), leaf)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    fn spec(sets: &[&str]) -> Spec {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        load::check("a.yaml", "name: a\npreset: tiny\n", &sets, &["tiny", "mini"]).unwrap()
    }

    #[test]
    fn the_hash_is_of_what_differs_from_the_defaults() {
        let plain = spec(&[]);
        let hash = plain.hash().unwrap();
        assert!(hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()), "{hash}");
        // Saying a default is not saying something else.
        let said = format!("clip.batch={}", plain.clip.batch);
        assert_eq!(spec(&[&said]).hash().unwrap(), hash);
        for other in [
            "name=b",
            "preset=mini",
            "seed=1",
            "clip.batch=2",
            "expect=['elbo_validation.psnr < 1']",
            "data.kind=folder",
        ] {
            let files = ["data.train=[a]", "data.validation={a: [b]}"];
            let sets = if other.contains("folder") { vec![other, files[0], files[1]] } else { vec![other] };
            assert_ne!(spec(&sets).hash().unwrap(), hash, "{other}");
        }
        // A key that is added with its default moves nothing: as if `seed` were new.
        let (mut ours, mut defaults) = (spec(&["clip.batch=2"]), spec(&[]));
        let before = ours.hash_beside(&defaults, &defaults).unwrap();
        (ours.seed, defaults.seed) = (9, 9);
        assert_eq!(ours.hash_beside(&defaults, &defaults).unwrap(), before);
        // A default that moves under a spec that leaves the key out does: that is what the version is for.
        defaults.seed = 8;
        assert_ne!(ours.hash_beside(&defaults, &defaults).unwrap(), before);
    }

    #[test]
    fn a_run_may_go_on_with_what_changes_nothing_of_its_past() {
        let own_lengths = [
            "first_stage.optimizer.lr={from: 0.1, to: 0.01, steps: 50}",
            "first_stage.temperature={from: 1, to: 0.1, steps: 50}",
            "first_stage.kl_weight={from: 1, to: 0.1, steps: 50}",
            "transformer.optimizer.lr={from: 0.1, to: 0.01, steps: 50}",
            "first_stage.validate_every=100",
            "transformer.validate_every=100",
            "clip.validate_every=100",
        ];
        let with = |more: &[&str]| spec(&[&own_lengths[..], more].concat());
        let answers = |theirs: &Spec, ours: &Spec, begun: bool| -> Vec<(String, Option<String>)> {
            let found = differences(theirs, ours).unwrap();
            found.iter().map(|found| (found.path.clone(), refused(found, ours, begun).unwrap())).collect()
        };
        let allowed =
            |sets: &[&str], begun| answers(&with(&[]), &with(sets), begun).iter().all(|(_, why)| why.is_none());
        for free in [
            "sample.candidates=3",
            "evaluate.pairs=7",
            "expect=['elbo_validation.psnr < 1']",
            "clip.checkpoint_every=3",
            "transformer.checkpoint_every=3",
            "transformer.recompute=true",
            "transformer.steps=5000",
        ] {
            assert!(allowed(&[free], true) && allowed(&[free], false), "{free}");
        }
        assert!(allowed(&["first_stage.steps=5000"], false));
        for not in [
            "seed=1",
            "transformer.steps=5",
            "transformer.batch=3",
            "clip.steps=5000",
            "first_stage.steps=5000",
            "clip.optimizer.lr.steps=7",
            "data.train_scenes=3",
        ] {
            assert!(!allowed(&[not], true), "{not}");
        }
        let why = answers(&with(&[]), &with(&["clip.steps=5000"]), true).into_iter().find_map(|(_, why)| why).unwrap();
        assert!(why.starts_with("clip.optimizer.lr.steps is 0"), "{why}");
    }
}
