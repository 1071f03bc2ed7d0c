//! Checkpoints that survive a crash at any moment and notice any damage.
//!
//! `checkpoints/<stage>/step-N/` holds the files and `MANIFEST.json` (their sizes and blake3); `LATEST` names the newest. A
//! checkpoint appears by one rename of a finished, synced `step-N.tmp/`; what it replaces is set aside as `step-N.old/` until
//! then. Reading deletes nothing, so a running run may be read; the writer tidies up. `checkpoints/<stage>/best/` is a folder
//! of the same kind for the checkpoint that validated best; what is read of a stage never is.

use super::durable::{replace, sync_folder, write_synced};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

/// Checkpoints kept of a stage: the newest, and one to fall back to.
pub const KEPT: usize = 2;
/// Where a stage's best checkpoint lies, within its folder.
pub const BEST: &str = "best";
const MANIFEST: &str = "MANIFEST.json";
const LATEST: &str = "LATEST";
const UNFINISHED: &str = ".tmp";
const OLD: &str = ".old";

/// A checkpoint whose every byte was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    manifest: Manifest,
}

/// What to do where the newest checkpoint is damaged and an older one is good. Whoever reads a stage has to say it: other
/// weights draw other pictures.
pub enum Older<'a> {
    /// An error that names what is damaged.
    Refused,
    /// The older one is used once this has heard what is damaged.
    Told(&'a mut dyn FnMut(&str) -> Result<()>),
}

impl Checkpoint {
    /// The content of one of its files, verified again.
    ///
    /// # Errors
    /// [`Error::Data`] if the checkpoint has no such file or it has changed.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        let entry =
            self.manifest.files.get(name).ok_or_else(|| Error::data(&path, "the checkpoint has no such file"))?;
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let got = Entry::of(&bytes);
        if got == *entry { Ok(bytes) } else { Err(Error::data(&path, entry.differs(&got))) }
    }

    /// The names of its files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.manifest.files.keys().map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    step: u64,
    files: BTreeMap<String, Entry>,
}

impl Manifest {
    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    size: u64,
    blake3: String,
}

impl Entry {
    fn of(bytes: &[u8]) -> Self {
        Entry { size: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }

    /// The same without holding the file in memory.
    fn of_file(path: &Path) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let size = io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok(Entry { size, blake3: hasher.finalize().to_hex().to_string() })
    }

    fn differs(&self, got: &Entry) -> String {
        if self.size == got.size {
            format!("expected blake3 {}, got {}", self.blake3, got.blake3)
        } else {
            format!("expected {} bytes, got {}", self.size, got.size)
        }
    }
}

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

/// The newest checkpoint of `dir` (`checkpoints/<stage>`); where a newer one is damaged or gone, as `older` says. `None` before
/// the first.
///
/// # Errors
/// [`Error::Data`] if there are checkpoints and none is good, or an older one is refused; [`Error::Io`] if the folder cannot be
/// read.
pub fn latest(dir: impl AsRef<Path>, older: &mut Older<'_>) -> Result<Option<Checkpoint>> {
    let dir = dir.as_ref();
    if !dir.exists() {
        return Ok(None);
    }
    let Look { found, damage } = look_while_written(dir)?;
    if damage.is_empty() {
        return Ok(found);
    }
    // From the stage's folder on: whoever hears it knows the run.
    let above = dir.parent().filter(|above| *above != Path::new("")).unwrap_or(dir);
    let damage = damage.join("; ").replace(&format!("{}{MAIN_SEPARATOR}", above.display()), "");
    let Some(found) = found else {
        let what = format!("no checkpoint is good: {damage}; remove this folder to train the stage again");
        return Err(Error::data(dir, what));
    };
    let step = found.step;
    match older {
        Older::Refused => {
            let what = format!(
                "damaged: {damage}; step-{step} is good: --resume trains on from it, --allow-older-checkpoint uses it as it is"
            );
            Err(Error::data(dir, what))
        }
        Older::Told(tell) => {
            tell(&format!("damaged: {damage}; fell back to step-{step}"))?;
            Ok(Some(found))
        }
    }
}

