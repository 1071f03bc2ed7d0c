//! Every operation, forward and gradient, in f32 on a device against the kernels in f64 on the CPU.

use super::Row;
use crate::error::Error;
use crate::kernels::Real;
use crate::mask::{Edge, Layout, Pattern};
use crate::models::presets::tiny::Block;
use crate::ops::{
    ABSENT, Activation, Backend, Input, Mask, activation, attention, conv, cross_entropy, gather, gumbel, laplace,
    linear, norm, pool, sum, to_vec,
};
use crate::random::Rng;
use crate::shape::{BlockShape, Ranked};
use dfdx::prelude::*;

/// Which implementation of an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// What models call.
    Operation,
    /// The composition of dfdx operations, which is what a device without a kernel runs.
    Composition,
}

/// The largest relative error of a result or a gradient in f32, as the largest difference over the largest value.
pub const LIMIT: f64 = 1e-4;

/// A result, and the gradient of a weighted sum of it for each leaf.
type Outcome = Vec<Vec<f64>>;
type Traced<S, E, D> = Tensor<S, E, D, OwnedTape<E, D>>;

/// A device with the stream that its inputs are drawn from: the same values on every device, in either precision.
struct Inputs<D> {
    device: D,
    rng: Rng,
}

impl<D> Inputs<D> {
    fn values<E: Real>(&mut self, count: usize) -> Vec<E> {
        (0..count).map(|_| E::of(f64::from(self.rng.normal() as f32))).collect()
    }

    fn leaf<S: Shape, E: Real>(&mut self, shape: S) -> Result<Tensor<S, E, D>, D::Err>
    where
        D: Device<E>,
    {
        let values = self.values(shape.num_elements());
        self.device.try_tensor_from_vec(values, shape)
    }

    /// Runs the tape of `y` backwards.
    fn outcome<S: Ranked, E: Real>(&mut self, y: Traced<S, E, D>, leaves: &[&dyn Leaf<E, D>]) -> Result<Outcome, D::Err>
    where
        D: Device<E>,
    {
        let mut outcome = vec![widened(to_vec(y.with_empty_tape().split_tape().0)?)];
        let weights = self.leaf(*y.shape())?;
        let gradients = y.try_mul(weights)?.try_sum::<(), _>()?.try_backward()?;
        for leaf in leaves {
            outcome.push(leaf.gradient(&gradients)?);
        }
        Ok(outcome)
    }
}

fn widened<E: Real>(values: Vec<E>) -> Vec<f64> {
    values.into_iter().map(E::as_f64).collect()
}

/// A tensor whose gradient is looked at.
trait Leaf<E: Real, D: Device<E>> {
    fn gradient(&self, gradients: &Gradients<E, D>) -> Result<Vec<f64>, D::Err>;
}

impl<S: Ranked, E: Real, D: Device<E>> Leaf<E, D> for Tensor<S, E, D> {
    fn gradient(&self, gradients: &Gradients<E, D>) -> Result<Vec<f64>, D::Err> {
        Ok(widened(to_vec(gradients.get(self))?))
    }
}

/// One row of the table.
enum Case {
    Linear(Option<Activation>),
    LayerNorm,
    Activation(Activation),
    Attention(Option<Pattern>),
    Conv(Input, usize),
    MaxPool,
    Upsample,
    GatherRows,
    CrossEntropy,
    Relax { hard: bool },
    KlUniform,
    LogitLaplace(Option<f64>),
    AddScaled,
}

const ACTIVATIONS: [Activation; 5] =
    [Activation::Relu, Activation::QuickGelu, Activation::TanhGelu, Activation::ErfGelu, Activation::Silu];
const PATTERNS: [Pattern; 10] = [
    Pattern::Full,
    Pattern::Row,
    Pattern::Column,
    Pattern::Conv { kernel: 3 },
    Pattern::Window { kernel: 3, edge: Edge::Clip },
    Pattern::Window { kernel: 3, edge: Edge::Cylinder },
    Pattern::Window { kernel: 3, edge: Edge::Torus },
    Pattern::AxialRow,
    Pattern::AxialColumn,
    Pattern::ConvLike { kernel: 3 },
];

