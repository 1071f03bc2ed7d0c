//! A run's lock: one writer at a time, and readers see whether there is one.

use crate::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Who holds a run's lock.
pub(super) enum Holder {
    Somebody,
    Nobody,
    /// There is no lock, or none that this system knows.
    Unknown,
}

pub(super) fn holder(run: &Path) -> Holder {
    match File::open(run.join("lock")).map(|lock| lock.try_lock_shared()) {
        Ok(Err(TryLockError::WouldBlock)) => Holder::Somebody,
        Ok(Ok(())) => Holder::Nobody,
        _ => Holder::Unknown,
    }
}

/// Keeps others from writing the run at `run` until the value is dropped.
///
/// # Errors
/// [`Error::Io`] where somebody writes it.
pub fn hold(run: &Path) -> Result<Lock> {
    lock(run)
}

/// The run's lock. The system drops it with the process, so a dead one never blocks its run.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has forked and that has not yet begun its program holds the
        // same open file, and with it the lock. Where unlocking fails the close still follows.
        let _ = self.0.unlock();
    }
}

/// Tries for longer than [`holder`] takes to look, which holds a lock too.
fn patiently(file: &File) -> std::result::Result<(), TryLockError> {
    const LOOKS: u32 = 50;
    for _ in 0..LOOKS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            tried => return tried,
        }
    }
    file.try_lock()
}

/// Takes the run's lock.
pub(super) fn lock(run: &Path) -> Result<Lock> {
    let path = run.join("lock");
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(&path).map_err(Error::io("write", &path))?;
    match patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            let why = format!("process {} is writing this run", owner.trim());
            return Err(Error::io("lock", run)(std::io::Error::new(ErrorKind::WouldBlock, why)));
        }
        // Some network file systems know no locks: better a run without one than none.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(Error::io("write", &path))?;
    Ok(Lock(file))
}