/// The newest good checkpoint of `dir` that is older than `step`.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read.
pub fn before(dir: impl AsRef<Path>, step: u64) -> Result<Option<Checkpoint>> {
    let dir = dir.as_ref();
    let steps = newest_first(dir).map_err(Error::io("read", dir))?;
    let good = |step| verify(dir, step).ok().map(|(path, manifest)| Checkpoint { step, path, manifest });
    Ok(steps.into_iter().filter(|&other| other < step).find_map(good))
}

/// Whether `dir` holds a good checkpoint of `step` or later.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read.
pub fn reaches(dir: impl AsRef<Path>, step: u64) -> Result<bool> {
    let dir = dir.as_ref();
    Ok(dir.exists() && look_while_written(dir)?.found.is_some_and(|found| found.step >= step))
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

/// No error where there was nothing to remove.
fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// What a look at a folder of checkpoints finds.
struct Look {
    /// The newest good one.
    found: Option<Checkpoint>,
    /// What is wrong with newer ones, and with what names the newest.
    damage: Vec<String>,
}

/// [`look`], again where a writer has meanwhile removed what was looked at.
fn look_while_written(dir: &Path) -> Result<Look> {
    let latest = || fs::read(dir.join(LATEST)).ok();
    for _ in 0..100 {
        let before = latest();
        let look = look(dir)?;
        if look.damage.is_empty() || latest() == before {
            return Ok(look);
        }
    }
    look(dir)
}

fn look(dir: &Path) -> Result<Look> {
    let candidates = newest_first(dir).map_err(Error::io("read", dir))?;
    let mut damage = Vec::new();
    match fs::read(dir.join(LATEST)) {
        // A crash came before the first one was named, or between writing a newer one and naming it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => damage.push(Error::io("read", dir.join(LATEST))(error).to_string()),
        Ok(named) => match step_named(&named) {
            Some(step) if candidates.contains(&step) => {}
            Some(step) => damage.push(format!("step-{step}, which {LATEST} names, is not there")),
            None => damage.push(format!("{LATEST} names no checkpoint: {:?}", String::from_utf8_lossy(&named))),
        },
    }
    for step in candidates {
        match verify(dir, step) {
            Ok((path, manifest)) => return Ok(Look { found: Some(Checkpoint { step, path, manifest }), damage }),
            Err(error) => damage.push(error.to_string()),
        }
    }
    Ok(Look { found: None, damage })
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
    if (!unnamed && others.is_empty()) || !kept.iter().all(|&step| verify(dir, step).is_ok()) {
        return Ok(());
    }
    if unnamed {
        replace(&dir.join(LATEST), format!("step-{newest}\n").as_bytes())?;
    }
    others.iter().try_for_each(|step| discard(&dir.join(format!("step-{step}"))))
}

fn verify(dir: &Path, step: u64) -> Result<(PathBuf, Manifest)> {
    let set_aside = dir.join(format!("step-{step}{OLD}"));
    let path = Some(dir.join(format!("step-{step}"))).filter(|path| path.exists()).unwrap_or(set_aside);
    let manifest_path = path.join(MANIFEST);
    let bytes = fs::read(&manifest_path).map_err(Error::io("read", &manifest_path))?;
    let manifest = serde_json::from_slice::<Manifest>(&bytes)
        .ok()
        // Byte for byte as it was written: a flipped bit that JSON does not mind is damage too.
        .filter(|manifest| manifest.step == step && manifest.to_bytes().is_ok_and(|written| written == bytes))
        .ok_or_else(|| Error::data(&manifest_path, "damaged"))?;
    for (name, entry) in &manifest.files {
        let file = path.join(name);
        let got = Entry::of_file(&file).map_err(Error::io("read", &file))?;
        if got != *entry {
            return Err(Error::data(&file, entry.differs(&got)));
        }
    }
    Ok((path, manifest))
}

/// The step that `LATEST` names.
fn step_named(latest: &[u8]) -> Option<u64> {
    step_of(std::str::from_utf8(latest).ok()?.strip_suffix('\n')?)
}

fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?;
    // Not `+7` or `007`, which parse but are not how a folder is named.
    digits.parse::<u64>().ok().filter(|step| step.to_string() == digits)
}

