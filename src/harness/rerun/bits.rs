//! Two runs of one spec held against each other: tokenizer, curves, weights, pictures and results, whatever took however long.

use crate::checkpoint::{self, BEST, Older};
use crate::harness::run_dir::{TOKENIZER, metrics_lines, read_run};
use crate::inference::AVERAGED;
use crate::train::MODEL;
use crate::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What came of holding two runs against each other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// What is the same in both.
    pub same: Vec<String>,
    /// What differs, the first that a run makes first; of each kind the first place.
    pub differs: Vec<String>,
    /// What the earlier of them does not have.
    pub missing: Vec<String>,
}

/// Holds the run at `now` against the one at `then`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] for a damaged `run.json` or checkpoint.
pub fn compare(then: &Path, now: &Path) -> Result<Compared> {
    let mut found = Compared::default();
    let files = |name: &str| -> Result<[Option<String>; 2]> { Ok([hash(&then.join(name))?, hash(&now.join(name))?]) };
    let [left, right] = files(TOKENIZER)?;
    found.judge("tokenizer", left, right, |left, right| (left != right).then(|| differ(left, right)));
    let lines = |run: &Path| metrics_lines(run).map(|lines| Some(lines).filter(|lines| !lines.is_empty()));
    let (left, right) = (lines(then)?, lines(now)?);
    let count = left.as_ref().map_or(0, Vec::len);
    found.judge(&format!("{count} lines of metrics"), left, right, |left, right| curves(left, right));
    for stage in stages(then).union(&stages(now)) {
        for folder in [stage.clone(), format!("{stage}/{BEST}")] {
            let of = |run: &Path| weights(&run.join("checkpoints").join(&folder));
            let (left, right) = (of(then)?, of(now)?);
            // Not every run keeps its best.
            if left.is_some() || right.is_some() {
                found.judge(&format!("weights of {folder}"), left, right, |left, right| {
                    (left != right).then(|| differ(left, right))
                });
            }
        }
    }
    let (left, right) = (pictures(then)?, pictures(now)?);
    let count = left.as_ref().map_or(0, BTreeMap::len);
    found.judge(&format!("{count} files of pictures"), left, right, |left, right| {
        let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let first = names.into_iter().find(|name| left.get(*name) != right.get(*name))?;
        Some(match (left.get(first), right.get(first)) {
            (Some(left), Some(right)) => format!("{first}: {}", differ(left, right)),
            (Some(_), None) => format!("{first}: there then, not now"),
            _ => format!("{first}: not there then, there now"),
        })
    });
    let of = |run: &Path| read_run(run).map(|facts| Some(facts["results"].clone()).filter(has_any));
    found.judge("results", of(then)?, of(now)?, |left, right| values("", left, right));
    Ok(found)
}

impl Compared {
    fn judge<T>(&mut self, what: &str, then: Option<T>, now: Option<T>, differs: impl Fn(&T, &T) -> Option<String>) {
        match (then, now) {
            (Some(then), Some(now)) => match differs(&then, &now) {
                None => self.same.push(what.to_owned()),
                Some(how) => self.differs.push(format!("{what}: {how}")),
            },
            (Some(_), None) => self.differs.push(format!("{what}: there then, not now")),
            (None, _) => self.missing.push(what.trim_start_matches("0 ").to_owned()),
        }
    }
}

fn has_any(value: &Value) -> bool {
    value.as_object().is_some_and(|object| !object.is_empty())
}

fn hash(path: &Path) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    Ok(Some(blake3::hash(&bytes).to_hex().to_string()))
}

/// Hashes for a reader.
fn differ(then: &str, now: &str) -> String {
    let short = |hash: &str| hash.chars().take(12).collect::<String>();
    format!("{} then, {} now", short(then), short(now))
}

/// The first place where curves differ, time aside.
fn curves(then: &[Value], now: &[Value]) -> Option<String> {
    let timeless = |line: &Value| {
        let mut line = line.clone();
        line.as_object_mut().map(|line| line.remove("time"));
        line
    };
    let place = |line: &Value| format!("{}, step {}", line["stage"].as_str().unwrap_or("?"), line["step"]);
    for (then, now) in then.iter().map(timeless).zip(now.iter().map(timeless)) {
        if then == now {
            continue;
        }
        return Some(match place(&then) == place(&now) {
            true => format!("{}: {}", place(&then), values("", &then, &now).unwrap_or_default()),
            false => format!("{} then, {} now", place(&then), place(&now)),
        });
    }
    (then.len() != now.len()).then(|| format!("{} lines then, {} now", then.len(), now.len()))
}

