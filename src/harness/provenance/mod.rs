//! Where a run comes from: what was built into this program, the repository that its spec lies in, and the machine. A run that is
//! repeated is held against it, and it says why the bits are not the same.

mod git;
mod machine;
mod repository;

pub use machine::{cpu, machine};
pub use repository::of_spec;

use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// The versions of all dependencies; empty where the sources came without them.
const LOCK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/Cargo.lock"));

/// What this program was built from, as `build.rs` found it: commit and whether the sources differed from it (null where they
/// were in no repository), compiler, profile, features, and the blake3 of the dependencies' versions and of the program itself.
/// What lies in the source folder now says nothing about a run.
pub fn built() -> Value {
    let known = |text: &'static str| Some(text).filter(|text| !text.is_empty());
    json!({
        "commit": known(env!("DALLE_BUILT_COMMIT")),
        "dirty": known(env!("DALLE_BUILT_DIRTY")).map(|dirty| dirty == "true"),
        "rustc": known(env!("DALLE_BUILT_RUSTC")),
        "profile": env!("DALLE_BUILT_PROFILE"),
        "features": env!("DALLE_BUILT_FEATURES").split_whitespace().collect::<Vec<_>>(),
        "lock_blake3": Some(LOCK).filter(|lock| !lock.is_empty()).map(|lock| blake3::hash(lock).to_hex().to_string()),
        "exe_blake3": program(),
    })
}

/// The blake3 of the program that runs, as it was started: another one may lie in its place by now.
fn program() -> Option<&'static str> {
    static HASH: OnceLock<Option<String>> = OnceLock::new();
    let hash = || -> io::Result<String> {
        let own = Path::new("/proc/self/exe");
        let file = if own.exists() { File::open(own)? } else { File::open(std::env::current_exe()?)? };
        Ok(blake3::Hasher::new().update_reader(file)?.finalize().to_hex().to_string())
    };
    HASH.get_or_init(|| hash().ok()).as_deref()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_knows_its_compiler_and_features() {
        let built = built();
        assert!(built["rustc"].as_str().unwrap().starts_with("rustc "), "{built}");
        let features: Vec<&str> = built["features"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
        assert_eq!(features.contains(&"cli"), cfg!(feature = "cli"));
        assert!(!features.contains(&"default"));
        // Both, or neither where the sources are in no repository.
        assert_eq!(built["commit"].is_string(), built["dirty"].is_boolean());
        let itself = blake3::hash(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).to_hex().to_string();
        assert_eq!(built["exe_blake3"], itself);
        assert_eq!(built["lock_blake3"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn a_reader_sees_no_json() {
        let program =
            json!({"commit": "0123456789abcdef", "dirty": true, "rustc": "rustc 1.95.0", "features": ["cli"]});
        assert_eq!(in_words(&program), "commit 0123456789ab with changes, rustc 1.95.0, cli");
        assert_eq!(in_words(&json!({"commit": null, "features": []})), "no commit");
    }
}
