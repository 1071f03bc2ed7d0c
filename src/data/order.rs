//! The order in which samples are seen: each epoch a fresh permutation, in closed form, so that any position can be asked
//! for and a resumed run goes on where it stopped.

use crate::random::Rng;
use std::sync::{Arc, Mutex, PoisonError};

/// A seeded order of `0..len`, repeated for ever with a new permutation each time.
#[derive(Debug)]
pub struct Order {
    seed: u64,
    stream: String,
    len: usize,
    /// The permutation last asked for and its epoch: positions come mostly in sequence.
    current: Mutex<Option<(u64, Arc<[usize]>)>>,
}

impl Order {
    /// An order of `len` samples; `stream` tells apart the orders of one seed.
    ///
    /// # Panics
    /// If `len` is 0: there is no order of nothing.
    pub fn new(seed: u64, stream: &str, len: usize) -> Self {
        assert!(len > 0, "an order needs at least one sample");
        Order { seed, stream: stream.to_owned(), len, current: Mutex::new(None) }
    }

    /// The sample at `position`, which counts on through the epochs.
    pub fn at(&self, position: u64) -> usize {
        let (epoch, within) = (position / self.len as u64, position % self.len as u64);
        self.epoch(epoch)[within as usize]
    }

    fn epoch(&self, epoch: u64) -> Arc<[usize]> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((cached, permutation)) if *cached == epoch => permutation.clone(),
            _ => {
                let permutation: Arc<[usize]> =
                    Rng::new(self.seed, &self.stream, epoch, 0).permutation(self.len).into();
                *current = Some((epoch, permutation.clone()));
                permutation
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn epochs_and_streams_and_seeds_differ() {
        let epoch = |seed, stream, epoch: u64| {
            let order = Order::new(seed, stream, 20);
            (epoch * 20..(epoch + 1) * 20).map(|p| order.at(p)).collect::<Vec<_>>()
        };
        for other in [epoch(1, "a", 1), epoch(2, "a", 0), epoch(1, "b", 0)] {
            assert_ne!(epoch(1, "a", 0), other);
        }
    }

    proptest! {
        #[test]
        fn every_epoch_is_a_permutation_and_any_position_can_be_asked_for(seed: u64, len in 1usize..40, at in 0u64..9) {
            let order = Order::new(seed, "order", len);
            let start = at * len as u64;
            let mut seen: Vec<usize> = (start..start + len as u64).map(|p| order.at(p)).collect();
            let backwards: Vec<usize> =
                (0..start + len as u64).rev().map(|p| Order::new(seed, "order", len).at(p)).take(len).collect();
            prop_assert!(seen.iter().rev().eq(&backwards));
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }
    }
}