/// The first value, by its dotted path, that differs.
fn values(path: &str, then: &Value, now: &Value) -> Option<String> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (then, now) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
            keys.into_iter().find_map(|key| values(&below(key), &then[key], &now[key]))
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            (0..left.len()).find_map(|at| values(&below(&at.to_string()), &left[at], &right[at]))
        }
        _ => (then != now).then(|| format!("{path} {then} then, {now} now")),
    }
}

fn stages(run: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.contains('.'))
        .collect()
}

/// The blake3 of the weights that the newest checkpoint of a folder would be used with.
fn weights(folder: &Path) -> Result<Option<String>> {
    let found = checkpoint::latest_file(folder, &[AVERAGED, MODEL], &mut Older::Refused)?;
    Ok(found.map(|(_, bytes)| blake3::hash(&bytes).to_hex().to_string()))
}

/// The blake3 of each file below `images`; `None` where there is no such file.
fn pictures(run: &Path) -> Result<Option<BTreeMap<String, String>>> {
    let (mut folders, mut found) = (vec![run.join("images")], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let path = entry.map_err(Error::io("list", &folder))?.path();
            match hash(&path)? {
                Some(hash) => drop(found.insert(path.strip_prefix(run).unwrap_or(&path).display().to_string(), hash)),
                None => folders.push(path),
            }
        }
    }
    Ok(Some(found).filter(|found| !found.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A run with a curve, a picture and a result.
    fn run(lines: &str, picture: &str, psnr: f64) -> tempfile::TempDir {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("images")).unwrap();
        fs::write(run.path().join("metrics.jsonl"), lines).unwrap();
        fs::write(run.path().join("images/a.png"), picture).unwrap();
        fs::write(run.path().join("run.json"), json!({"results": {"elbo": {"psnr": psnr}}}).to_string()).unwrap();
        run
    }

    const LINE: &str = "{\"stage\":\"dvae\",\"step\":1,\"time\":0.1,\"loss\":2.5}\n";

    fn compared(then: &tempfile::TempDir, now: &tempfile::TempDir) -> Compared {
        compare(then.path(), now.path()).unwrap()
    }

    #[test]
    fn time_alone_makes_no_difference() {
        let later = LINE.replace("0.1", "7");
        let found = compared(&run(LINE, "a", 20.0), &run(&later, "a", 20.0));
        assert_eq!(found.same, ["1 lines of metrics", "1 files of pictures", "results"]);
        assert_eq!((found.differs, found.missing), (vec![], vec!["tokenizer".to_owned()]));
    }

    #[test]
    fn the_first_difference_of_each_kind_is_named() {
        let other = LINE.replace("2.5", "2.625");
        let found = compared(&run(LINE, "a", 20.0), &run(&other, "b", 21.0));
        assert_eq!(found.differs[0], "1 lines of metrics: dvae, step 1: loss 2.5 then, 2.625 now");
        assert!(found.differs[1].starts_with("1 files of pictures: images/a.png: "), "{found:?}");
        assert_eq!(found.differs[2], "results: elbo.psnr 20.0 then, 21.0 now");
        let longer = format!("{LINE}{}", LINE.replace("\"step\":1", "\"step\":2"));
        assert_eq!(
            compared(&run(LINE, "a", 1.0), &run(&longer, "a", 1.0)).differs,
            ["1 lines of metrics: 1 lines then, 2 now"]
        );
        let clip = LINE.replace("dvae", "clip");
        let found = compared(&run(LINE, "a", 1.0), &run(&clip, "a", 1.0));
        assert_eq!(found.differs, ["1 lines of metrics: dvae, step 1 then, clip, step 1 now"]);
    }

    #[test]
    fn what_the_first_run_had_must_be_there() {
        let (then, now) = (run(LINE, "a", 1.0), run(LINE, "a", 1.0));
        fs::write(then.path().join("images/b.png"), "b").unwrap();
        fs::write(then.path().join(TOKENIZER), "{}").unwrap();
        let found = compared(&then, &now);
        assert_eq!(
            found.differs,
            ["tokenizer: there then, not now", "2 files of pictures: images/b.png: there then, not now"]
        );
        assert_eq!(compared(&now, &then).missing, ["tokenizer"]);
        let weights = |run: &tempfile::TempDir, bytes: &[u8]| {
            checkpoint::write(run.path().join("checkpoints/clip"), 4, &[(MODEL, bytes.to_vec())]).unwrap();
        };
        let (then, now) = (run(LINE, "a", 1.0), run(LINE, "a", 1.0));
        weights(&then, b"a");
        weights(&now, b"a");
        assert!(compared(&then, &now).same.contains(&"weights of clip".to_owned()));
        weights(&now, b"b");
        assert!(compared(&then, &now).differs[0].starts_with("weights of clip: "));
    }
}