fn cases() -> Vec<(String, Case)> {
    let mut cases = vec![("linear".to_owned(), Case::Linear(None)), ("layer norm".to_owned(), Case::LayerNorm)];
    cases.push(("linear + gelu".to_owned(), Case::Linear(Some(Activation::QuickGelu))));
    cases.extend(ACTIVATIONS.map(|f| (format!("activation {f:?}"), Case::Activation(f))));
    cases.push(("attention, all".to_owned(), Case::Attention(None)));
    cases.extend(PATTERNS.map(|pattern| (format!("attention, {pattern}"), Case::Attention(Some(pattern)))));
    for kernel in [3, 1] {
        let inputs = [Input::Picture, Input::Linear, Input::Relu];
        cases.extend(inputs.map(|x| (format!("convolution {kernel}×{kernel} {x:?}"), Case::Conv(x, kernel))));
    }
    let rest = [
        ("max pool", Case::MaxPool),
        ("upsample", Case::Upsample),
        ("gather rows", Case::GatherRows),
        ("cross entropy", Case::CrossEntropy),
        ("gumbel softmax + kl", Case::Relax { hard: false }),
        ("gumbel, straight through", Case::Relax { hard: true }),
        ("kl to uniform", Case::KlUniform),
        ("logit-laplace", Case::LogitLaplace(None)),
        ("logit-laplace, clamped", Case::LogitLaplace(Some(7.0))),
        ("residual sum", Case::AddScaled),
    ];
    cases.extend(rest.map(|(name, case)| (name.to_owned(), case)));
    cases
}

impl Case {
    fn run<E: Real, D: Backend<E>>(&self, device: &D, path: Path) -> Result<Outcome, D::Err> {
        let mut inputs = Inputs { device: device.clone(), rng: Rng::new(0, "selftest", 0, 0) };
        let i = &mut inputs;
        let operation = path == Path::Operation;
        match *self {
            Case::Linear(f) => {
                let x = i.leaf((3usize, 5usize, Const::<24>))?;
                let (w, b) = (i.leaf((Const::<40>, Const::<24>))?, i.leaf((Const::<40>,))?);
                let traced = x.leaky_trace();
                let y = if operation {
                    D::linear(traced, &w, Some(&b), f)
                } else {
                    linear::composed(traced, &w, Some(&b), f)
                };
                i.outcome(y?, &[&x, &w, &b])
            }
            Case::LayerNorm => {
                let x = i.leaf((3usize, 5usize, Const::<24>))?;
                let (gain, bias) = (i.leaf((Const::<24>,))?, i.leaf((Const::<24>,))?);
                let traced = x.leaky_trace();
                let y = if operation {
                    D::layer_norm(traced, &gain, &bias, 1e-5)
                } else {
                    norm::composed(traced, &gain, &bias, 1e-5)
                };
                i.outcome(y?, &[&x, &gain, &bias])
            }
            Case::Activation(f) => {
                let x = i.leaf((7usize, Const::<33>))?;
                let y = if operation {
                    D::activation(x.leaky_trace(), f)
                } else {
                    activation::composed(x.leaky_trace(), f)
                };
                i.outcome(y?, &[&x])
            }
            Case::Attention(pattern) => {
                let layout = Layout { text: 5, grid: 4 };
                let mask = pattern.map_or_else(|| Mask::Full, |pattern| Mask::new(pattern, layout));
                let qkv = i.leaf((2usize, layout.sequence(), <Block as BlockShape>::Qkv::default()))?;
                let traced = qkv.leaky_trace();
                let y = if operation {
                    D::attention::<Block, _, _, _>(traced, &mask)
                } else {
                    attention::composed::<Block, _, _, _, _, _>(traced, &mask)
                };
                i.outcome(y?, &[&qkv])
            }
            Case::Conv(input, kernel) => {
                let x = i.leaf((2usize, 6usize, 5usize, Const::<3>))?;
                let (w, b) = (i.leaf((Const::<10>, Const::<3>, kernel, kernel))?, i.leaf((Const::<10>,))?);
                let traced = x.leaky_trace();
                let y =
                    if operation { D::conv2d(traced, &w, &b, input) } else { conv::composed(traced, &w, &b, input) };
                // A picture is data: it has no gradient.
                if input == Input::Picture { i.outcome(y?, &[&w, &b]) } else { i.outcome(y?, &[&x, &w, &b]) }
            }
            Case::MaxPool => {
                let x = i.leaf((2usize, 6usize, 4usize, Const::<3>))?;
                let y = if operation { D::max_pool(x.leaky_trace()) } else { pool::max_composed(x.leaky_trace()) };
                i.outcome(y?, &[&x])
            }
            Case::Upsample => {
                let x = i.leaf((2usize, 3usize, 2usize, Const::<3>))?;
                let y = if operation { D::upsample(x.leaky_trace()) } else { pool::nearest_composed(x.leaky_trace()) };
                i.outcome(y?, &[&x])
            }
            Case::GatherRows => {
                let x = i.leaf((11usize, Const::<6>))?;
                let (ids, shape) = ([3, 10, 0, ABSENT, 3, 7], (6usize, Const::<6>));
                let traced = x.leaky_trace();
                let y =
                    if operation { D::gather_rows(traced, &ids, shape) } else { gather::composed(traced, &ids, shape) };
                i.outcome(y?, &[&x])
            }
            Case::CrossEntropy => {
                let logits = i.leaf((4usize, 17usize))?;
                let (traced, targets) = (logits.leaky_trace(), [16, 0, 3, 3]);
                let y = if operation {
                    D::cross_entropy(traced, &targets)
                } else {
                    cross_entropy::composed(traced, &targets)
                };
                i.outcome(y?, &[&logits])
            }
            Case::Relax { hard } => {
                let logits = i.leaf((4usize, 17usize))?;
                let (traced, noise) = (logits.leaky_trace(), i.values(4 * 17));
                let (z, kl) = if operation {
                    D::relax(traced, noise, 0.7, hard)?
                } else {
                    let kl = gumbel::kl_composed(traced.with_empty_tape())?;
                    (gumbel::relax_composed(traced, noise, 0.7, hard)?, kl)
                };
                // Both leave by one loss, as in training.
                let kl = kl.try_broadcast_like::<_, Axis<1>>(&(4usize, 17usize))?;
                i.outcome(z.try_add(kl)?, &[&logits])
            }
            Case::KlUniform => {
                let logits = i.leaf((4usize, 17usize))?;
                let traced = logits.leaky_trace();
                let y = if operation { D::kl_uniform(traced) } else { gumbel::kl_composed(traced) };
                i.outcome(y?, &[&logits])
            }
            Case::LogitLaplace(clamp) => {
                let stats = i.leaf((2usize, 3usize, 5usize, Const::<6>))?;
                let x = i.values::<E>(2 * 3 * 5 * 3).into_iter().map(|v| E::one() / (E::one() + (-v).exp())).collect();
                let traced = stats.leaky_trace();
                let y =
                    if operation { D::logit_laplace(traced, x, clamp) } else { laplace::composed(traced, x, clamp) };
                i.outcome(y?, &[&stats])
            }
            Case::AddScaled => {
                let (x, y) = (i.leaf((3usize, Const::<9>))?, i.leaf((3usize, Const::<9>))?);
                let (a, b) = (x.leaky_trace(), y.leaky_trace());
                let z = if operation { D::add_scaled(a, b, 0.25) } else { sum::composed(a, b, 0.25) };
                i.outcome(z?, &[&x, &y])
            }
        }
    }
}

