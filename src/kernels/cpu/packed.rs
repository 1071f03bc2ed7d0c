//! y = x·wᵀ + b for the few rows of a sampling step, whose time is that of reading w: so w may be kept in fewer bytes.
//! Shapes: x (R, I), w (O, I), b (O), y (R, O).
//!
//! Each output is summed in one order that depends on I alone, whatever the rows, the threads and the CPU: a sample does not
//! depend on its batch. One core reads 16 bytes of w a cycle at best, about what its share of the memory gives.

use super::lanes::{LANES, halve, vectorised};
use super::parallel::{by_columns, expect_lengths, rows_per_task};
use crate::kernels::Real;
use rayon::prelude::*;

/// In how many bits the weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
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

#[derive(Debug, Clone)]
enum Weights<E> {
    Full(Vec<E>),
    Half(Vec<Half>),
    Byte { values: Vec<i8>, scales: Vec<E> },
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
        let weights = match precision {
            Precision::F32 => Weights::Full(w),
            Precision::Bf16 => Weights::Half(w.into_iter().map(|w| Half::round(w.as_f64() as f32)).collect()),
            Precision::Int8 => {
                let rows = || w.chunks(inputs.max(1));
                let scale = |row: &[E]| row.iter().fold(0.0, |top: f64, w| top.max(w.as_f64().abs())) / 127.0;
                let scales: Vec<f64> = rows().map(scale).collect();
                let round = |w: f64, scale: f64| if scale == 0.0 { 0 } else { (w / scale).round() as i8 };
                let values = rows().zip(&scales).flat_map(|(row, &s)| row.iter().map(move |w| round(w.as_f64(), s)));
                Weights::Byte { values: values.collect(), scales: scales.iter().map(|&scale| E::of(scale)).collect() }
            }
        };
        Packed { inputs, weights, bias }
    }

    /// O.
    pub fn outputs(&self) -> usize {
        self.bias.len()
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

    fn product<W: Stored<E>>(&self, x: &[E], w: &[W], scales: Option<&[E]>, y: &mut [E]) {
        let (inputs, outputs) = (self.inputs, self.outputs());
        let block = rows_per_task(outputs, x.len());
        let tasks = by_columns(y, outputs, block).into_par_iter().zip_eq(w.par_chunks(block * inputs)).enumerate();
        tasks.for_each(|(task, (mut y, w))| {
            let first = task * block;
            let finish = |o: usize, sum: E| sum * scales.map_or(E::of(1.0), |s| s[first + o]) + self.bias[first + o];
            vectorised!(|| {
                // Four rows of x to a row of w, which is loaded once for them; what is left of x takes four rows of w at once.
                let rows = y.len();
                let (fours, rest) = y.split_at_mut(rows / 4 * 4);
                let (x_fours, x_rest) = x.split_at(fours.len() * inputs);
                for (o, w) in w.chunks_exact(inputs).enumerate() {
                    for (y, x) in fours.chunks_exact_mut(4).zip(x_fours.chunks_exact(4 * inputs)) {
                        let sums = four_rows(std::array::from_fn(|r| &x[r * inputs..][..inputs]), w);
                        y.iter_mut().zip(sums).for_each(|(y, sum)| y[o] = finish(o, sum));
                    }
                }
                for (y, x) in rest.iter_mut().zip(x_rest.chunks_exact(inputs)) {
                    for (y, (w, o)) in y.chunks_mut(4).zip(w.chunks(4 * inputs).zip((0..).step_by(4))) {
                        // A last group of fewer repeats its first row.
                        let row = |r: usize| if r < y.len() { r * inputs } else { 0 };
                        let sums = four_weights(x, std::array::from_fn(|r| &w[row(r)..][..inputs]));
                        y.iter_mut().zip(sums).enumerate().for_each(|(r, (y, sum))| *y = finish(o + r, sum));
                    }
                }
            });
        });
    }
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

impl Half {
    /// To nearest, ties to even; infinities and NaN stay what they are.
    fn round(x: f32) -> Half {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        Half(if x.is_finite() { rounded >> 16 } else { bits >> 16 | u32::from(x.is_nan()) } as u16)
    }
}

/// Σ x·w for four rows of x.
#[inline(always)]
fn four_rows<E: Real, W: Stored<E>>(x: [&[E]; 4], w: &[W]) -> [E; 4] {
    let (blocks, tail) = w.as_chunks::<LANES>();
    let [(x0, t0), (x1, t1), (x2, t2), (x3, t3)] = x.map(|x| x.as_chunks::<LANES>());
    // Four names, not an array of arrays: the compiler then keeps the sums in registers.
    let zeros = [E::of(0.0); LANES];
    let (mut s0, mut s1, mut s2, mut s3) = (zeros, zeros, zeros, zeros);
    for ((((w, x0), x1), x2), x3) in blocks.iter().zip(x0).zip(x1).zip(x2).zip(x3) {
        for lane in 0..LANES {
            let w = w[lane].widen();
            s0[lane] += x0[lane] * w;
            s1[lane] += x1[lane] * w;
            s2[lane] += x2[lane] * w;
            s3[lane] += x3[lane] * w;
        }
    }
    for (lane, w) in tail.iter().enumerate() {
        let w = w.widen();
        s0[lane] += t0[lane] * w;
        s1[lane] += t1[lane] * w;
        s2[lane] += t2[lane] * w;
        s3[lane] += t3[lane] * w;
    }
    [s0, s1, s2, s3].map(|lanes| halve(lanes, |a, b| a + b))
}

/// Σ x·w for four rows of w, each with the bits of [`four_rows`].
#[inline(always)]
fn four_weights<E: Real, W: Stored<E>>(x: &[E], w: [&[W]; 4]) -> [E; 4] {
    let (blocks, tail) = x.as_chunks::<LANES>();
    let [(w0, t0), (w1, t1), (w2, t2), (w3, t3)] = w.map(|w| w.as_chunks::<LANES>());
    let zeros = [E::of(0.0); LANES];
    let (mut s0, mut s1, mut s2, mut s3) = (zeros, zeros, zeros, zeros);
    for ((((x, w0), w1), w2), w3) in blocks.iter().zip(w0).zip(w1).zip(w2).zip(w3) {
        for lane in 0..LANES {
            s0[lane] += x[lane] * w0[lane].widen();
            s1[lane] += x[lane] * w1[lane].widen();
            s2[lane] += x[lane] * w2[lane].widen();
            s3[lane] += x[lane] * w3[lane].widen();
        }
    }
    for (lane, &x) in tail.iter().enumerate() {
        s0[lane] += x * t0[lane].widen();
        s1[lane] += x * t1[lane].widen();
        s2[lane] += x * t2[lane].widen();
        s3[lane] += x * t3[lane].widen();
    }
    [s0, s1, s2, s3].map(|lanes| halve(lanes, |a, b| a + b))
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
