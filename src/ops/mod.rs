//! Typed differentiable operations: a thin generic function (shapes, tape, contiguity) over a kernel on slices.
//!
//! An operation that a device may do faster than a composition of dfdx's own is a trait over the device, implemented for
//! `Cpu` by the kernels. Each keeps its composition as `composed`: the oracle of its tests, and what a device without a
//! kernel runs. [`Backend`] is all of them.
//!
//! Legend: B batch, S sequence, C channels, I inputs, O outputs, H and W picture sides, V codes or vocabulary.

#[doc(hidden)]
pub mod activation;
#[doc(hidden)]
pub mod attention;
#[doc(hidden)]
pub mod conv;
#[doc(hidden)]
pub mod cross_entropy;
#[cfg(feature = "cuda")]
mod cuda;
#[doc(hidden)]
pub mod gather;
#[doc(hidden)]
pub mod gumbel;
mod kv_cache;
#[doc(hidden)]
pub mod laplace;
#[doc(hidden)]
pub mod linear;
mod mask;
#[doc(hidden)]
pub mod norm;
#[doc(hidden)]
pub mod pool;
mod products;
mod readout;
#[doc(hidden)]
pub mod recompute;
#[doc(hidden)]
pub mod sum;
mod tape;

pub use crate::kernels::cpu::activation::Activation;
pub use crate::kernels::{Products, Real};
pub use activation::ActivationOp;
pub use attention::AttentionOp;
pub use conv::{ConvOp, Input};
pub use cross_entropy::CrossEntropyOp;
pub use gather::{ABSENT, GatherOp};
pub use gumbel::GumbelOp;
pub use kv_cache::KvCache;
pub use laplace::LaplaceOp;
pub use linear::LinearOp;
pub use mask::Mask;
pub use norm::NormOp;
pub use pool::PoolOp;
pub use products::{products, with_products};
pub use readout::{argmax_rows, nearest_rows, scalar, to_vec};
pub use recompute::recomputed;
pub use sum::SumOp;
pub use tape::retyped;

use dfdx::tensor_ops::Device;

/// A device with every operation that the models use.
pub trait Backend<E: Real>:
    Device<E>
    + ActivationOp<E>
    + AttentionOp<E>
    + ConvOp<E>
    + CrossEntropyOp<E>
    + GatherOp<E>
    + GumbelOp<E>
    + LaplaceOp<E>
    + LinearOp<E>
    + NormOp<E>
    + PoolOp<E>
    + SumOp<E>
{
}

impl<E: Real, D> Backend<E> for D where
    D: Device<E>
        + ActivationOp<E>
        + AttentionOp<E>
        + ConvOp<E>
        + CrossEntropyOp<E>
        + GatherOp<E>
        + GumbelOp<E>
        + LaplaceOp<E>
        + LinearOp<E>
        + NormOp<E>
        + PoolOp<E>
        + SumOp<E>
{
}