/// Two rows for every operation: what it gives, and the largest error of its gradients.
pub fn rows<D: Backend<f32>>(device: &D, path: Path) -> crate::Result<Vec<Row>>
where
    Error: From<D::Err>,
{
    compared(device, path, cases(), LIMIT)
}

/// The same for those that multiply matrices, with factors that are rounded: `limit` is what that may cost.
#[cfg(feature = "cuda")]
pub fn rounded<D: Backend<f32>>(device: &D, to: &str, limit: f64) -> crate::Result<Vec<Row>>
where
    Error: From<D::Err>,
{
    let mut cases = cases();
    cases.retain(|(_, case)| matches!(case, Case::Linear(_) | Case::Attention(_) | Case::Conv(..)));
    cases.iter_mut().for_each(|(name, _)| *name = format!("{name}, {to}"));
    compared(device, Path::Operation, cases, limit)
}

fn compared<D: Backend<f32>>(device: &D, path: Path, cases: Vec<(String, Case)>, limit: f64) -> crate::Result<Vec<Row>>
where
    Error: From<D::Err>,
{
    let mut rows = Vec::new();
    for (name, case) in cases {
        let expected = case.run::<f64, Cpu>(&Cpu::default(), Path::Operation)?;
        let got = case.run::<f32, D>(device, path)?;
        let mut errors = expected.iter().zip(&got).map(|(expected, got)| super::relative(expected, got));
        let forward = errors.next().unwrap_or(f64::NAN);
        rows.push(Row { what: name.clone(), error: forward, limit });
        rows.push(Row { what: format!("{name}: gradients"), error: errors.fold(0.0, super::worse), limit });
    }
    Ok(rows)
}
