//! Operations on rows: linear maps, layer norms, activations, sums, tables.

use super::case::{Case, Outcome, Path, away_from, check, normals, tensor};
use dalle::kernels::Real;
use dalle::ops::*;
use dalle::random::Rng;
use dalle::shape::Rows;
use dfdx::prelude::*;
use proptest::prelude::*;

/// One to three axes before the last.
fn axes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..=4usize, 1..=3)
}

/// `$f` with a shape of the run-time axes `$axes` and the last axis `$last`.
macro_rules! with_last {
    ($axes:expr, $last:expr, |$shape:ident| $run:expr) => {
        match $axes[..] {
            [a] => {
                let $shape = (a, $last);
                $run
            }
            [a, b] => {
                let $shape = (a, b, $last);
                $run
            }
            [a, b, c] => {
                let $shape = (a, b, c, $last);
                $run
            }
            _ => unreachable!("one to three axes"),
        }
    };
}

const INPUTS: usize = 7;
const OUTPUTS: usize = 5;

#[derive(Debug)]
struct LinearCase {
    axes: Vec<usize>,
    bias: bool,
    f: Option<Activation>,
}

impl Case for LinearCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        let rows: usize = self.axes.iter().product();
        [rows * INPUTS, OUTPUTS * INPUTS, OUTPUTS].map(|n| normals(rng, n)).to_vec()
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        with_last!(self.axes, Const::<INPUTS>, |shape| {
            let x = tensor(&leaves[0], shape);
            let w = tensor(&leaves[1], (Const::<OUTPUTS>, Const::<INPUTS>));
            let b = tensor(&leaves[2], (Const::<OUTPUTS>,));
            let bias = self.bias.then_some(&b);
            let y = match path {
                Path::Kernel => Cpu::linear(x.leaky_trace(), &w, bias, self.f),
                Path::Composed => linear::composed(x.leaky_trace(), &w, bias, self.f),
            };
            let y = y.expect("the CPU");
            if self.bias { Outcome::of(y, &[&x, &w, &b]) } else { Outcome::of(y, &[&x, &w]) }
        })
    }
}

#[derive(Debug)]
struct NormCase {
    axes: Vec<usize>,
    epsilon: f64,
}

impl Case for NormCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        let rows: usize = self.axes.iter().product();
        [rows * INPUTS, INPUTS, INPUTS].map(|n| normals(rng, n)).to_vec()
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        with_last!(self.axes, Const::<INPUTS>, |shape| {
            let x = tensor(&leaves[0], shape);
            let gain = tensor(&leaves[1], (Const::<INPUTS>,));
            let bias = tensor(&leaves[2], (Const::<INPUTS>,));
            let y = match path {
                Path::Kernel => Cpu::layer_norm(x.leaky_trace(), &gain, &bias, self.epsilon),
                Path::Composed => norm::composed(x.leaky_trace(), &gain, &bias, self.epsilon),
            };
            Outcome::of(y.expect("the CPU"), &[&x, &gain, &bias])
        })
    }
}

#[derive(Debug)]
struct ActivationCase {
    kind: Activation,
    shape: (usize, usize),
}

impl Case for ActivationCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        let x = normals(rng, self.shape.num_elements());
        vec![x.into_iter().map(|x| away_from(0.0, 2.0 * x)).collect()]
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let x = tensor(&leaves[0], self.shape);
        let y = match path {
            Path::Kernel => Cpu::activation(x.leaky_trace(), self.kind),
            Path::Composed => activation::composed(x.leaky_trace(), self.kind),
        };
        Outcome::of(y.expect("the CPU"), &[&x])
    }
}

#[derive(Debug)]
struct SumCase {
    shape: (usize, usize),
    gain: f64,
    /// x + gain·x, both the same tensor, as a residual connection around nothing.
    same: bool,
}

impl Case for SumCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        (0..2).map(|_| normals(rng, self.shape.num_elements())).collect()
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let (x, y) = (tensor(&leaves[0], self.shape), tensor(&leaves[1], self.shape));
        let second = if self.same { &x } else { &y }.retaped::<OwnedTape<E, Cpu>>();
        let z = match path {
            Path::Kernel => Cpu::add_scaled(x.leaky_trace(), second, self.gain),
            Path::Composed => sum::composed(x.leaky_trace(), second, self.gain),
        };
        let z = z.expect("the CPU");
        if self.same { Outcome::of(z, &[&x]) } else { Outcome::of(z, &[&x, &y]) }
    }
}

