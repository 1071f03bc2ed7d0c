//! y = x·wᵀ + b for the few rows of a sampling step, whose time is that of reading w: so w may be kept in fewer bytes.
//! Shapes: x (R, I), w (O, I), b (O), y (R, O).
//!
//! Each output is summed in one order that depends on I alone, with products and sums rounded once together, whatever the
//! rows, the threads and the CPU: a sample does not depend on its batch. One row of x takes four rows of w at a time, as
//! fast as the memory gives them; of more rows, up to eight share one reading of w.

use super::lanes::{halve, vectorised};
use super::parallel::{by_columns, expect_lengths, rows_per_task};
use crate::kernels::Real;
use rayon::prelude::*;

/// Inputs that are multiplied at once: an AVX2 register of f32.
const LANES: usize = 8;

/// Bytes of w that are on their way from the memory while a core adds.
const AHEAD: usize = 1 << 14;

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

/// (O, ⌈I/LANES⌉), zero beyond I.
#[derive(Debug, Clone)]
enum Weights<E> {
    Full(Vec<[E; LANES]>),
    Half(Vec<[Half; LANES]>),
    Byte { values: Vec<[i8; LANES]>, scales: Vec<E> },
}

/// The upper half of an f32.
#[derive(Debug, Clone, Copy)]
struct Half(u16);

impl<E: Real> Packed<E> {
    /// Keeps w (O, I) and b (O).
    ///
    /// # Panics
    /// If `w` is not as long as `bias` times `inputs`.
    pub fn new(w: Vec<E>, bias: Vec<E>, inputs: usize, precision: Precision) -> Self {
        expect_lengths("Packed::new", &[("w", w.len(), inputs * bias.len())]);
        let rows = || w.chunks(inputs.max(1));
        let weights = match precision {
            Precision::F32 => Weights::Full(rows().flat_map(|row| blocks(row, |w| w)).collect()),
            Precision::Bf16 => {
                Weights::Half(rows().flat_map(|row| blocks(row, |w| Half::round(w.as_f64() as f32))).collect())
            }
            Precision::Int8 => {
                let scale = |row: &[E]| row.iter().fold(0.0, |top: f64, w| top.max(w.as_f64().abs())) / 127.0;
                let scales: Vec<f64> = rows().map(scale).collect();
                let round = |w: E, scale: f64| if scale == 0.0 { 0 } else { (w.as_f64() / scale).round() as i8 };
                let values = rows().zip(&scales).flat_map(|(row, &scale)| blocks(row, move |w| round(w, scale)));
                Weights::Byte { values: values.collect(), scales: scales.iter().map(|&scale| E::of(scale)).collect() }
            }
        };
        Packed { inputs, weights, bias }
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
        let rows = x.len() / self.inputs;
        expect_lengths("Packed::forward", &[("x", x.len(), rows * self.inputs)]);
        let mut y = vec![E::of(0.0); rows * self.outputs()];
        match &self.weights {
            Weights::Full(w) => self.product(x, w, None, &mut y),
            Weights::Half(w) => self.product(x, w, None, &mut y),
            Weights::Byte { values, scales } => self.product(x, values, Some(scales), &mut y),
        }
        y
    }

    fn product<S: Stored<E>>(&self, x: &[E], w: &[[S; LANES]], scales: Option<&[E]>, y: &mut [E]) {
        match x.len() / self.inputs {
            0 => {}
            1 => self.product_by::<S, 1, 4>(x, w, scales, y),
            _ => self.product_by::<S, 4, 2>(x, w, scales, y),
        }
    }

