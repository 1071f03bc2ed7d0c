//! MatmulPrecision with few rows, few_rows.cu, from weights in each precision.

use super::grids::Grid;
use super::harness::{Kernels, error, uniform};
use proptest::prelude::*;
use std::ptr::null;
use std::sync::LazyLock;

type FewRows =
    unsafe extern "C" fn(*const f32, *const u8, *const f32, *const f32, *const f32, *mut f32, u32, u32, u32, u32);

static KERNELS: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("few_rows"));
/// Each kernel, with how many weights it has in 16 bytes.
const ALL: [(&str, usize); 3] = [("few_rows_f32", 4), ("few_rows_bf16", 8), ("few_rows_int8", 16)];
/// none, relu, quick, tanh, erf, silu.
const KINDS: u32 = 6;

/// Memory that begins where 16 bytes do, as the driver's does.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Sixteen(#[allow(dead_code)] [u8; 16]);

struct Case {
    sizes: [usize; 3],
    kernel: (&'static str, usize),
    x: Vec<f32>,
    w: Vec<Sixteen>,
    /// What `w` and `scale` stand for.
    exact: Vec<f64>,
    scale: Option<Vec<f32>>,
    bias: Vec<f32>,
    add: Option<Vec<f32>>,
    kind: u32,
}

impl Case {
    fn new(sizes: [usize; 3], precision: usize, kind: u32, add: bool, seed: u64) -> Case {
        let ([rows, inputs, outputs], kernel) = (sizes, ALL[precision]);
        let w = uniform(outputs * inputs, seed + 1);
        let scale = (precision == 2).then(|| uniform(outputs, seed + 2).iter().map(|s| 0.02 + s / 100.0).collect());
        let kept = |w: f32| -> (Vec<u8>, f64) {
            match precision {
                0 => (w.to_le_bytes().to_vec(), w.into()),
                1 => {
                    let upper = w.to_bits() >> 16;
                    ((upper as u16).to_le_bytes().to_vec(), f32::from_bits(upper << 16).into())
                }
                _ => {
                    let whole = (w * 128.0).clamp(-127.0, 127.0) as i8;
                    (whole.to_le_bytes().to_vec(), whole.into())
                }
            }
        };
        let (mut bytes, mut exact) = (Vec::new(), Vec::new());
        for (o, row) in w.chunks(inputs).enumerate() {
            for &w in row {
                let (stored, value) = kept(w);
                bytes.extend(stored);
                exact.push(value * scale.as_ref().map_or(1.0, |scale: &Vec<f32>| f64::from(scale[o])));
            }
            bytes.resize(bytes.len().next_multiple_of(16), 0);
        }
        let w = bytes.chunks(16).map(|chunk| Sixteen(chunk.try_into().unwrap())).collect();
        let x = uniform(rows * inputs, seed + 3);
        let (bias, add) = (uniform(outputs, seed + 4), add.then(|| uniform(rows * outputs, seed + 5)));
        Case { sizes, kernel, x, w, exact, scale, bias, add, kind }
    }

    /// The rows from `first` on, `count` of them.
    fn run(&self, first: usize, count: usize) -> Vec<f32> {
        let [_, inputs, outputs] = self.sizes;
        let kernel: FewRows = KERNELS.function(self.kernel.0);
        let at = |x: &Option<Vec<f32>>, skip: usize| x.as_ref().map_or(null(), |x| x[skip..].as_ptr());
        let mut y = vec![f32::NAN; count * outputs];
        let (x, w, scale, bias) =
            (self.x[first * inputs..].as_ptr(), self.w.as_ptr().cast(), at(&self.scale, 0), self.bias.as_ptr());
        let (add, y_at) = (at(&self.add, first * outputs), y.as_mut_ptr());
        let grid = Grid::few_rows([count, inputs, outputs], self.kernel.1);
        KERNELS.launch(grid.blocks, grid.threads, || {
            // SAFETY: the slices have the lengths that the sizes say.
            unsafe {
                kernel(x, w, scale, bias, add, y_at, count as u32, inputs as u32, outputs as u32, self.kind);
            }
        });
        y
    }

    fn expected(&self) -> Vec<f64> {
        let [_, inputs, outputs] = self.sizes;
        let mut y = Vec::new();
        for x in self.x.chunks(inputs) {
            for (o, w) in self.exact.chunks(inputs).enumerate() {
                let sum: f64 = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * w).sum();
                let before = sum + f64::from(self.bias[o]);
                let add = self.add.as_ref().map_or(0.0, |add| f64::from(add[y.len()]));
                y.push(add + apply(self.kind, before));
            }
        }
        assert_eq!(y.len(), self.sizes[0] * outputs);
        y
    }

    fn same_alone(&self) -> bool {
        let [rows, _, outputs] = self.sizes;
        let together = self.run(0, rows);
        let alone = (0..rows).flat_map(|row| self.run(row, 1));
        alone.zip(&together).all(|(a, b)| a.to_bits() == b.to_bits()) && together.len() == rows * outputs
    }
}

fn apply(kind: u32, x: f64) -> f64 {
    let sigmoid = |u: f64| 1.0 / (1.0 + (-u).exp());
    match kind {
        0 => x,
        1 => x.max(0.0),
        2 => x * sigmoid(1.702 * x),
        3 => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        4 => x * normal_cdf(x),
        _ => x * sigmoid(x),
    }
}

/// By its series, where that is short.
fn normal_cdf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return f64::from(u8::from(x > 0.0));
    }
    let (mut term, mut sum) = (x, x);
    for k in 1..200 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn equals_the_definition_and_each_row_alone(
        rows in 1..20usize, inputs in 1..300usize, outputs in 1..11usize,
        precision in 0..3usize, kind in 0..KINDS, add: bool, seed in 0..1000u64,
    ) {
        let case = Case::new([rows, inputs, outputs], precision, kind, add, seed);
        let error = error(&case.run(0, rows), &case.expected());
        prop_assert!(error < 2e-5, "{error}");
        prop_assert!(case.same_alone());
    }
}

#[test]
fn inputs_of_more_than_a_block_at_once() {
    for precision in 0..3 {
        for (rows, inputs, outputs) in [(1, 2048, 9), (3, 4100, 4), (17, 8192, 5)] {
            let case = Case::new([rows, inputs, outputs], precision, 3, true, 7);
            let error = error(&case.run(0, rows), &case.expected());
            assert!(error < 1e-4, "{rows}×{inputs}×{outputs}: {error}");
            assert!(case.same_alone());
        }
    }
}

#[test]
fn every_whole_number_is_read_as_itself() {
    let mut case = Case::new([1, 256, 1], 2, 0, false, 0);
    let bytes: Vec<u8> = (0..=255).collect();
    case.w = bytes.chunks(16).map(|chunk| Sixteen(chunk.try_into().unwrap())).collect();
    (case.scale, case.bias) = (Some(vec![1.0]), vec![0.0]);
    for byte in 0..=255u8 {
        case.x = (0..256).map(|i| f32::from(u8::from(i == usize::from(byte)))).collect();
        assert_eq!(case.run(0, 1), [f32::from(byte as i8)]);
    }
}
