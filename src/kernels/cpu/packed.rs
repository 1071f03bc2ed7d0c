//! y = x·wᵀ + b for the few rows of a sampling step, whose time is that of reading w: so w may be kept in fewer bytes.
//! Shapes: x (R, I), w (O, I), b (O), y (R, O).
//!
//! Each output is summed in one order that depends on I alone, with products and sums rounded once together, whatever the
//! rows, the threads and the CPU: a sample does not depend on its batch. One row of x takes four rows of w at a time, as
//! fast as the memory gives them; of more rows, up to eight share one reading of w.

mod dots;
mod stored;
#[cfg(test)]
mod tests;

use super::bf16::Bf16;
use super::lanes::{self, vectorised};
use super::parallel::{by_columns, expect_lengths, rows_per_task};
use crate::kernels::{Real, compiled};
use dots::{dots, tiles};
use rayon::prelude::*;
use stored::Stored;

/// Inputs that are multiplied at once: an AVX2 register of f32.
const LANES: usize = 8;

/// [`LANES`] weights of one row and the same of the next: two AVX2 registers of f32, one of AVX-512.
type Pair<S> = [S; 2 * LANES];

/// In how many bits the weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As trained.
    #[default]
    F32,
    /// The upper half of an f32, rounded to nearest: a relative error of at most 2⁻⁸ a weight.
    Bf16,
    /// Whole numbers up to ±127 times a scale for each output: an error of at most 1/254 of the output's largest weight.
    Int8,
}

/// The weights and biases of a linear map.
#[derive(Debug, Clone)]
pub struct Packed<E> {
    inputs: usize,
    weights: Weights<E>,
    bias: Vec<E>,
}

/// (⌈O/2⌉, ⌈I/LANES⌉), zero beyond O and I.
#[derive(Debug, Clone)]
enum Weights<E> {
    Full(Vec<Pair<E>>),
    Half(Vec<Pair<Bf16>>),
    Byte { values: Vec<Pair<i8>>, scales: Vec<E> },
}

compiled! {
    fn pack(w: Vec<E>, bias: Vec<E>, inputs: usize, precision: Precision) -> Packed<E> = pack_of;
    fn apply(packed: &Packed<E>, x: &[E]) -> Vec<E> = apply_of;
}

fn pack_of<E: Real>(w: Vec<E>, bias: Vec<E>, inputs: usize, precision: Precision) -> Packed<E> {
    expect_lengths("Packed::new", &[("w", w.len(), inputs * bias.len())]);
    let weights = match precision {
        Precision::F32 => Weights::Full(pairs(&w, inputs, |_, w| w)),
        Precision::Bf16 => Weights::Half(pairs(&w, inputs, |_, w| Bf16::round(w.as_f64() as f32))),
        Precision::Int8 => {
            let scale = |row: &[E]| row.iter().fold(0.0, |top: f64, w| top.max(w.as_f64().abs())) / 127.0;
            let scales: Vec<f64> = w.chunks(inputs.max(1)).map(scale).collect();
            let round =
                |row: usize, w: E| if scales[row] == 0.0 { 0 } else { (w.as_f64() / scales[row]).round() as i8 };
            Weights::Byte {
                values: pairs(&w, inputs, round),
                scales: scales.iter().map(|&scale| E::of(scale)).collect(),
            }
        }
    };
    Packed { inputs, weights, bias }
}

fn apply_of<E: Real>(packed: &Packed<E>, x: &[E]) -> Vec<E> {
    let rows = x.len() / packed.inputs;
    expect_lengths("Packed::forward", &[("x", x.len(), rows * packed.inputs)]);
    let mut y = vec![E::of(0.0); rows * packed.outputs()];
    match &packed.weights {
        Weights::Full(w) => packed.product(x, w, None, &mut y),
        Weights::Half(w) => packed.product(x, w, None, &mut y),
        Weights::Byte { values, scales } => packed.product(x, values, Some(scales), &mut y),
    }
    y
}

impl<E: Real> Packed<E> {
    /// Keeps w (O, I) and b (O).
    ///
    /// # Panics
    /// If `w` is not as long as `bias` times `inputs`.
    pub fn new(w: Vec<E>, bias: Vec<E>, inputs: usize, precision: Precision) -> Self {
        pack(w, bias, inputs, precision)
    }

    /// O.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// I.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// b (O).
    pub fn bias(&self) -> &[E] {
        &self.bias
    }

    /// In how many bits w is kept.
    pub fn precision(&self) -> Precision {
        match &self.weights {
            Weights::Full(_) => Precision::F32,
            Weights::Half(_) => Precision::Bf16,
            Weights::Byte { .. } => Precision::Int8,
        }
    }

    /// y = x·wᵀ + b.
    pub fn forward(&self, x: &[E]) -> Vec<E> {
        apply(self, x)
    }

