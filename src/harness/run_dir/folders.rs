//! The folders of a spec's runs: named by time and hash, made one at a time, and swept of those that died before they began.

use super::lock::{Holder, holder};
use super::{FOLDERS, METRICS, RESOLVED, RUN};
use crate::harness::notice;
use crate::spec::check::is_name;
use crate::{Error, Result};
use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The runs in `folder`, the newest first: names start with the time, so they sort by it.
pub(super) fn newest_first(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut runs: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join(RUN).is_file()).collect();
    // By time, hash and number, so that `-10` comes after `-9`; hashes had 8 digits before they had 16.
    runs.sort_by_cached_key(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut parts = name.splitn(3, '-').map(str::to_owned);
        let [time, hash, number] = [(); 3].map(|()| parts.next().unwrap_or_default());
        Reverse((time, hash, number.parse::<u64>().unwrap_or(0), number))
    });
    runs
}

/// Closed while a run is started in a folder, so that one which is just being made does not look dead. Nothing is held where
/// the system cannot lock a folder.
pub(super) struct Gate(File);

impl Gate {
    pub fn close(folder: &Path) -> Option<Gate> {
        let folder = File::open(folder).ok()?;
        folder.lock().ok().map(|()| Gate(folder))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // As for a run's lock.
        let _ = self.0.unlock();
    }
}

/// Removes the folders of runs that died before they began, and names those that hold more than that without being runs.
pub(super) fn sweep(parent: &Path, gate: Option<&Gate>) {
    if gate.is_none() {
        return;
    }
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if !is_run_name(&entry.file_name().to_string_lossy()) || !path.is_dir() {
            continue;
        }
        // Whoever is making one holds the gate until it has its lock, and the lock until there is a run.json: only where nobody holds
        // it any more can there be none for ever.
        let dead = !path.join("lock").exists() || matches!(holder(&path), Holder::Nobody);
        if !dead || path.join(RUN).exists() {
            continue;
        }
        if !holds_nothing(&path) {
            let what = "holds results but no run.json, and no process writes it; it is left as it is";
            notice::line(format_args!("warning: {}: {what}", path.display()));
        } else if let Err(error) = fs::remove_dir_all(&path) {
            notice::line(Error::io("remove", &path)(error));
        }
    }
}

/// Whether it is how [`RunDir::create`] names folders: `20261123T034500Z-` and 8 or 16 hexadecimal digits, `-2` and so on.
fn is_run_name(name: &str) -> bool {
    if !name.is_ascii() {
        return false;
    }
    let (time, rest) = name.split_once('-').unwrap_or_default();
    let (hash, number) = rest.split_once('-').unwrap_or((rest, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    time.len() == 16
        && digits(&[&time[..8], &time[9..15]].concat())
        && (&time[8..9], &time[15..]) == ("T", "Z")
        && matches!(hash.len(), 8 | 16)
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && digits(number)
}

/// Whether it is a folder that was a run until it was being removed.
pub fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.is_dir() && name.strip_suffix(".tmp").is_some_and(is_run_name)
}

/// Whether a run's folder holds no more than is there before its run.json.
fn holds_nothing(path: &Path) -> bool {
    let empty = |path: PathBuf| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let nothing = |entry: std::io::Result<fs::DirEntry>| {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name();
        match name.to_str() {
            Some(METRICS) => entry.metadata().is_ok_and(|data| data.len() == 0),
            Some(name) if FOLDERS.contains(&name) => empty(entry.path()),
            Some(RUN) | None => false,
            Some(name) => ["lock", "spec.yaml", RESOLVED, RUN].contains(&name.strip_suffix(".tmp").unwrap_or(name)),
        }
    };
    fs::read_dir(path).is_ok_and(|mut entries| entries.all(nothing))
}

/// Creates `parent/stem`, or `stem-2`, `stem-3`… where runs of one spec start within a second.
pub(super) fn new_folder(parent: &Path, stem: &str) -> Result<PathBuf> {
    let mut path = parent.join(stem);
    for number in 2.. {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => path = parent.join(format!("{stem}-{number}")),
            Err(error) => return Err(Error::io("create", &path)(error)),
            Ok(()) => break,
        }
    }
    Ok(path)
}

/// A set's name as a part of a file's name. The schema lets no other names through than those that are safe as they are.
pub fn file_part(name: &str) -> String {
    if is_name(name) { name.to_owned() } else { format!("set-{}", &blake3::hash(name.as_bytes()).to_hex()[..16]) }
}

/// Removes what a crash left of files that were being replaced. Only for the one who writes the run.
pub(super) fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.extension().is_some_and(|end| end == "tmp") && path.is_file() {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_folder() {
        for safe in ["validation", "held_out", "a.b-c"] {
            assert_eq!(file_part(safe), safe);
        }
        let others = ["..", "../up", "coco/val", "/etc", "", ".hidden", "a\\b", "ä", "a\0b"];
        for name in others {
            let part = file_part(name);
            assert!(is_name(&part) && !others.contains(&part.as_str()), "{name:?}: {part}");
        }
        assert_ne!(file_part("a/b"), file_part("a/c"));
    }

    #[test]
    fn a_run_is_never_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["lock", "spec.yaml", "spec.resolved.yaml.tmp", "run.json.tmp", "metrics.jsonl"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        FOLDERS.iter().for_each(|name| fs::create_dir(folder.path().join(name)).unwrap());
        assert!(holds_nothing(folder.path()));
        fs::write(folder.path().join(RUN), "{}").unwrap();
        assert!(!holds_nothing(folder.path()), "it was begun while somebody looked");
    }

    #[test]
    fn names_of_runs_are_known() {
        for name in ["20261123T034500Z-0123abcd", "20261123T034500Z-0123456789abcdef", "20261123T034500Z-0123abcd-12"] {
            assert!(is_run_name(name), "{name}");
        }
        let others =
            ["", "mine", "20261123T034500Z", "20261123T034500Z-0123abc", "2026-11-23", "20261123T034500Z-0123abcd-x"];
        for name in others.into_iter().chain(["ééééééééT034500Z-0123abcd", "20261123T034500Z-0123abcd.old"]) {
            assert!(!is_run_name(name), "{name}");
        }
    }
}
