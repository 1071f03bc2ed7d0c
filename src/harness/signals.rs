//! Signals. Ctrl-C and SIGTERM: the first asks the loop to stop after a checkpoint, a second ends the process at once.

use crate::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal if signal == SIGINT as usize => Some("SIGINT"),
            _ => Some("SIGTERM"),
        }
    }
}

/// Catches SIGINT and SIGTERM for the rest of the process. The second of them, of either kind, exits with the code that the
/// command line promises for it (130 and 75): what the last checkpoint holds is kept.
///
/// # Errors
/// [`Error::Io`] if the system refuses the handlers.
pub fn install() -> Result<Stop> {
    let stop = Stop::default();
    let armed = Arc::new(AtomicBool::new(false));
    let signals: [(c_int, c_int); 2] = [(SIGINT, 130), (SIGTERM, 75)];
    for (signal, code) in signals {
        // The order matters: handlers run as registered, so the first signal finds `armed` false and only then sets it.
        flag::register_conditional_shutdown(signal, code, Arc::clone(&armed))
            .and_then(|_| flag::register(signal, Arc::clone(&armed)))
            .and_then(|_| flag::register_usize(signal, Arc::clone(&stop.0), signal as usize))
            .map_err(Error::io("catch", format!("signal {signal}")))?;
    }
    Ok(stop)
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
    }
}