    fn product<S: Stored<E>>(&self, x: &[E], w: &[Pair<S>], scales: Option<&[E]>, y: &mut [E]) {
        let wide = lanes::sixteen();
        match x.len() / self.inputs {
            0 => {}
            1 if wide => self.product_by::<S, 1, 2, 2, { 2 * LANES }>(x, w, scales, y),
            1 => self.product_by::<S, 1, 2, 4, LANES>(x, w, scales, y),
            _ if wide => self.product_by::<S, 4, 2, 2, { 2 * LANES }>(x, w, scales, y),
            _ => self.product_by::<S, 4, 1, 2, LANES>(x, w, scales, y),
        }
    }

    /// R rows of x and P pairs of rows of w at a time, in V registers of L values for each row of x.
    fn product_by<S: Stored<E>, const R: usize, const P: usize, const V: usize, const L: usize>(
        &self,
        x: &[E],
        w: &[Pair<S>],
        scales: Option<&[E]>,
        y: &mut [E],
    ) {
        let (outputs, length) = (self.outputs(), self.inputs.div_ceil(LANES));
        let tiles = tiles::<E, R>(x, self.inputs);
        let block = rows_per_task(outputs, x.len()).next_multiple_of(2);
        let tasks = by_columns(y, outputs, block).into_par_iter().zip_eq(w.par_chunks(block / 2 * length)).enumerate();
        tasks.for_each(|(task, (mut y, w))| {
            let first = task * block;
            let last = first + y[0].len();
            let (bias, scales) = (&self.bias[first..last], scales.map(|scales| &scales[first..last]));
            vectorised!(|| {
                for (y, tiles) in y.chunks_mut(2 * R).zip(tiles.chunks(2 * length)) {
                    for (w, start) in w.chunks(P * length).zip((0..).step_by(2 * P)) {
                        // A last group of fewer repeats its first pair.
                        let mut pairs = [w; P];
                        for (pair, w) in pairs.iter_mut().zip(w.chunks_exact(length)) {
                            *pair = w;
                        }
                        for (y, x) in y.chunks_mut(R).zip(tiles.chunks_exact(length)) {
                            let sums = dots::<E, S, R, P, V, L>(x, pairs);
                            for (y, sums) in y.iter_mut().zip(&sums) {
                                let (y, sums) = (&mut y[start..], sums.as_flattened());
                                let count = y.len().min(sums.len());
                                y[..count].copy_from_slice(&sums[..count]);
                            }
                        }
                    }
                }
                for y in &mut y {
                    if let Some(scales) = scales {
                        y.iter_mut().zip(scales).for_each(|(y, &scale)| *y *= scale);
                    }
                    y.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias);
                }
            });
        });
    }
}

/// The rows of w (O, I) side by side in pairs, each value as `keep` makes it of its row's number and itself.
fn pairs<E: Real, S: Copy + Default>(w: &[E], inputs: usize, keep: impl Fn(usize, E) -> S) -> Vec<Pair<S>> {
    let (inputs, length) = (inputs.max(1), inputs.div_ceil(LANES));
    let mut pairs = vec![[S::default(); 2 * LANES]; (w.len() / inputs).div_ceil(2) * length];
    for (o, row) in w.chunks(inputs).enumerate() {
        for (pair, row_block) in pairs[o / 2 * length..].iter_mut().zip(row.chunks(LANES)) {
            for (to, &w) in pair[o % 2 * LANES..].iter_mut().zip(row_block) {
                *to = keep(o, w);
            }
        }
    }
    pairs
}

impl Packed<f32> {
    /// Other memory than the host's gets these: the rows of w as they are kept, little-endian, each with zeros up to a multiple
    /// of 16 bytes; and the scale of each output where they are whole numbers.
    pub fn rows(&self) -> (Vec<u8>, Option<&[f32]>) {
        match &self.weights {
            Weights::Full(w) => (self.padded(w, |w| w.to_le_bytes()), None),
            Weights::Half(w) => (self.padded(w, |w| w.0.to_le_bytes()), None),
            Weights::Byte { values, scales } => (self.padded(values, |w| w.to_le_bytes()), Some(scales)),
        }
    }

    fn padded<S: Copy, const N: usize>(&self, w: &[Pair<S>], bytes: impl Fn(S) -> [u8; N]) -> Vec<u8> {
        let (row, length) = ((self.inputs * N).next_multiple_of(16), self.inputs.div_ceil(LANES));
        let mut padded = Vec::with_capacity(self.outputs() * row);
        for o in 0..self.outputs() {
            let blocks = w[o / 2 * length..][..length].iter().map(|pair| &pair[o % 2 * LANES..][..LANES]);
            padded.extend(blocks.flatten().flat_map(|&w| bytes(w)));
            // In blocks of the host's it may end later or sooner; beyond the inputs there are zeros in either.
            padded.resize((o + 1) * row, 0);
        }
        padded
    }
}
