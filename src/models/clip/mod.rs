//! CLIP (arXiv 2103.00020): a picture tower and a text tower into one space; the reranker (paper §2.6).
//! Parameter names and shapes are those of the published checkpoints
//! ([model.py](https://github.com/openai/CLIP/blob/d05afc436d78f1c48dc0dbf8e5980a9d471f35f6/clip/model.py)), so that they load
//! here and ours load there. The picture tower is a vision transformer, or a [`resnet`]; [`hf`] reads Hugging Face's names.
//!
//! Legend: B batch, P patches, S slots of a tower, Dim its width, Embed the shared width.

#[doc(hidden)]
pub mod hf;
#[doc(hidden)]
pub mod presets;
#[doc(hidden)]
pub mod resnet;
mod sizes;
mod text;
mod vision;

pub use crate::data::preprocess::{MEAN, STD, normalised};
pub use sizes::{ClipSizes, Tower};
pub use text::{Text, ends_of_text};
pub use vision::Vision;

use crate::kernels::Real;
use crate::nn::{BlockInit, BlockNames};
use crate::ops::{Activation, Backend, retyped};
use crate::shape::{ClipShape, Gelu, TextTowerShape};
use dfdx::prelude::*;
use std::marker::PhantomData;

/// The published names of a block's parameters.
#[derive(Debug, Clone)]
pub struct Names<G>(PhantomData<G>);

impl<G: Gelu> BlockNames for Names<G> {
    const LN_1: &'static str = "ln_1";
    const QKV: &'static str = "attn.in_proj_";
    const OUT: &'static str = "attn.out_proj";
    const LN_2: &'static str = "ln_2";
    const UP: &'static str = "mlp.c_fc";
    const DOWN: &'static str = "mlp.c_proj";
    const ACTIVATION: Activation = if G::QUICK { Activation::QuickGelu } else { Activation::ErfGelu };
}

/// Features in the shared space: (B, Embed).
type Features<S, E, D, T> = Tensor<(usize, <S as TextTowerShape>::Embed), E, D, T>;

/// Rows without typed sides: what works on them is compiled once, not once per width.
type Matrix<E, D, T> = Tensor<(usize, usize), E, D, T>;

crate::module! {
    /// Both towers, the second with the learned temperature.
    pub struct Clip<S: ClipShape> check S::CHECK, {
        /// The picture tower.
        pub visual: Vision<S, E, D> = "visual";
        /// The text tower, whose parameters have no prefix.
        pub text: Text<S, E, D> = "";
    }
}

impl<S: ClipShape, E: Real, D: Backend<E>> Clip<S, E, D> {
    /// Unit features of `batch` pictures (B, Embed); `pixels` [`normalised`], (B, side, side, 3).
    pub fn image<T: Tape<E, D>>(
        &self,
        batch: usize,
        pixels: &[E],
        device: &D,
        tape: T,
    ) -> Result<Features<S, E, D, T>, D::Err> {
        Ok(retyped(unit(retyped(self.visual.forward(batch, pixels, device, tape)?))?))
    }

    /// Unit features of captions (B, Embed). `ids`: B·Context, padded with 0 after the end of text, which has the largest id.
    pub fn text<T: Tape<E, D>>(&self, ids: &[u32], tape: T) -> Result<Features<S, E, D, T>, D::Err> {
        Ok(retyped(unit(retyped(self.text.forward(ids, &ends_of_text(ids, S::Context::SIZE, None), tape)?))?))
    }

    /// exp(logit_scale)·images·textsᵀ: (B, B), a row per picture.
    pub fn logits<T: Tape<E, D>>(
        &self,
        images: Features<S, E, D, T>,
        texts: Features<S, E, D, T>,
    ) -> Result<Matrix<E, D, T>, D::Err> {
        scaled_cosines(retyped(images), retyped(texts), &self.text.logit_scale)
    }
}

/// exp(logit_scale)·images·textsᵀ of unit rows: a row per picture, a column per caption.
pub fn scaled_cosines<E: Real, D: Device<E>, T: Tape<E, D>>(
    images: Matrix<E, D, T>,
    texts: Matrix<E, D, T>,
    logit_scale: &Tensor<(), E, D>,
) -> Result<Matrix<E, D, T>, D::Err> {
    let cosines = images.try_matmul(texts.try_permute::<(usize, usize), Axes2<1, 0>>()?)?;
    let shape = *cosines.shape();
    let scale = logit_scale.retaped::<T>().try_exp()?;
    cosines.try_mul(scale.try_broadcast_like(&shape)?)
}

/// x / ‖x‖ of each row.
pub fn unit<E: Real, D: Device<E>, T: Tape<E, D>>(x: Matrix<E, D, T>) -> Result<Matrix<E, D, T>, D::Err> {
    let shape = *x.shape();
    let norm = x.with_empty_tape().try_square()?.try_sum::<(usize,), Axis<1>>()?.try_sqrt()?;
    x.try_div(BroadcastTo::try_broadcast_like::<_, Axis<1>>(norm, &shape)?)
}

/// x·projection; the published projections are stored [in, out].
fn project<C: ConstDim, S: TextTowerShape, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(usize, C), E, D, T>,
    projection: &Tensor<(C, S::Embed), E, D>,
) -> Result<Features<S, E, D, T>, D::Err> {
    let projection = retyped::<_, (usize, usize), E, D, T>(projection.retaped::<T>());
    Ok(retyped(retyped::<_, (usize, usize), E, D, T>(x).try_matmul(projection)?))
}

/// How the published code starts a tower's blocks.
fn block_init(width: usize, depth: usize) -> BlockInit {
    let (width, depth) = (width as f64, depth as f64);
    let residual = width.powf(-0.5) * (2.0 * depth).powf(-0.5);
    BlockInit { qkv: width.powf(-0.5), out: residual, up: (2.0 * width).powf(-0.5), down: residual }
}
