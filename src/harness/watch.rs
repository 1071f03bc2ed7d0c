//! How a run is watched and stopped, said once for all of its stages.

use super::shared::Shared;
use super::signals::Stop;

/// How a run is watched and stopped.
pub struct Watch {
    /// Polled at every step.
    pub stop: Stop,
    /// Draws bars or lines on stderr.
    pub progress: bool,
    /// Where its stages may come from, besides its own training.
    pub shared: Option<Shared>,
}