    /// R rows of x and W of w at a time.
    fn product_by<S: Stored<E>, const R: usize, const W: usize>(
        &self,
        x: &[E],
        w: &[[S; LANES]],
        scales: Option<&[E]>,
        y: &mut [E],
    ) {
        let (outputs, length) = (self.outputs(), self.inputs.div_ceil(LANES));
        let tiles = tiles::<E, R>(x, self.inputs);
        let block = rows_per_task(outputs, x.len());
        let tasks = by_columns(y, outputs, block).into_par_iter().zip_eq(w.par_chunks(block * length)).enumerate();
        tasks.for_each(|(task, (mut y, w))| {
            let first = task * block;
            let last = first + w.len() / length;
            let (bias, scales) = (&self.bias[first..last], scales.map(|scales| &scales[first..last]));
            vectorised!(|| {
                for (y, tiles) in y.chunks_mut(2 * R).zip(tiles.chunks(2 * length)) {
                    for (w, start) in w.chunks(W * length).zip((0..).step_by(W)) {
                        // A last group of fewer repeats its first row.
                        let mut rows = [w; W];
                        for (row, w) in rows.iter_mut().zip(w.chunks_exact(length)) {
                            *row = w;
                        }
                        for (y, x) in y.chunks_mut(R).zip(tiles.chunks_exact(length)) {
                            let sums = dots::<E, S, R, W>(x, rows);
                            for (y, sums) in y.iter_mut().zip(&sums) {
                                match y[start..].first_chunk_mut::<W>() {
                                    Some(y) => *y = *sums,
                                    None => y[start..].iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum),
                                }
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

/// A row in blocks, each value as `keep` makes it; zero at the end.
fn blocks<E: Real, S>(row: &[E], keep: impl Fn(E) -> S) -> impl Iterator<Item = [S; LANES]> {
    row.chunks(LANES).map(move |row| std::array::from_fn(|lane| keep(row.get(lane).copied().unwrap_or(E::of(0.0)))))
}

/// x (R, I) as the products read it: (⌈rows/R⌉, ⌈I/LANES⌉, R, LANES), zero beyond both.
fn tiles<E: Real, const R: usize>(x: &[E], inputs: usize) -> Vec<[[E; LANES]; R]> {
    let length = inputs.div_ceil(LANES);
    let mut tiles = vec![[[E::of(0.0); LANES]; R]; (x.len() / inputs).div_ceil(R) * length];
    for (x, tile) in x.chunks(R * inputs).zip(tiles.chunks_exact_mut(length)) {
        for (r, x) in x.chunks_exact(inputs).enumerate() {
            for (x, block) in x.chunks(LANES).zip(&mut *tile) {
                block[r][..x.len()].copy_from_slice(x);
            }
        }
    }
    tiles
}

/// Σ x·w of R rows of x and W of w.
#[inline(always)]
fn dots<E: Real, S: Stored<E>, const R: usize, const W: usize>(
    x: &[[[E; LANES]; R]],
    w: [&[[S; LANES]]; W],
) -> [[E; W]; R] {
    let mut sums = [[[E::of(0.0); LANES]; W]; R];
    let mut rows = w;
    for (row, w) in rows.iter_mut().zip(w) {
        *row = &w[..x.len()];
    }
    for (block, x) in x.iter().enumerate() {
        let mut wide = [[E::of(0.0); LANES]; W];
        for (wide, row) in wide.iter_mut().zip(&rows) {
            for (wide, &w) in wide.iter_mut().zip(&row[block]) {
                *wide = w.widen();
            }
            prefetch(&row[block]);
        }
        sums = plus_products(sums, x, &wide);
    }
    // In memory, once: otherwise the compiler splits the sums into the parts that `halve` adds, and the loop with them.
    let sums = std::hint::black_box(sums);
    let mut dots = [[E::of(0.0); W]; R];
    for r in 0..R {
        for o in 0..W {
            dots[r][o] = halve(sums[r][o], |a, b| a + b);
        }
    }
    dots
}

/// Asks for the weights that lie [`AHEAD`] of these. Left alone, a core waits for the memory between its sums: with eight rows
/// a step took the time of both, 9.1 ms instead of 6.0 for 120 MB of f32.
#[inline(always)]
fn prefetch<T>(weights: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let ahead = std::ptr::from_ref(weights).cast::<i8>().wrapping_add(AHEAD);
        // SAFETY: a prefetch reads nothing and never faults, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = weights;
}

/// sums + x·w
#[inline(always)]
fn plus_products<E: Real, const R: usize, const W: usize>(
    mut sums: [[[E; LANES]; W]; R],
    x: &[[E; LANES]; R],
    w: &[[E; LANES]; W],
) -> [[[E; LANES]; W]; R] {
    for (sums, x) in sums.iter_mut().zip(x) {
        for (sum, w) in sums.iter_mut().zip(w) {
            for ((sum, &x), &w) in sum.iter_mut().zip(x).zip(w) {
                *sum = x.mul_add(w, *sum);
            }
        }
    }
    sums
}

/// How a weight is kept.
trait Stored<E>: Copy + Send + Sync {
    /// As a number to calculate with; for whole numbers without their scale.
    fn widen(self) -> E;
}

impl<E: Real> Stored<E> for E {
    #[inline(always)]
    fn widen(self) -> E {
        self
    }
}

impl<E: Real> Stored<E> for Half {
    #[inline(always)]
    fn widen(self) -> E {
        E::of(f64::from(f32::from_bits(u32::from(self.0) << 16)))
    }
}

impl<E: Real> Stored<E> for i8 {
    #[inline(always)]
    fn widen(self) -> E {
        E::of(f64::from(self))
    }
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

    fn padded<S: Copy, const N: usize>(&self, w: &[[S; LANES]], bytes: impl Fn(S) -> [u8; N]) -> Vec<u8> {
        let row = (self.inputs * N).next_multiple_of(16);
        let mut padded = Vec::with_capacity(self.outputs() * row);
        for (output, w) in w.chunks(self.inputs.div_ceil(LANES).max(1)).enumerate() {
            padded.extend(w.as_flattened().iter().flat_map(|&w| bytes(w)));
            // In blocks of the host's it may end later or sooner; beyond the inputs there are zeros in either.
            padded.resize((output + 1) * row, 0);
        }
        padded
    }
}

impl Half {
    /// To nearest, ties to even; infinities and NaN stay what they are.
    fn round(x: f32) -> Half {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        Half(if x.is_finite() { rounded >> 16 } else { bits >> 16 | u32::from(x.is_nan()) } as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_same_on_any_threads, normals, weighted};
    use proptest::prelude::*;

    const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

    fn naive(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let inputs = w.len() / b.len();
        x.chunks(inputs).flat_map(|x| w.chunks(inputs).zip(b).map(|(w, b)| weighted(x, w) + b)).collect()
    }

    #[test]
    fn rows_for_other_memory_hold_the_weights_and_then_zeros() {
        for (inputs, precision) in [1, 4, 5, 8, 9, 16, 17, 33].into_iter().flat_map(|inputs| ALL.map(|p| (inputs, p))) {
            let w = normals::<f32>("w", 3 * inputs);
            let packed = Packed::new(w.clone(), vec![0.0; 3], inputs, precision);
            let (bytes, scales) = packed.rows();
            let each = [4, 2, 1][precision as usize];
            let row = (inputs * each).next_multiple_of(16);
            assert_eq!((bytes.len(), scales.map(<[f32]>::len)), (3 * row, (each == 1).then_some(3)));
            for (output, bytes) in bytes.chunks(row).enumerate() {
                let (kept, zeros) = bytes.split_at(inputs * each);
                assert!(zeros.iter().all(|&byte| byte == 0));
                for (input, kept) in kept.chunks(each).enumerate() {
                    let unit = (0..inputs).map(|i| f32::from(u8::from(i == input))).collect::<Vec<_>>();
                    let value = match *kept {
                        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                        [a, b] => f32::from_le_bytes([0, 0, a, b]),
                        _ => f32::from(kept[0] as i8) * scales.unwrap()[output],
                    };
                    assert_eq!(value, packed.forward(&unit)[output]);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Each rounding changes an output by no more than its bound: 2⁻⁸ of Σ|x·w|, or max|w|/254 of Σ|x|.
        #[test]
        fn outputs_equal_the_definition_up_to_the_rounding(rows in 1usize..10, inputs in 1usize..70, outputs in 1usize..40) {
            let (x, w) = (normals::<f64>("x", rows * inputs), normals::<f64>("w", outputs * inputs));
            let b = normals::<f64>("b", outputs);
            let exact = naive(&x, &w, &b);
            let forward = |precision| Packed::new(w.clone(), b.clone(), inputs, precision).forward(&x);
            assert_close(&forward(Precision::F32), &exact, 1e-13);
            let (half, byte) = (forward(Precision::Bf16), forward(Precision::Int8));
            for (i, exact) in exact.iter().enumerate() {
                let (x, w) = (&x[i / outputs * inputs..][..inputs], &w[i % outputs * inputs..][..inputs]);
                let magnitude: f64 = x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum();
                prop_assert!((half[i] - exact).abs() <= magnitude / 256.0 + 1e-12, "bf16: {} for {exact}", half[i]);
                let top = w.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
                let bound = top / 254.0 * x.iter().map(|x| x.abs()).sum::<f64>();
                prop_assert!((byte[i] - exact).abs() <= bound + 1e-12, "int8: {} for {exact}", byte[i]);
            }
        }
    }

    #[test]
    fn a_row_depends_on_neither_the_other_rows_nor_the_threads() {
        let (inputs, outputs) = (301, 67);
        let (x, w) = (normals::<f32>("x", 8 * inputs), normals::<f32>("w", outputs * inputs));
        for precision in ALL {
            let packed = Packed::new(w.clone(), normals("b", outputs), inputs, precision);
            assert_same_on_any_threads(|| packed.forward(&x));
            let all = packed.forward(&x);
            for rows in [1, 3, 4, 7] {
                assert!(packed.forward(&x[..rows * inputs]) == all[..rows * outputs], "{precision:?}: {rows} rows");
            }
        }
    }

    #[test]
    fn halves_are_rounded_to_nearest_and_even() {
        let widened = |x: f32| -> f64 { Half::round(x).widen() };
        for (x, expected) in
            [(1.0, 1.0), (1.0 + 1.0 / 256.0, 1.0), (1.0 + 3.0 / 256.0, 1.015625), (0.1, 205.0 / 2048.0)]
        {
            assert!(widened(x) == expected, "{x}: {}", widened(x));
        }
        assert!(widened(f32::NAN).is_nan() && widened(f32::NEG_INFINITY) == f64::NEG_INFINITY);
        assert!(widened(f32::from_bits(0x7f80_0001)).is_nan());
    }

    #[test]
    fn a_row_of_zeros_stays_one() {
        let packed = Packed::new(vec![0.0f32; 6], vec![1.0, 2.0], 3, Precision::Int8);
        assert_eq!(packed.forward(&[1.0, 2.0, 3.0]), [1.0, 2.0]);
    }
}