/// The steps that have a finished folder, or one set aside.
fn newest_first(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| step_of(name.strip_suffix(OLD).unwrap_or(name))));
    }
    Ok(found.into_iter().rev().collect())
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
    use super::*;

    fn files(step: u64) -> Vec<(&'static str, Vec<u8>)> {
        vec![("model.safetensors", vec![step as u8; 40]), ("state.json", format!("{{\"step\":{step}}}").into_bytes())]
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The newest that is good and what was said of others.
    fn newest(dir: &Path) -> (u64, Vec<String>) {
        let mut said = Vec::new();
        let mut older = Older::Told(&mut |text| {
            said.push(text.to_owned());
            Ok(())
        });
        let found = latest(dir, &mut older).unwrap().unwrap();
        (found.step, said)
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

    /// Every file of checkpoint 20 and `LATEST`.
    fn targets(dir: &Path) -> Vec<PathBuf> {
        let newest = dir.join("step-20");
        names(&newest).into_iter().map(|name| newest.join(name)).chain([dir.join(LATEST)]).collect()
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        write(dir, 10, &files(10)).unwrap();
        write(dir, 20, &files(20)).unwrap();
        for path in targets(dir) {
            let good = fs::read(&path).unwrap();
            let flips = (0..good.len() * 8).map(|bit| {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                bad
            });
            for bad in flips.chain((0..good.len()).map(|length| good[..length].to_vec())) {
                fs::write(&path, &bad).unwrap();
                let (step, said) = newest(dir);
                let refused = latest(dir, &mut Older::Refused).unwrap_err();
                assert_eq!(refused.exit_code(), 4);
                // A flip may name the other checkpoint only if the step's digits differ in one bit; 10 and 20 do not.
                let (wanted, what) = if path.ends_with(LATEST) { (20, "LATEST") } else { (10, "step-20/") };
                assert!(step == wanted && said.len() == 1, "{}: {bad:?}: {step} {said:?}", path.display());
                assert!(said[0].contains(what) && refused.to_string().contains(what), "{said:?} {refused}");
            }
            fs::write(&path, &good).unwrap();
            fs::remove_file(&path).unwrap();
            assert_eq!(newest(dir).0, if path.ends_with(LATEST) { 20 } else { 10 });
            fs::write(&path, &good).unwrap();
        }
        assert_eq!(newest(dir).1, [""; 0]);
        // The whole newest one gone, or named in favour of the older one.
        fs::write(dir.join(LATEST), "step-10\n").unwrap();
        assert_eq!(newest(dir), (20, vec![]));
        fs::write(dir.join(LATEST), "step-20\n").unwrap();
        fs::remove_dir_all(dir.join("step-20")).unwrap();
        let (step, said) = newest(dir);
        assert!(step == 10 && said[0].contains("step-20, which LATEST names"), "{said:?}");
    }

    #[test]
    fn with_none_good_it_is_an_error_that_names_each() {
        let folder = tempfile::tempdir().unwrap();
        for step in [1, 2] {
            write(folder.path(), step, &files(step)).unwrap();
            fs::write(folder.path().join(format!("step-{step}/state.json")), "").unwrap();
        }
        let error = latest(folder.path(), &mut Older::Refused).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let text = error.to_string();
        assert!(text.contains("step-1") && text.contains("step-2") && text.lines().count() == 1, "{text}");
    }

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
    fn what_comes_before_a_step_and_what_reaches_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert!(!reaches(dir.join("none"), 1).unwrap());
        write(dir, 10, &files(10)).unwrap();
        write(dir, 20, &files(20)).unwrap();
        assert!(reaches(dir, 20).unwrap() && reaches(dir, 5).unwrap() && !reaches(dir, 21).unwrap());
        let step = |before| super::before(dir, before).unwrap().map(|found| found.step);
        assert_eq!([10, 20, 21].map(step), [None, Some(10), Some(20)]);
        fs::write(dir.join("step-20/state.json"), "damaged").unwrap();
        assert!(!reaches(dir, 20).unwrap() && reaches(dir, 10).unwrap());
        assert_eq!(step(21), Some(10));
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
