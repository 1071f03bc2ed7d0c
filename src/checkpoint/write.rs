//! Writing checkpoints, and tidying up after a crash: only for the one who writes the folder.

use super::{BEST, Entry, KEPT, LATEST, MANIFEST, Manifest, OLD, UNFINISHED, newest_first, step_named, verified};
use crate::files::{replace, sync_folder, write_synced};
use crate::{Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Writes the checkpoint of `step` into `dir` (`checkpoints/<stage>`) and keeps the newest [`KEPT`].
///
/// Checkpoints of later steps are removed: they were passed over as damaged when this run resumed before them.
///
/// # Errors
/// [`Error::Io`]; then the earlier checkpoints are as they were.
pub fn write(dir: impl AsRef<Path>, step: u64, files: &[(&str, Vec<u8>)]) -> Result<()> {
    let dir = dir.as_ref();
    let written = write_before(dir, step, files, &mut |_| Ok(()));
    if written.is_err() {
        // Free the space of the unfinished one: the disk may be full.
        let _ = fs::remove_dir_all(dir.join(format!("step-{step}{UNFINISHED}")));
    }
    written
}

/// [`write`], calling `before` with each action's name just before it: a test stops it at any of them.
fn write_before(
    dir: &Path,
    step: u64,
    files: &[(&str, Vec<u8>)],
    before: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<()> {
    let name = |end: &str| dir.join(format!("step-{step}{end}"));
    let (unfinished, done, old) = (name(UNFINISHED), name(""), name(OLD));
    let mut act = |what: &str, path: &Path, action: &dyn Fn() -> io::Result<()>| {
        before(what).and_then(|()| action()).map_err(Error::io("write", path))
    };
    act("create the folder", dir, &|| fs::create_dir_all(dir))?;
    act("tidy up", dir, &|| tidy(dir))?;
    act("create the unfinished", &unfinished, &|| fs::create_dir(&unfinished))?;
    for (name, bytes) in files {
        let path = unfinished.join(name);
        act("write a file", &path, &|| write_synced(&path, bytes))?;
    }
    let entries = files.iter().map(|(name, bytes)| ((*name).to_owned(), Entry::of(bytes))).collect();
    let (path, manifest) = (unfinished.join(MANIFEST), Manifest { step, files: entries });
    act("write the manifest", &path, &|| write_synced(&path, &manifest.to_bytes()?))?;
    act("sync the unfinished", &unfinished, &|| sync_folder(&unfinished))?;
    if done.exists() {
        act("set the old aside", &done, &|| fs::rename(&done, &old))?;
    }
    act("rename", &done, &|| fs::rename(&unfinished, &done))?;
    act("sync the folder", dir, &|| sync_folder(dir))?;
    let latest = dir.join(LATEST);
    act("write LATEST", &latest, &|| replace(&latest, format!("step-{step}\n").as_bytes()))?;
    act("tidy up", dir, &|| tidy(dir))?;
    let others = newest_first(dir).map_err(Error::io("read", dir))?;
    let (later, earlier): (Vec<u64>, Vec<u64>) =
        others.into_iter().filter(|&other| other != step).partition(|&other| other > step);
    for other in later.into_iter().chain(earlier.into_iter().skip(KEPT - 1)) {
        let path = dir.join(format!("step-{other}"));
        act("remove one", &path, &|| discard(&path))?;
    }
    Ok(())
}

/// Removes the checkpoints of `dir` whose steps are not `wanted`. Only for the one who writes `dir`.
///
/// # Errors
/// [`Error::Io`].
pub fn retain(dir: impl AsRef<Path>, wanted: impl Fn(u64) -> bool) -> Result<()> {
    let dir = dir.as_ref();
    let act = || -> io::Result<()> {
        tidy(dir)?;
        let (kept, others): (Vec<u64>, Vec<u64>) = newest_first(dir)?.into_iter().partition(|&step| wanted(step));
        match (kept.first(), others.is_empty()) {
            (_, true) => return Ok(()),
            (Some(newest), _) => replace(&dir.join(LATEST), format!("step-{newest}\n").as_bytes())?,
            (None, _) => fs::remove_file(dir.join(LATEST)).or_else(absent)?,
        }
        others.iter().try_for_each(|step| discard(&dir.join(format!("step-{step}"))))
    };
    if dir.exists() { act().map_err(Error::io("write", dir)) } else { Ok(()) }
}

/// The checkpoints of `dir` that are older than its newest: whoever is done with training falls back to none. Looks at no byte.
///
/// # Errors
/// [`Error::Io`].
pub fn spare(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let dir = dir.as_ref();
    let steps = newest_first(dir).map_err(Error::io("read", dir))?;
    let path = |step: &u64| Some(dir.join(format!("step-{step}"))).filter(|path| path.is_dir());
    Ok(steps.iter().skip(1).filter_map(path).collect())
}

/// Removes what [`spare`] found, if every byte of the newest is as it was written. Only for the one who writes `dir`.
///
/// # Errors
/// [`Error::Data`] where the newest is damaged; [`Error::Io`].
pub fn keep_newest(dir: impl AsRef<Path>) -> Result<()> {
    let dir = dir.as_ref();
    let Some(&newest) = newest_first(dir).map_err(Error::io("read", dir))?.first() else { return Ok(()) };
    verified(dir, newest)?;
    retain(dir, |step| step == newest)
}

/// No error where there was nothing to remove.
fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Removes what a crash left behind: unfinished checkpoints, half-removed ones, and more than the [`KEPT`] newest. Only for
/// the one who writes `dir`.
///
/// # Errors
/// [`Error::Io`].
pub fn clean(dir: impl AsRef<Path>) -> Result<()> {
    for dir in [dir.as_ref(), &dir.as_ref().join(BEST)] {
        if dir.exists() {
            tidy(dir).and_then(|()| tidy_finished(dir)).map_err(Error::io("write", dir))?;
        }
    }
    Ok(())
}

/// Does what is left of a [`write`] that was ended after its checkpoint was in place. What may have to be fallen back to stays.
fn tidy_finished(dir: &Path) -> io::Result<()> {
    let steps = newest_first(dir)?;
    let Some(&newest) = steps.first() else { return Ok(()) };
    let named = fs::read(dir.join(LATEST)).ok().and_then(|named| step_named(&named));
    let unnamed = named.is_none_or(|named| named < newest && steps.contains(&named));
    let (kept, others) = steps.split_at(steps.len().min(KEPT));
    if (!unnamed && others.is_empty()) || !kept.iter().all(|&step| verified(dir, step).is_ok()) {
        return Ok(());
    }
    if unnamed {
        replace(&dir.join(LATEST), format!("step-{newest}\n").as_bytes())?;
    }
    others.iter().try_for_each(|step| discard(&dir.join(format!("step-{step}"))))
}

fn tidy(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.ends_with(UNFINISHED) {
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        } else if let Some(done) = name.strip_suffix(OLD) {
            let done = dir.join(done);
            // The crash came between setting aside and renaming: put it back.
            if done.exists() { discard(&path)? } else { fs::rename(&path, &done)? }
        }
    }
    Ok(())
}

/// Removes a folder by way of an unfinished one, so that a crash leaves no half of it under its name.
fn discard(path: &Path) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    fs::rename(path, &unfinished)?;
    fs::remove_dir_all(&unfinished)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{files, names, newest};
    use super::super::{Older, latest};
    use super::*;

    /// Stops a write of `step` before its k-th action for every k; the state left must load, before and after tidying, and the next write must succeed.
    fn crash_everywhere(existing: &[u64], step: u64, loadable: &[u64]) {
        for stop in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path();
            existing.iter().for_each(|&step| write(dir, step, &files(step)).unwrap());
            let mut actions = 0;
            let crashed = write_before(dir, step, &files(step), &mut |_| {
                actions += 1;
                if actions > stop { Err(io::Error::other("crash")) } else { Ok(()) }
            });
            for tidied in [false, true] {
                if tidied {
                    clean(dir).unwrap();
                    assert!(
                        !names(dir).iter().any(|name| name.ends_with(UNFINISHED) || name.ends_with(OLD)),
                        "{:?}",
                        names(dir)
                    );
                    let steps = newest_first(dir).unwrap();
                    assert!(steps.len() <= KEPT, "stopped before action {stop}: {steps:?}");
                    let named = fs::read(dir.join(LATEST)).ok().map(|named| step_named(&named).unwrap());
                    assert_eq!(named, steps.first().copied(), "stopped before action {stop}");
                }
                // A crash is no damage: nothing is passed over.
                let found = latest(dir, &mut Older::Refused).unwrap().map(|found| found.step);
                assert!(
                    found.map_or(existing.is_empty(), |found| loadable.contains(&found)),
                    "stopped before action {stop}: {found:?} of {:?}",
                    names(dir)
                );
            }
            write(dir, step, &files(step)).unwrap();
            assert_eq!(newest(dir), (step, vec![]));
            if crashed.is_ok() {
                assert!(actions > 10, "only {actions} actions");
                return;
            }
        }
    }

    #[test]
    fn the_newest_two_are_kept_and_the_newest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("checkpoints/first_stage");
        assert_eq!(latest(&dir, &mut Older::Refused).unwrap(), None);
        for step in [1, 5, 10, 20] {
            write(&dir, step, &files(step)).unwrap();
        }
        assert_eq!(names(&dir), ["LATEST", "step-10", "step-20"]);
        let found = latest(&dir, &mut Older::Refused).unwrap().unwrap();
        assert_eq!(found.step, 20);
        assert_eq!(found.files().collect::<Vec<_>>(), ["model.safetensors", "state.json"]);
        assert_eq!(found.read("state.json").unwrap(), b"{\"step\":20}");
        assert_eq!(found.read("ema.safetensors").unwrap_err().exit_code(), 4);
        fs::write(found.path.join("state.json"), "{\"step\":21}").unwrap();
        assert_eq!(found.read("state.json").unwrap_err().exit_code(), 4);
    }

    #[test]
    fn what_is_not_wanted_goes_and_the_newest_of_the_rest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        for step in [10, 20] {
            write(dir, step, &files(step)).unwrap();
        }
        retain(dir, |_| true).unwrap();
        assert_eq!(newest(dir), (20, vec![]));
        retain(dir, |step| step < 20).unwrap();
        assert_eq!((newest(dir), names(dir)), ((10, vec![]), vec!["LATEST".to_owned(), "step-10".to_owned()]));
        retain(dir, |_| false).unwrap();
        assert!(names(dir).is_empty() && latest(dir, &mut Older::Refused).unwrap().is_none());
        retain(dir.join("none"), |_| false).unwrap();
    }

    #[test]
    fn a_crash_before_any_action_leaves_a_loadable_state() {
        crash_everywhere(&[], 1, &[1]);
        crash_everywhere(&[1], 2, &[1, 2]);
        crash_everywhere(&[1, 2], 3, &[2, 3]);
        // Writing the only checkpoint again must not lose it.
        crash_everywhere(&[7], 7, &[7]);
    }

    #[test]
    fn later_checkpoints_that_were_passed_over_go() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        for step in [100, 200] {
            write(dir, step, &files(step)).unwrap();
        }
        fs::write(dir.join("step-200/state.json"), "damaged").unwrap();
        assert_eq!(newest(dir).0, 100);
        write(dir, 150, &files(150)).unwrap();
        assert_eq!(names(dir), ["LATEST", "step-100", "step-150"]);
    }

    #[test]
    fn what_may_be_fallen_back_to_is_not_tidied_away() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        write(dir, 20, &files(20)).unwrap();
        write(dir, 30, &files(30)).unwrap();
        // As a kill leaves them between a checkpoint and its tidying.
        write(dir.join("other"), 10, &files(10)).unwrap();
        fs::rename(dir.join("other/step-10"), dir.join("step-10")).unwrap();
        fs::remove_dir_all(dir.join("other")).unwrap();
        let good = fs::read(dir.join("step-20/state.json")).unwrap();
        fs::write(dir.join("step-20/state.json"), "damaged").unwrap();
        clean(dir).unwrap();
        assert_eq!(names(dir), ["LATEST", "step-10", "step-20", "step-30"]);
        fs::write(dir.join("step-20/state.json"), good).unwrap();
        clean(dir).unwrap();
        assert_eq!(names(dir), ["LATEST", "step-20", "step-30"]);
    }

    #[test]
    fn the_best_is_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, best) = (folder.path(), folder.path().join(BEST));
        write(&best, 5, &files(5)).unwrap();
        assert_eq!(latest(dir, &mut Older::Refused).unwrap(), None);
        write(dir, 20, &files(20)).unwrap();
        fs::create_dir(best.join("step-6.tmp")).unwrap();
        clean(dir).unwrap();
        assert_eq!((newest(dir), newest(&best)), ((20, vec![]), (5, vec![])));
        assert_eq!(
            (names(dir), names(&best)),
            (vec!["LATEST".into(), "best".into(), "step-20".into()], vec!["LATEST".into(), "step-5".into()])
        );
    }

    #[test]
    fn a_failed_write_leaves_no_unfinished_folder() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, &files(1)).unwrap();
        // A file in a folder that does not exist cannot be written.
        let error = write(folder.path(), 2, &[("no/such/file", vec![])]).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert_eq!(names(folder.path()), ["LATEST", "step-1"]);
    }
}
