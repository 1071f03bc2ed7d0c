//! The repository of a spec: its commit, and what differed from that.

use super::git::{Answer, Git, MOST};
use crate::files::write_atomic;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

/// What git may take in all.
const LIMIT: Duration = Duration::from_secs(5);
/// So many untracked files are named.
const NAMED: usize = 64;
/// Larger untracked files are named without their blake3, in bytes.
const HASHED: u64 = 16 << 20;

/// The repository of the spec `file` in `folder`: its commit, whether what it tracks, or the spec itself, differs from that, and
/// the spec's path in it; null where there is none. What differs is kept below `runs` as `objects/<blake3>.diff`, once for all the
/// runs that have it in common, if it has at most a mebibyte; files that it does not track are named with size and blake3. What is
/// left out, and that git took too long, is said there too.
///
/// # Errors
/// [`Error::Io`] where the difference cannot be written.
pub fn of_spec(folder: &Path, file: Option<&Path>, runs: &Path) -> Result<Value> {
    let git = Git::within(folder, LIMIT);
    let name = file.and_then(Path::file_name).map(|name| name.to_string_lossy());
    let Some(name) = name else { return Ok(Value::Null) };
    let commit = match git.ask(&["rev-parse", "HEAD"]) {
        Answer::TooLate => return Ok(json!({"left_out": [too_late()]})),
        answer => answer.text(),
    };
    let places = [["rev-parse", "--show-prefix"], ["rev-parse", "--show-toplevel"]];
    let [prefix, root] = places.map(|question| git.ask(&question).text());
    let (Some(commit), Some(prefix), Some(root)) = (commit, prefix, root) else { return Ok(Value::Null) };
    let whole = git.at(Path::new(&root));
    let clean = whole.ask(&["status", "--porcelain", "--untracked-files=no"]) == Answer::Said(Vec::new());
    let tracked = matches!(git.ask(&["ls-files", "--error-unmatch", "--", &name]), Answer::Said(_));
    let mut left_out = Vec::new();
    let diff = ["diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--no-textconv"];
    let diff = match whole.ask(&diff) {
        Answer::Said(bytes) if bytes.is_empty() => Value::Null,
        Answer::Said(bytes) => json!(keep(&bytes, runs)?),
        answer => {
            left_out.extend(why("what differs from the commit", &answer));
            Value::Null
        }
    };
    // Folders that it tracks nothing of are named whole: one may hold a million pictures.
    let untracked = match whole.ask(&["ls-files", "--others", "--exclude-standard", "--directory", "-z"]) {
        Answer::Said(bytes) => named(Path::new(&root), &bytes, &mut left_out),
        answer => {
            left_out.extend(why("untracked files", &answer));
            Vec::new()
        }
    };
    Ok(json!({
        "commit": commit,
        "dirty": !clean || !tracked,
        "path": format!("{prefix}{name}"),
        "diff": diff,
        "untracked": untracked,
        "left_out": left_out,
    }))
}

/// Where a difference is kept, from the folder of the runs.
fn keep(bytes: &[u8], runs: &Path) -> Result<String> {
    let name = format!("objects/{}.diff", blake3::hash(bytes).to_hex());
    let path = runs.join(&name);
    if !path.exists() {
        let folder = runs.join("objects");
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        write_atomic(&path, bytes)?;
    }
    Ok(name)
}

fn named(root: &Path, names: &[u8], left_out: &mut Vec<String>) -> Vec<Value> {
    let names: Vec<_> = names.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    if let Some(more) = names.len().checked_sub(NAMED).filter(|&more| more > 0) {
        left_out.push(format!("{more} more untracked files"));
    }
    let of = |name: &&[u8]| {
        let name = String::from_utf8_lossy(name).into_owned();
        let path = root.join(&name);
        let size = fs::metadata(&path).ok().filter(fs::Metadata::is_file).map(|file| file.len());
        let hash = || blake3::Hasher::new().update_reader(File::open(&path).ok()?).ok().map(|hash| hash.finalize());
        let hash = size.filter(|&size| size <= HASHED).and_then(|_| hash());
        json!({"name": name, "size": size, "blake3": hash.map(|hash| hash.to_hex().to_string())})
    };
    names.iter().take(NAMED).map(of).collect()
}

