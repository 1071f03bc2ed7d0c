//! Schedules as pure functions of the step (paper A.2, B.2).

use super::optimizer::{Curve, Schedule};

impl Schedule {
    /// The value at `step` (counted from 0) of a stage of `total` steps. A `steps` of 0 means the whole stage.
    pub fn at(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup {
            return self.from * (step + 1) as f64 / self.warmup as f64;
        }
        let length = if self.steps == 0 { total } else { self.steps };
        let length = length.saturating_sub(self.warmup).max(1);
        let t = ((step - self.warmup) as f64 / length as f64).min(1.0);
        match self.curve {
            Curve::Cosine => self.to + (self.from - self.to) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos()),
            Curve::Linear => self.from + (self.to - self.from) * t,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_temperature_is_a_cosine_from_1_to_a_sixteenth() {
        let tau = Schedule::cosine(1.0, 1.0 / 16.0, 150_000);
        assert_eq!(tau.at(0, 0), 1.0);
        assert!((tau.at(75_000, 0) - (1.0 + 1.0 / 16.0) / 2.0).abs() < 1e-12);
        assert_eq!(tau.at(150_000, 0), 1.0 / 16.0);
        assert_eq!(tau.at(3_000_000, 0), 1.0 / 16.0);
    }

    #[test]
    fn a_warmup_rises_linearly_and_then_the_curve_begins() {
        let lr = Schedule { from: 4.5e-4, to: 0.0, steps: 0, curve: Curve::Linear, warmup: 10 };
        assert!((lr.at(0, 110) - 4.5e-5).abs() < 1e-18);
        assert_eq!(lr.at(9, 110), 4.5e-4);
        assert_eq!(lr.at(10, 110), 4.5e-4);
        assert!((lr.at(60, 110) - 2.25e-4).abs() < 1e-15);
        assert_eq!(lr.at(110, 110), 0.0);
    }
}
