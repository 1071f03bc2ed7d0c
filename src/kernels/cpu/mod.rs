//! The CPU's kernels, plain first: rayon over a static split of the rows, loops that the compiler vectorises.
//!
//! Slices are the contract: a kernel asserts that their lengths fit the sizes it was given, and panics with a sentence if
//! they do not. Values that are not finite pass through (NaN in, NaN out); nothing here looks for them.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod bf16;
pub mod conv;
pub mod cross_entropy;
pub(crate) mod embed;
pub mod group_norm;
pub mod gumbel;
pub mod laplace;
pub mod linear;
pub mod matmul;
pub(crate) mod muon;
pub mod norm;
pub mod packed;
pub(crate) mod pool;
pub mod softmax;
pub mod strided;

mod lanes;
mod parallel;
mod reduce;
pub(crate) mod sum;
#[cfg(test)]
mod testing;

use super::Real;

/// The index of the largest value, the first one on ties; 0 for an empty slice.
pub fn argmax<E: Real>(values: &[E]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Rows of zeros with a one at each row's largest value.
pub fn one_hot_rows<E: Real>(values: &[E], cols: usize) -> Vec<E> {
    let mut out = vec![E::zero(); values.len()];
    for (row, chunk) in values.chunks(cols).enumerate() {
        out[row * cols + argmax(chunk)] = E::one();
    }
    out
}