fn why(what: &str, answer: &Answer) -> Option<String> {
    match answer {
        Answer::TooLong => Some(format!("{what}: more than {} MiB", MOST >> 20)),
        Answer::TooLate => Some(format!("{what}: {}", too_late())),
        Answer::Said(_) | Answer::No => None,
    }
}

fn too_late() -> String {
    format!("git gave no answer within {} s", LIMIT.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_spec_in_a_repository_names_its_commit() {
        let place = tempfile::tempdir().unwrap();
        let (folder, runs) = (place.path().join("specs"), tempfile::tempdir().unwrap());
        let of = |spec: &Path| of_spec(&folder, Some(spec), runs.path()).unwrap();
        fs::create_dir(&folder).unwrap();
        let spec = folder.join("a.yaml");
        fs::write(&spec, "name: a").unwrap();
        assert_eq!(of(&spec), Value::Null);
        assert_eq!(of_spec(&folder.join("gone"), Some(&spec), runs.path()).unwrap(), Value::Null);
        assert_eq!(of_spec(&folder, None, runs.path()).unwrap(), Value::Null);
        let git = |arguments: &[&str]| {
            let who = ["-c", "user.name=a", "-c", "user.email=a@b.c"];
            let done = Command::new("git").arg("-C").arg(place.path()).args(who).args(arguments).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        git(&["init", "-q"]);
        git(&["add", "specs/a.yaml"]);
        git(&["commit", "-q", "-m", "a"]);
        let found = of(&spec);
        assert_eq!(
            (&found["path"], &found["dirty"], &found["diff"]),
            (&"specs/a.yaml".into(), &false.into(), &Value::Null)
        );
        assert_eq!((&found["untracked"], &found["left_out"]), (&json!([]), &json!([])));
        assert_eq!(found["commit"].as_str().unwrap().len(), 40);
        assert!(!runs.path().join("objects").exists());

        fs::write(&spec, "name: b").unwrap();
        let found = of(&spec);
        assert_eq!(found["dirty"], true);
        let kept = runs.path().join(found["diff"].as_str().unwrap());
        let text = fs::read_to_string(&kept).unwrap();
        assert!(text.contains("+name: b") && text.starts_with("diff --git a/specs/a.yaml"), "{text}");
        assert_eq!(of(&spec)["diff"], found["diff"]);
        assert_eq!(fs::read_dir(runs.path().join("objects")).unwrap().count(), 1);

        fs::write(&spec, "x".repeat(MOST + 1)).unwrap();
        let found = of(&spec);
        assert_eq!((&found["diff"], &found["dirty"]), (&Value::Null, &true.into()));
        assert_eq!(found["left_out"], json!(["what differs from the commit: more than 1 MiB"]));

        git(&["checkout", "-q", "."]);
        let other = folder.join("b.yaml");
        fs::write(&other, "name: b").unwrap();
        fs::create_dir(place.path().join("results")).unwrap();
        fs::write(place.path().join("results/big"), "").unwrap();
        assert_eq!(of(&spec)["dirty"], false);
        let found = of(&other);
        assert_eq!(found["dirty"], true);
        let names: Vec<&str> =
            found["untracked"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["results/", "specs/b.yaml"]);
        assert_eq!(found["untracked"][1]["blake3"], blake3::hash(b"name: b").to_hex().to_string());
        for index in 0..NAMED {
            fs::write(folder.join(format!("c{index:02}")), "").unwrap();
        }
        assert_eq!(of(&spec)["left_out"], json!(["2 more untracked files"]));
    }
}
