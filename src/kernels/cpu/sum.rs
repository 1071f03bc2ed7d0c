//! x += gain·y.

use crate::kernels::{Real, compiled};
use rayon::prelude::*;

/// Elements that one task adds: enough to be worth a task, little enough to share.
const CHUNK: usize = 1 << 16;

compiled! {
    /// x += gain·y, elementwise.
    pub fn add_scaled(x: &mut [E], y: &[E], gain: f64) = add_scaled_of;
}

fn add_scaled_of<E: Real>(x: &mut [E], y: &[E], gain: f64) {
    assert_eq!(x.len(), y.len(), "add_scaled: both sides must have one size");
    let gain = E::of(gain);
    x.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(x, y)| {
        x.iter_mut().zip(y).for_each(|(x, &y)| *x += gain * y);
    });
}
