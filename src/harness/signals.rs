//! Signals. Ctrl-C, SIGTERM, SIGHUP (a terminal that closes) and SIGUSR1 (what a cluster's scheduler sends before it ends a
//! job): the first asks the loop to stop after a checkpoint, a second ends the process at once. One that was ignored when
//! the program started (`nohup`, `&` in a script) stays ignored.

use crate::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What stops a run, with its name and the exit code that the command line promises for it.
const SIGNALS: [(c_int, &str, c_int); 4] =
    [(SIGINT, "SIGINT", 130), (SIGTERM, "SIGTERM", 75), (SIGHUP, "SIGHUP", 75), (SIGUSR1, "SIGUSR1", 75)];

/// A flag to poll at each step: one relaxed load.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// A flag that no signal sets.
    pub fn never() -> Self {
        Stop::default()
    }

    /// Asks to stop, as Ctrl-C does.
    pub fn ask(&self) {
        self.0.store(SIGINT as usize, Ordering::Relaxed);
    }

    /// The signal that asked to stop, as [`Error::Interrupted`] names it.
    pub fn requested(&self) -> Option<&'static str> {
        let asked = self.0.load(Ordering::Relaxed);
        SIGNALS.iter().find(|(signal, ..)| *signal as usize == asked).map(|(_, name, _)| *name)
    }
}

/// Catches these signals for the rest of the process, but for those that are ignored. The second of them, of any kind, exits
/// with the code that the command line promises for it: what the last checkpoint holds is kept.
///
/// # Errors
/// [`Error::Io`] if the system refuses the handlers.
pub fn install() -> Result<Stop> {
    let stop = Stop::default();
    let armed = Arc::new(AtomicBool::new(false));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (signal, _, code) in SIGNALS.into_iter().filter(|(signal, ..)| !ignored(&status, *signal)) {
        // The order matters: handlers run as registered, so the first signal finds `armed` false and only then sets it.
        flag::register_conditional_shutdown(signal, code, Arc::clone(&armed))
            .and_then(|_| flag::register(signal, Arc::clone(&armed)))
            .and_then(|_| flag::register_usize(signal, Arc::clone(&stop.0), signal as usize))
            .map_err(Error::io("catch", format!("signal {signal}")))?;
    }
    Ok(stop)
}

/// Whether Linux's table of the process says that it ignores `signal`; elsewhere none is known to be.
fn ignored(status: &str, signal: c_int) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

/// Makes a write past the limit on file sizes (`ulimit -f`) an ordinary error; unhandled, its signal ends the process.
///
/// # Errors
/// [`Error::Io`] if the system refuses the handler.
pub fn survive_file_limit() -> Result<()> {
    let unread = Arc::new(AtomicBool::new(false));
    flag::register(SIGXFSZ, unread).map(drop).map_err(Error::io("catch", "SIGXFSZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_only_sets_the_flag() {
        let stop = install().unwrap();
        assert_eq!(stop.requested(), None);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(stop.requested(), Some("SIGTERM"));
        assert_eq!(Stop::never().requested(), None);
        let asked = Stop::never();
        asked.clone().ask();
        assert_eq!(asked.requested(), Some("SIGINT"));
        for (signal, name, _) in SIGNALS {
            asked.0.store(signal as usize, Ordering::Relaxed);
            assert_eq!(asked.requested(), Some(name));
        }
    }

    #[test]
    fn what_was_ignored_is_known() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001002\n";
        assert_eq!([SIGINT, SIGTERM, SIGHUP].map(|signal| ignored(status, signal)), [true, false, false]);
        assert!(!ignored("", SIGINT) && !ignored("SigIgn:\tmany\n", SIGINT));
    }
}
