//! Operations on an NVIDIA GPU: each one's composition of dfdx operations or, where experimental kernels are asked for, a kernel.
//!
//! A kernel reads its inputs where dfdx keeps them (`Gpu::address`) and adds to the gradients that the tape lends. What it keeps
//! for its backward pass is memory of our own, which goes with the tape.

mod attention;
mod conv;
mod cross_entropy;
mod gumbel;
mod linear;
mod norm;

use super::tape::{erase, typed};
use super::*;
use crate::kernels::cuda::experimental;
use crate::kernels::cuda::grids::attention_width;
use crate::shape::{BlockShape, Ranked, Rows};
use dfdx::prelude::*;
use dfdx::tensor::CudaError;

impl GatherOp<f32> for Cuda {}
impl LaplaceOp<f32> for Cuda {}
impl PoolOp<f32> for Cuda {}
impl SumOp<f32> for Cuda {}

impl ActivationOp<f32> for Cuda {
    fn activation<S: Ranked, T: Tape<f32, Self>>(
        x: Tensor<S, f32, Self, T>,
        kind: Activation,
    ) -> Result<Tensor<S, f32, Self, T>, CudaError> {
        match experimental() {
            Some(gpu) => Ok(typed(linear::activation(gpu, erase(x), kind)?)),
            None => activation::composed(x, kind),
        }
    }
}

impl AttentionOp<f32> for Cuda {
    fn attention<W: BlockShape, B: Dim, S: Dim, T: Tape<f32, Self>>(
        qkv: Tensor<(B, S, W::Qkv), f32, Self, T>,
        mask: &Mask,
    ) -> Result<Tensor<(B, S, W::Dim), f32, Self, T>, CudaError> {
        let (heads, dim) = (W::Heads::SIZE, W::HeadDim::SIZE);
        match (experimental(), attention_width(dim)) {
            (Some(gpu), Some(width)) => Ok(typed(attention::attention(gpu, erase(qkv), mask, [heads, dim, width])?)),
            _ => super::attention::composed::<W, B, S, f32, Self, T>(qkv, mask),
        }
    }
}

impl ConvOp<f32> for Cuda {
    fn conv2d<B: Dim, H: Dim, W: Dim, I: Dim, O: Dim, K: Dim, T: Tape<f32, Self>>(
        x: Tensor<(B, H, W, I), f32, Self, T>,
        w: &Tensor<(O, I, K, K), f32, Self>,
        b: &Tensor<(O,), f32, Self>,
        input: Input,
    ) -> Result<Tensor<(B, H, W, O), f32, Self, T>, CudaError> {
        match experimental() {
            Some(gpu) => Ok(typed(conv::conv2d(gpu, erase(x), erase(w.clone()), erase(b.clone()), input)?)),
            None => super::conv::composed(x, w, b, input),
        }
    }
}

impl CrossEntropyOp<f32> for Cuda {
    fn cross_entropy<S: Rows<V>, V: Dim, T: Tape<f32, Self>>(
        logits: Tensor<S, f32, Self, T>,
        targets: &[u32],
    ) -> Result<Tensor<(usize,), f32, Self, T>, CudaError> {
        match experimental() {
            Some(gpu) => cross_entropy::cross_entropy(gpu, erase(logits), targets),
            None => super::cross_entropy::composed(logits, targets),
        }
    }
}

impl GumbelOp<f32> for Cuda {
    fn relax<S: Rows<V>, V: Dim, T: Tape<f32, Self>>(
        logits: Tensor<S, f32, Self, T>,
        noise: Vec<f32>,
        tau: f64,
        hard: bool,
    ) -> Result<super::gumbel::Relaxed<S, f32, Self, T>, CudaError> {
        let vocabulary = logits.shape().last().size();
        match experimental() {
            Some(gpu) if vocabulary <= gumbel::MOST => {
                let (z, kl) = gumbel::relax(gpu, erase(logits), noise, vocabulary, tau, hard)?;
                Ok((typed(z), kl))
            }
            _ => {
                let kl = super::gumbel::kl_composed(logits.with_empty_tape())?;
                Ok((super::gumbel::relax_composed(logits, noise, tau, hard)?, kl))
            }
        }
    }

    fn kl_uniform<S: Rows<V>, V: Dim, T: Tape<f32, Self>>(
        logits: Tensor<S, f32, Self, T>,
    ) -> Result<Tensor<(usize,), f32, Self, T>, CudaError> {
        let (rows, vocabulary) = (logits.shape().rows(), logits.shape().last().size());
        match experimental() {
            Some(gpu) if vocabulary <= gumbel::MOST => gumbel::kl_uniform(gpu, erase(logits), rows),
            _ => super::gumbel::kl_composed(logits),
        }
    }
}

impl LinearOp<f32> for Cuda {
    fn linear<S: Rows<I>, I: ConstDim, O: ConstDim, T: Tape<f32, Self>>(
        x: Tensor<S, f32, Self, T>,
        w: &Tensor<(O, I), f32, Self>,
        b: Option<&Tensor<(O,), f32, Self>>,
        f: Option<Activation>,
    ) -> Result<Tensor<S::With<O>, f32, Self, T>, CudaError> {
        let Some(gpu) = experimental() else { return super::linear::composed(x, w, b, f) };
        let shape = x.shape().with(O::default()).concrete();
        Ok(typed(linear::linear(gpu, erase(x), erase(w.clone()), b.map(|b| erase(b.clone())), f, shape)?))
    }
}

impl NormOp<f32> for Cuda {
    fn layer_norm<S: Rows<C>, C: ConstDim, T: Tape<f32, Self>>(
        x: Tensor<S, f32, Self, T>,
        gain: &Tensor<(C,), f32, Self>,
        bias: &Tensor<(C,), f32, Self>,
        epsilon: f64,
    ) -> Result<Tensor<S, f32, Self, T>, CudaError> {
        match experimental() {
            Some(gpu) if C::SIZE <= norm::WIDEST => {
                let (gain, bias) = (erase(gain.clone()), erase(bias.clone()));
                Ok(typed(norm::layer_norm(gpu, erase(x), gain, bias, epsilon)?))
            }
            _ => super::norm::composed(x, gain, bias, epsilon),
        }
    }
}