#[derive(Debug)]
struct GatherCase {
    rows: (usize, usize),
    cols: usize,
    /// Below the number of rows, or [`ABSENT`].
    ids: Vec<u32>,
}

impl GatherCase {
    fn on<S: Rows<usize>, O: Rows<usize>, E: Real>(&self, shape: S, out: O, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let x = tensor(&leaves[0], shape);
        let y = match path {
            Path::Kernel => Cpu::gather_rows(x.leaky_trace(), &self.ids, out),
            Path::Composed => gather::composed(x.leaky_trace(), &self.ids, out),
        };
        Outcome::of(y.expect("the CPU"), &[&x])
    }
}

impl Case for GatherCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        vec![normals(rng, self.rows.0 * self.rows.1 * self.cols)]
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let (a, b) = self.rows;
        let (count, cols) = (self.ids.len(), self.cols);
        if count % 2 == 0 {
            self.on((a * b, cols), (2usize, count / 2, cols), leaves, path) // a table, to a sequence
        } else {
            self.on((a, b, cols), (count, cols), leaves, path) // positions of sequences
        }
    }
}

fn gathers() -> impl Strategy<Value = GatherCase> {
    let rows = (1..=4usize, 1..=3usize);
    rows.prop_flat_map(|rows| {
        let id = prop_oneof![4 => 0..(rows.0 * rows.1) as u32, 1 => Just(ABSENT)];
        (1..=5usize, prop::collection::vec(id, 1..=16)).prop_map(move |(cols, ids)| GatherCase { rows, cols, ids })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn linear_maps(axes in axes(), bias: bool, seed: u64) {
        use Activation::*;
        for f in [None, Some(QuickGelu), Some(TanhGelu), Some(ErfGelu), Some(Silu)] {
            check(LinearCase { axes: axes.clone(), bias, f }, seed);
        }
    }

    #[test]
    fn layer_norms(axes in axes(), epsilon in prop_oneof![Just(1e-5), Just(0.1)], seed: u64) {
        check(NormCase { axes, epsilon }, seed);
    }

    #[test]
    fn activations(shape in (1..=5usize, 1..=9usize), seed: u64) {
        use Activation::*;
        for kind in [Relu, QuickGelu, TanhGelu, ErfGelu, Silu] {
            check(ActivationCase { kind, shape }, seed);
        }
    }

    #[test]
    fn scaled_sums(shape in (1..=5usize, 1..=9usize), gain in -2.0..2.0, same: bool, seed: u64) {
        check(SumCase { shape, gain, same }, seed);
    }

    #[test]
    fn gathered_rows(case in gathers(), seed: u64) {
        check(case, seed);
    }
}

#[test]
fn a_tensor_that_is_not_contiguous_is_read_in_its_own_order() {
    // The kernels read the physical buffer; a permuted view must be copied first, and its gradient must find its way back.
    let transposed = |path: Path| {
        let x = tensor(&(0..INPUTS * 3).map(|i| (i as f64).sin()).collect::<Vec<_>>(), (Const::<INPUTS>, 3usize));
        let w = tensor(&vec![0.5; INPUTS * OUTPUTS], (Const::<OUTPUTS>, Const::<INPUTS>));
        let rows = x.leaky_trace().permute::<(usize, Const<INPUTS>), _>();
        let y = match path {
            Path::Kernel => Cpu::activation(Cpu::linear(rows, &w, None, None).unwrap(), Activation::Silu),
            Path::Composed => activation::composed(linear::composed(rows, &w, None, None).unwrap(), Activation::Silu),
        };
        Outcome::of(y.unwrap(), &[&x, &w])
    };
    let (got, expected) = (transposed(Path::Kernel), transposed(Path::Composed));
    let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close(&got.values, &expected.values));
    assert!(got.gradients.iter().zip(&expected.gradients).all(|(a, b)| close(a, b)));
}
