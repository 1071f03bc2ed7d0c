//! How a run is watched and stopped, said once for all of its stages.

use super::signals::Stop;

/// How a run is watched and stopped.
pub struct Watch {
    /// Polled at every step.
    pub stop: Stop,
    /// Draws bars or lines on stderr.
    pub progress: bool,
}
