//! Halving the learning rate on a plateau of the training loss (paper B.2: five times, to 1/32). What a plateau is the paper does
//! not say: here no new minimum of the smoothed loss for a number of steps.

use crate::spec::Plateau as Config;
use serde::{Deserialize, Serialize};

/// Where the loss stands; part of the checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// The loss, averaged exponentially over the steps so far; none before the first.
    smoothed: Option<f64>,
    /// Its minimum since the last halving.
    best: Option<f64>,
    /// Steps since that minimum.
    since: u64,
    /// How often the learning rate was reduced.
    reduced: u32,
}

impl Plateau {
    /// What the schedule's learning rate is multiplied by.
    pub fn factor(&self, config: &Config) -> f64 {
        config.factor.powi(self.reduced as i32)
    }

    /// Takes in the loss of a step.
    pub fn observe(&mut self, config: &Config, loss: f64) {
        if config.patience == 0 {
            return;
        }
        let smoothed = self.smoothed.map_or(loss, |s| config.smoothing * s + (1.0 - config.smoothing) * loss);
        self.smoothed = Some(smoothed);
        if self.best.is_none_or(|best| smoothed < best - config.threshold * best.abs()) {
            self.best = Some(smoothed);
            self.since = 0;
            return;
        }
        self.since += 1;
        if self.since >= config.patience && u64::from(self.reduced) < config.times {
            self.reduced += 1;
            self.since = 0;
            self.best = self.smoothed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config = Config { patience: 10, factor: 0.5, times: 5, threshold: 1e-3, smoothing: 0.0 };

    fn after(losses: impl Iterator<Item = f64>) -> Plateau {
        let mut plateau = Plateau::default();
        losses.for_each(|loss| plateau.observe(&CONFIG, loss));
        plateau
    }

    #[test]
    fn a_flat_loss_halves_five_times_and_no_more() {
        assert_eq!(after((0..10).map(|_| 1.0)).reduced, 0);
        assert_eq!(after((0..11).map(|_| 1.0)).reduced, 1);
        assert_eq!(after((0..21).map(|_| 1.0)).reduced, 2);
        let end = after((0..1000).map(|_| 1.0));
        assert_eq!((end.reduced, end.factor(&CONFIG)), (5, 1.0 / 32.0));
    }

    #[test]
    fn a_falling_loss_does_not_and_a_negative_one_falls_too() {
        assert_eq!(after((0..500).map(|i| 10.0 * 0.99f64.powi(i))).reduced, 0);
        assert_eq!(after((0..500).map(|i| -1.0 - 0.1 * f64::from(i))).reduced, 0);
        // By less than a thousandth in ten steps is no fall.
        assert_eq!(after((0..11).map(|i| 1.0 - 1e-5 * f64::from(i))).reduced, 1);
    }

    #[test]
    fn off_it_does_nothing_and_its_state_survives_a_checkpoint() {
        let mut off = Plateau::default();
        (0..100).for_each(|_| off.observe(&Config { patience: 0, ..CONFIG }, 1.0));
        assert_eq!(off, Plateau::default());
        let whole = after((0..15).map(|_| 1.0));
        let text = serde_json::to_string(&after((0..8).map(|_| 1.0))).unwrap();
        let mut resumed: Plateau = serde_json::from_str(&text).unwrap();
        (8..15).for_each(|_| resumed.observe(&CONFIG, 1.0));
        assert_eq!(resumed, whole);
    }
}
