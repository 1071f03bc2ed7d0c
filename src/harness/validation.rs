//! What a stage's validations say: which one is the best, whether the stage gets any further, and whether it has diverged. It is
//! part of the checkpoint, so that a resumed run judges as one that was never stopped.

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Its file in a checkpoint.
pub const FILE: &str = "validation.json";
/// A figure so many times its first value, or so many nats where that is less than one, at [`IN_A_ROW`] validations, has
/// diverged: the first log density may be next to nothing.
const DIVERGED: f64 = 10.0;
const IN_A_ROW: usize = 2;
/// A last figure that is worse than the best by more than this share of it, while training went on to fall, overfits.
const OVERFITS: f64 = 0.03;

/// One validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// After so many steps.
    pub step: u64,
    /// The metric: less is better.
    pub value: f64,
    /// The mean training loss since the validation before.
    pub loss: f64,
}

/// All of a stage so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validations {
    all: Vec<Validation>,
    /// Σ and number of the training losses since the last one.
    losses: (f64, u64),
    /// The stage was ended before its last step.
    pub ended: bool,
}

impl Validations {
    /// Those of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Data`] where it holds none.
    pub fn read(checkpoint: &Checkpoint) -> Result<Validations> {
        serde_json::from_slice(&checkpoint.read(FILE)?)
            .map_err(|error| Error::data(checkpoint.path.join(FILE), format!("expected validations: {error}")))
    }

    /// As a checkpoint's file.
    ///
    /// # Errors
    /// None that a finite figure can cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::data(FILE, error.to_string()))
    }

    /// The training loss of a step.
    pub fn step(&mut self, loss: f64) {
        self.losses = (self.losses.0 + loss, self.losses.1 + 1);
    }

    /// The figure after so many steps.
    pub fn add(&mut self, step: u64, value: f64) {
        let (sum, count) = std::mem::take(&mut self.losses);
        self.all.push(Validation { step, value, loss: sum / count.max(1) as f64 });
    }

    /// The newest.
    pub fn last(&self) -> Option<Validation> {
        self.all.last().copied()
    }

    /// The first of the least figure.
    pub fn best(&self) -> Option<Validation> {
        self.all.iter().copied().reduce(|best, next| if next.value < best.value { next } else { best })
    }

    /// Whether the last one is the best.
    pub fn improved(&self) -> bool {
        self.best().is_some_and(|best| Some(best.step) == self.all.last().map(|last| last.step))
    }

    /// Validations since the best.
    pub fn without_improvement(&self) -> u64 {
        let best = self.best().map_or(0, |best| best.step);
        self.all.iter().filter(|validation| validation.step > best).count() as u64
    }

    /// The first figure and the last, where the last ones are beyond every measure.
    pub fn diverged(&self) -> Option<(f64, f64)> {
        let first = self.all.first()?.value;
        let (_, later) = self.all.split_first()?;
        let most = DIVERGED * first.abs().max(1.0);
        let beyond = later.iter().rev().take(IN_A_ROW).filter(|last| last.value > most).count();
        (beyond == IN_A_ROW).then(|| (first, self.all[self.all.len() - 1].value))
    }

    /// The best and the last, where validation has risen since the best and training fell on.
    pub fn overfits(&self) -> Option<(Validation, Validation)> {
        let (best, last) = (self.best()?, *self.all.last()?);
        let risen = last.value > best.value + OVERFITS * best.value.abs();
        (risen && last.loss < best.loss).then_some((best, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(figures: &[(f64, f64)]) -> Validations {
        let mut all = Validations::default();
        for (index, &(value, loss)) in figures.iter().enumerate() {
            all.step(loss - 1.0);
            all.step(loss + 1.0);
            all.add(10 * (index as u64 + 1), value);
        }
        all
    }

    #[test]
    fn the_best_is_the_first_of_the_least() {
        let all = of(&[(3.0, 3.0), (2.0, 2.0), (2.5, 1.0), (2.0, 1.0)]);
        assert_eq!((all.best().unwrap().step, all.improved(), all.without_improvement()), (20, false, 2));
        assert!(of(&[(3.0, 3.0), (-2.0, 2.0)]).improved());
        assert_eq!(Validations::default().best(), None);
    }

    #[test]
    fn two_figures_of_ten_times_the_first_in_a_row_have_diverged() {
        assert_eq!(of(&[(1.0, 0.0), (11.0, 0.0)]).diverged(), None);
        assert_eq!(of(&[(1.0, 0.0), (11.0, 0.0), (9.0, 0.0), (11.0, 0.0)]).diverged(), None);
        assert_eq!(of(&[(1.0, 0.0), (0.5, 0.0), (11.0, 0.0), (1e7, 0.0)]).diverged(), Some((1.0, 1e7)));
        assert_eq!(of(&[(-0.5, 0.0), (-4.0, 0.0), (-9.0, 0.0)]).diverged(), None);
        assert_eq!(of(&[(0.009, 0.0), (0.2, 0.0), (0.19, 0.0)]).diverged(), None);
        assert_eq!(of(&[(0.009, 0.0), (11.0, 0.0), (12.0, 0.0)]).diverged(), Some((0.009, 12.0)));
    }

    #[test]
    fn overfitting_is_a_rise_of_one_where_the_other_falls() {
        let found = of(&[(2.9, 2.9), (2.4, 2.3), (2.5, 1.8), (2.9, 1.3)]).overfits().unwrap();
        assert_eq!((found.0.step, found.1.step), (20, 40));
        assert_eq!(of(&[(2.9, 2.9), (2.4, 1.3), (2.9, 2.3)]).overfits(), None);
        assert_eq!(of(&[(2.9, 2.9), (2.4, 2.3), (2.41, 1.3)]).overfits(), None);
    }

    #[test]
    fn they_come_back_from_their_file() {
        let all = of(&[(0.1 + 0.2, 1.0 / 3.0), (1e-17, 2e300)]);
        let back: Validations = serde_json::from_slice(&all.to_bytes().unwrap()).unwrap();
        assert_eq!(back, all);
    }
}
