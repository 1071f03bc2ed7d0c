//! The moving average of the weights (paper A.2, B.2), which measures and samples.
//!
//! A plain average of decay d begins with the random weights and still holds dⁿ of them after n updates: 0.37 after a thousand at
//! 0.999. Here the first update takes the weights as they are, and early ones decay faster, so that the average after n updates
//! spans about a tenth of them until d allows no more.

use crate::spec::Ema;

impl Ema {
    /// Whether weights are averaged at all.
    pub fn is_on(&self) -> bool {
        self.decay > 0.0
    }

    /// Whether the average takes the weights in after `step` (counted from 0).
    pub fn is_due(&self, step: u64) -> bool {
        self.is_on() && (step + 1).is_multiple_of(self.every.max(1))
    }

    /// The decay of the update after `count` earlier ones: 0 for the first, then min(d, (1 + n)/(10 + n)).
    pub fn decay_at(&self, count: u64) -> f64 {
        match count {
            0 => 0.0,
            n => self.decay.min((1.0 + n as f64) / (10.0 + n as f64)),
        }
    }

    /// How much of the average after `count` updates is still the weights that the first one took in.
    pub fn share_of_start(&self, count: u64) -> f64 {
        // Past a thousand factors it is 0 in all but name, and a stage of millions of updates should not be walked through.
        (1..count.min(100_000)).map(|n| self.decay_at(n)).product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::adamw::average;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the average held before, after n updates of constant weights it is those weights, for every n.
        #[test]
        fn of_constant_weights_it_is_the_weights(decay in 0.0001..0.99999f64, count in 1u64..200, weight in -2.0..2.0f64) {
            let ema = Ema { decay, every: 1 };
            let mut held = [1e6];
            for n in 0..count {
                average(ema.decay_at(n), &mut held, &[weight]);
            }
            prop_assert!((held[0] - weight).abs() < 1e-9, "{held:?} of {weight}");
        }

        #[test]
        fn the_decay_rises_to_its_limit(decay in 0.0001..0.99999f64, n in 0u64..100_000) {
            let ema = Ema { decay, every: 1 };
            prop_assert!(ema.decay_at(n) <= ema.decay_at(n + 1) && ema.decay_at(n + 1) <= decay);
        }
    }

    #[test]
    fn little_is_left_of_the_start_where_there_were_updates_enough() {
        let ema = Ema { decay: 0.999, every: 25 };
        assert_eq!(ema.share_of_start(1), 1.0);
        assert!(ema.share_of_start(2) > 0.1 && ema.share_of_start(60) < 1e-6);
        assert_eq!([23, 24, 49].map(|step| ema.is_due(step)), [false, true, true]);
        assert!(!Ema { decay: 0.0, every: 1 }.is_due(0));
    }

    #[test]
    fn a_long_average_reaches_the_papers_decay() {
        assert_eq!(Ema { decay: 0.999, every: 1 }.decay_at(10_000), 0.999);
    }
}
