//! Where a run comes from: what was built into this program, and the repository that its spec lies in.

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// What this program was built from, as `build.rs` found it: commit and whether the sources differed from it (null where they
/// were in no repository), compiler, features. What lies in the source folder now says nothing about a run.
pub fn built() -> Value {
    let known = |text: &'static str| Some(text).filter(|text| !text.is_empty());
    json!({
        "commit": known(env!("DALLE_BUILT_COMMIT")),
        "dirty": known(env!("DALLE_BUILT_DIRTY")).map(|dirty| dirty == "true"),
        "rustc": known(env!("DALLE_BUILT_RUSTC")),
        "features": env!("DALLE_BUILT_FEATURES").split_whitespace().collect::<Vec<_>>(),
    })
}

/// What [`built`] said of a program, for a reader: `commit 0123456789ab, rustc 1.95.0 (…), cli`.
pub fn in_words(built: &Value) -> String {
    let commit = built["commit"]
        .as_str()
        .map_or("no commit".to_owned(), |commit| format!("commit {}", commit.chars().take(12).collect::<String>()));
    let dirty = if built["dirty"] == true { " with changes" } else { "" };
    let mut words = vec![format!("{commit}{dirty}")];
    words.extend(built["rustc"].as_str().map(str::to_owned));
    words.extend(built["features"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    words.join(", ")
}

/// The repository of the spec `file` in `folder`: its commit, whether what it tracks, or the spec itself, differs from that, and
/// the spec's path in it. Null where there is none.
pub fn of_spec(folder: &Path, file: Option<&Path>) -> Value {
    let ask = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(folder).args(arguments).env("GIT_OPTIONAL_LOCKS", "0");
        let output = git.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let name = file.and_then(Path::file_name).map(|name| name.to_string_lossy());
    let (Some(name), Some(commit)) = (name, ask(&["rev-parse", "HEAD"])) else { return Value::Null };
    let (Some(prefix), Some(changes)) =
        (ask(&["rev-parse", "--show-prefix"]), ask(&["status", "--porcelain", "--untracked-files=no"]))
    else {
        return Value::Null;
    };
    let tracked = ask(&["ls-files", "--error-unmatch", "--", &name]).is_some();
    json!({"commit": commit, "dirty": !changes.is_empty() || !tracked, "path": format!("{prefix}{name}")})
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_build_knows_its_compiler_and_features() {
        let built = built();
        assert!(built["rustc"].as_str().unwrap().starts_with("rustc "), "{built}");
        let features: Vec<&str> = built["features"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
        assert_eq!(features.contains(&"cli"), cfg!(feature = "cli"));
        assert!(!features.contains(&"default"));
        // Both, or neither where the sources are in no repository.
        assert_eq!(built["commit"].is_string(), built["dirty"].is_boolean());
    }

    #[test]
    fn a_reader_sees_no_json() {
        let program =
            json!({"commit": "0123456789abcdef", "dirty": true, "rustc": "rustc 1.95.0", "features": ["cli"]});
        assert_eq!(in_words(&program), "commit 0123456789ab with changes, rustc 1.95.0, cli");
        assert_eq!(in_words(&json!({"commit": null, "features": []})), "no commit");
    }

    #[test]
    fn a_spec_in_a_repository_names_its_commit() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("specs");
        fs::create_dir(&folder).unwrap();
        let spec = folder.join("a.yaml");
        fs::write(&spec, "name: a").unwrap();
        assert_eq!(of_spec(&folder, Some(&spec)), Value::Null);
        assert_eq!(of_spec(&folder.join("gone"), Some(&spec)), Value::Null);
        let git = |arguments: &[&str]| {
            let who = ["-c", "user.name=a", "-c", "user.email=a@b.c"];
            let done = Command::new("git").arg("-C").arg(place.path()).args(who).args(arguments).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        git(&["init", "-q"]);
        git(&["add", "specs/a.yaml"]);
        git(&["commit", "-q", "-m", "a"]);
        let found = of_spec(&folder, Some(&spec));
        assert_eq!((&found["path"], &found["dirty"]), (&"specs/a.yaml".into(), &false.into()));
        assert_eq!(found["commit"].as_str().unwrap().len(), 40);
        fs::write(&spec, "name: b").unwrap();
        assert_eq!(of_spec(&folder, Some(&spec))["dirty"], true);
        let other = folder.join("b.yaml");
        git(&["checkout", "-q", "."]);
        fs::write(&other, "name: b").unwrap();
        assert_eq!(of_spec(&folder, Some(&spec))["dirty"], false);
        assert_eq!(of_spec(&folder, Some(&other))["dirty"], true);
    }
}
