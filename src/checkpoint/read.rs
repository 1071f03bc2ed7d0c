//! What is read of checkpoints: the newest good one, or one file of it; whoever gets an older one hears why.

use super::{Checkpoint, LATEST, newest_first, open, step_named, verified};
use crate::{Error, Result};
use std::fs;
use std::io;
use std::path::{MAIN_SEPARATOR, Path};

/// What to do where the newest checkpoint is damaged and an older one is good. Whoever reads a stage has to say it: other
/// weights draw other pictures.
pub enum Older<'a> {
    /// An error that names what is damaged.
    Refused,
    /// The older one is used once this has heard what is damaged.
    Told(&'a mut dyn FnMut(&str) -> Result<()>),
}

/// What makes something of the checkpoint of a step, or finds it damaged.
type Check<'a, T> = &'a dyn Fn(&Path, u64) -> Result<T>;

/// The newest checkpoint of `dir` (`checkpoints/<stage>`); where a newer one is damaged or gone, as `older` says. `None` before
/// the first.
///
/// # Errors
/// [`Error::Data`] if there are checkpoints and none is good, or an older one is refused; [`Error::Io`] if the folder cannot be
/// read.
pub fn latest(dir: impl AsRef<Path>, older: &mut Older<'_>) -> Result<Option<Checkpoint>> {
    newest(dir.as_ref(), older, &verified)
}

/// The step of the newest checkpoint and its first file of `names`, read once; no other file is looked at, and so none can be
/// found damaged.
///
/// # Errors
/// Those of [`latest`].
pub fn latest_file(dir: impl AsRef<Path>, names: &[&str], older: &mut Older<'_>) -> Result<Option<(u64, Vec<u8>)>> {
    newest(dir.as_ref(), older, &|dir, step| {
        let checkpoint = open(dir, step)?;
        let there = names.iter().find(|name| checkpoint.files().any(|file| file == **name));
        let name = there.or(names.first()).copied().unwrap_or_default();
        Ok((step, checkpoint.read(name)?))
    })
}

fn newest<T>(dir: &Path, older: &mut Older<'_>, check: Check<'_, T>) -> Result<Option<T>> {
    if !dir.exists() {
        return Ok(None);
    }
    let Look { found, damage } = look_while_written(dir, check)?;
    if damage.is_empty() {
        return Ok(found.map(|(_, found)| found));
    }
    // From the stage's folder on: whoever hears it knows the run.
    let above = dir.parent().filter(|above| *above != Path::new("")).unwrap_or(dir);
    let damage = damage.join("; ").replace(&format!("{}{MAIN_SEPARATOR}", above.display()), "");
    let Some((step, found)) = found else {
        let what = format!("no checkpoint is good: {damage}; remove this folder to train the stage again");
        return Err(Error::data(dir, what));
    };
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
    Ok(steps.into_iter().filter(|&other| other < step).find_map(|other| verified(dir, other).ok()))
}

/// Whether `dir` holds a good checkpoint of `step` or later.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read.
pub fn reaches(dir: impl AsRef<Path>, step: u64) -> Result<bool> {
    let dir = dir.as_ref();
    Ok(dir.exists() && look_while_written(dir, &verified)?.found.is_some_and(|(found, _)| found >= step))
}

/// What a look at a folder of checkpoints finds.
struct Look<T> {
    /// The newest good one.
    found: Option<(u64, T)>,
    /// What is wrong with newer ones, and with what names the newest.
    damage: Vec<String>,
}

/// [`look`], again where a writer has meanwhile removed what was looked at.
fn look_while_written<T>(dir: &Path, check: Check<'_, T>) -> Result<Look<T>> {
    let latest = || fs::read(dir.join(LATEST)).ok();
    for _ in 0..100 {
        let before = latest();
        let look = look(dir, check)?;
        if look.damage.is_empty() || latest() == before {
            return Ok(look);
        }
    }
    look(dir, check)
}

fn look<T>(dir: &Path, check: Check<'_, T>) -> Result<Look<T>> {
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
        match check(dir, step) {
            Ok(found) => return Ok(Look { found: Some((step, found)), damage }),
            Err(error) => damage.push(error.to_string()),
        }
    }
    Ok(Look { found: None, damage })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{files, names, newest};
    use super::super::write;
    use super::*;
    use std::path::PathBuf;

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
    fn one_file_is_read_and_damage_of_others_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let wanted = ["ema.safetensors", "model.safetensors"];
        let mut refused = Older::Refused;
        assert_eq!(latest_file(dir.join("none"), &wanted, &mut refused).unwrap(), None);
        write(dir, 10, &files(10)).unwrap();
        write(dir, 20, &files(20)).unwrap();
        assert_eq!(latest_file(dir, &wanted, &mut refused).unwrap(), Some((20, vec![20; 40])));
        fs::write(dir.join("step-20/state.json"), "damaged").unwrap();
        assert_eq!(latest_file(dir, &wanted, &mut refused).unwrap(), Some((20, vec![20; 40])));
        fs::write(dir.join("step-20/model.safetensors"), "damaged").unwrap();
        assert_eq!(latest_file(dir, &wanted, &mut refused).unwrap_err().exit_code(), 4);
        let mut said = 0;
        let mut told = Older::Told(&mut |_| {
            said += 1;
            Ok(())
        });
        assert_eq!(latest_file(dir, &wanted, &mut told).unwrap(), Some((10, vec![10; 40])));
        assert_eq!(said, 1);
        let error = latest_file(dir, &["ema.safetensors"], &mut refused).unwrap_err().to_string();
        assert!(error.contains("the checkpoint has no such file"), "{error}");
    }
}
