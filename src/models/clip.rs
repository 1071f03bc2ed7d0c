//! CLIP (arXiv 2103.00020): a picture tower and a text tower into one space; the reranker (paper §2.6).
//! Parameter names are those of the published checkpoints.
//!
//! Legend: B batch, P patches, S slots of a tower, Dim its width, Embed the shared width.

use crate::kernels::Real;
use crate::nn::{Block, BlockNames, Init, LayerNorm};
use crate::ops::{ABSENT, Activation, Backend, Mask, retyped};
use crate::shape::{BlockShape, ClipShape};
use dfdx::nn::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::prelude::*;

/// Mean of the training pictures' channels in the published preprocessing.
pub const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Their standard deviation.
pub const STD: [f32; 3] = [0.268_629_55, 0.261_302_6, 0.275_777_1];

/// The published names.
#[derive(Debug, Clone)]
pub struct Names;

impl BlockNames for Names {
    const LN_1: &'static str = "ln_1";
    const QKV: [&'static str; 2] = ["attn.in_proj_weight", "attn.in_proj_bias"];
    const OUT: &'static str = "attn.out_proj";
    const LN_2: &'static str = "ln_2";
    const UP: &'static str = "mlp.c_fc";
    const DOWN: &'static str = "mlp.c_proj";
    const ACTIVATION: Activation = Activation::QuickGelu;
}

type VisionDim<S> = <<S as ClipShape>::Vision as BlockShape>::Dim;
type TextDim<S> = <<S as ClipShape>::Language as BlockShape>::Dim;

/// The picture tower: a vision transformer.
#[derive(Debug, Clone)]
pub struct Vision<S: ClipShape, E: Dtype, D: Storage<E>> {
    patches: Tensor<(VisionDim<S>, S::PatchValues), E, D>,
    class: Tensor<(VisionDim<S>,), E, D>,
    position: Tensor<(S::VisionSeq, VisionDim<S>), E, D>,
    ln_pre: LayerNorm<VisionDim<S>, E, D>,
    blocks: Vec<Block<S::Vision, Names, E, D>>,
    ln_post: LayerNorm<VisionDim<S>, E, D>,
    projection: Tensor<(VisionDim<S>, S::Embed), E, D>,
}

impl<S: ClipShape, E: Dtype, D: Device<E>> TensorCollection<E, D> for Vision<S, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Vision<S, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let names: Vec<String> = (0..S::DEPTH).map(|i| format!("transformer.resblocks.{i}")).collect();
        visitor.visit_fields(
            (
                Self::tensor("conv1.weight", |s| &s.patches, |s| &mut s.patches, TensorOptions::reset_to_zeros()),
                Self::tensor("class_embedding", |s| &s.class, |s| &mut s.class, TensorOptions::reset_to_zeros()),
                Self::tensor(
                    "positional_embedding",
                    |s| &s.position,
                    |s| &mut s.position,
                    TensorOptions::reset_to_zeros(),
                ),
                Self::module("ln_pre", |s| &s.ln_pre, |s| &mut s.ln_pre),
                names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| Self::module(name, move |s| &s.blocks[i], move |s| &mut s.blocks[i]))
                    .collect::<Vec<_>>(),
                (
                    Self::module("ln_post", |s| &s.ln_post, |s| &mut s.ln_post),
                    Self::tensor("proj", |s| &s.projection, |s| &mut s.projection, TensorOptions::reset_to_zeros()),
                ),
            ),
            |(patches, class, position, ln_pre, blocks, (ln_post, projection))| Vision {
                patches,
                class,
                position,
                ln_pre,
                blocks,
                ln_post,
                projection,
            },
        )
    }
}

/// Both towers and the learned temperature.
#[derive(Debug, Clone)]
pub struct Clip<S: ClipShape, E: Dtype, D: Storage<E>> {
    visual: Vision<S, E, D>,
    tokens: Tensor<(S::Vocab, TextDim<S>), E, D>,
    position: Tensor<(S::Context, TextDim<S>), E, D>,
    blocks: Vec<Block<S::Language, Names, E, D>>,
    ln_final: LayerNorm<TextDim<S>, E, D>,
    projection: Tensor<(TextDim<S>, S::Embed), E, D>,
    /// ln of the scale that cosines are multiplied by.
    logit_scale: Tensor<(Const<1>,), E, D>,
}

impl<S: ClipShape, E: Dtype, D: Device<E>> TensorCollection<E, D> for Clip<S, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Clip<S, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let () = S::CHECK;
        let names: Vec<String> = (0..S::DEPTH).map(|i| format!("transformer.resblocks.{i}")).collect();
        visitor.visit_fields(
            (
                Self::module("visual", |s| &s.visual, |s| &mut s.visual),
                Self::tensor(
                    "token_embedding.weight",
                    |s| &s.tokens,
                    |s| &mut s.tokens,
                    TensorOptions::reset_to_zeros(),
                ),
                Self::tensor(
                    "positional_embedding",
                    |s| &s.position,
                    |s| &mut s.position,
                    TensorOptions::reset_to_zeros(),
                ),
                names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| Self::module(name, move |s| &s.blocks[i], move |s| &mut s.blocks[i]))
                    .collect::<Vec<_>>(),
                Self::module("ln_final", |s| &s.ln_final, |s| &mut s.ln_final),
                (
                    Self::tensor(
                        "text_projection",
                        |s| &s.projection,
                        |s| &mut s.projection,
                        TensorOptions::reset_to_zeros(),
                    ),
                    Self::tensor(
                        "logit_scale",
                        |s| &s.logit_scale,
                        |s| &mut s.logit_scale,
                        TensorOptions::reset_to_zeros(),
                    ),
                ),
            ),
            |(visual, tokens, position, blocks, ln_final, (projection, logit_scale))| Clip {
                visual,
                tokens,
                position,
                blocks,
                ln_final,
                projection,
                logit_scale,
            },
        )
    }
}

type Features<B, S, E, D, T> = Tensor<(B, <S as ClipShape>::Embed), E, D, T>;

impl<S: ClipShape, E: Real, D: Backend<E>> Vision<S, E, D> {
    /// Unit features of pictures. `patches`: B·P rows of PatchValues, each patch channel by channel ([`patchify`]).
    fn forward<B: Dim, T: Tape<E, D>>(
        &self,
        batch: B,
        patches: Vec<E>,
        device: &D,
        tape: T,
    ) -> Result<Features<B, S, E, D, T>, D::Err> {
        let (slots, width) = (S::VisionSeq::default(), VisionDim::<S>::default());
        let (rows, per_picture) = (batch.size() * (S::VisionSeq::SIZE - 1), S::VisionSeq::SIZE - 1);
        let shape = (batch, slots, width);
        let each = |id: &dyn Fn(usize, usize) -> u32| -> Vec<u32> {
            (0..batch.size()).flat_map(|b| (0..S::VisionSeq::SIZE).map(move |slot| id(b, slot))).collect()
        };
        let patches = device.try_tensor_from_vec(patches, (rows, S::PatchValues::default()))?.put_tape(tape);
        let x = D::linear(patches, &self.patches, None)?;
        let after_class = each(&|b, slot| if slot == 0 { ABSENT } else { (b * per_picture + slot - 1) as u32 });
        let x = D::gather_rows(x, &after_class, shape)?;
        let class = self.class.retaped::<T>().try_reshape_like(&(1usize, width))?;
        let class = D::gather_rows(class, &each(&|_, slot| if slot == 0 { 0 } else { ABSENT }), shape)?;
        let x = D::add_scaled(x, class, 1.0)?;
        let position = D::gather_rows(self.position.retaped::<T>(), &each(&|_, slot| slot as u32), shape)?;
        let mut x = self.ln_pre.forward(D::add_scaled(x, position, 1.0)?)?;
        for block in &self.blocks {
            x = block.forward(x, &Mask::full())?;
        }
        let class_slots: Vec<u32> = (0..batch.size()).map(|b| (b * S::VisionSeq::SIZE) as u32).collect();
        let x = self.ln_post.forward(D::gather_rows(x, &class_slots, (batch, width))?)?;
        project::<B, _, S, E, D, T>(x, &self.projection)
    }
}

impl<S: ClipShape, E: Real, D: Backend<E>> Clip<S, E, D> {
    /// Unit features of pictures (B, Embed); `patches` from [`patchify`].
    pub fn image<B: Dim, T: Tape<E, D>>(
        &self,
        batch: B,
        patches: Vec<E>,
        device: &D,
        tape: T,
    ) -> Result<Features<B, S, E, D, T>, D::Err> {
        self.visual.forward(batch, patches, device, tape)
    }

    /// Unit features of captions (B, Embed). `ids`: B·Context, padded with 0 after the end of text, which has the largest id:
    /// the feature is read there.
    pub fn text<B: Dim, T: Tape<E, D>>(
        &self,
        batch: B,
        ids: &[u32],
        tape: T,
    ) -> Result<Features<B, S, E, D, T>, D::Err> {
        let context = S::Context::SIZE;
        let width = TextDim::<S>::default();
        let shape = (batch, S::Context::default(), width);
        let x = D::gather_rows(self.tokens.clone().put_tape(tape), ids, shape)?;
        let slots: Vec<u32> = (0..batch.size()).flat_map(|_| 0..context as u32).collect();
        let mut x = D::add_scaled(x, D::gather_rows(self.position.retaped::<T>(), &slots, shape)?, 1.0)?;
        let mask = Mask::causal(context);
        for block in &self.blocks {
            x = block.forward(x, &mask)?;
        }
        let ends: Vec<u32> = ids
            .chunks(context)
            .enumerate()
            .map(|(b, row)| {
                let end = (0..context).max_by_key(|&i| (row[i], std::cmp::Reverse(i))).unwrap_or(0);
                (b * context + end) as u32
            })
            .collect();
        let x = D::gather_rows(self.ln_final.forward(x)?, &ends, (batch, width))?;
        project::<B, _, S, E, D, T>(x, &self.projection)
    }

    /// exp(logit_scale)·images·textsᵀ: (B, B), a row per picture.
    pub fn logits<T: Tape<E, D>>(
        &self,
        images: Features<usize, S, E, D, T>,
        texts: Features<usize, S, E, D, T>,
    ) -> Result<Tensor<(usize, usize), E, D, T>, D::Err> {
        scaled_cosines(retyped(images), retyped(texts), &self.logit_scale)
    }
}

/// Rows without typed sides: what follows is compiled once, not once per width.
type Matrix<E, D, T> = Tensor<(usize, usize), E, D, T>;

fn scaled_cosines<E: Real, D: Device<E>, T: Tape<E, D>>(
    images: Matrix<E, D, T>,
    texts: Matrix<E, D, T>,
    logit_scale: &Tensor<(Const<1>,), E, D>,
) -> Result<Matrix<E, D, T>, D::Err> {
    let cosines = images.try_matmul(texts.try_permute::<(usize, usize), Axes2<1, 0>>()?)?;
    let shape = *cosines.shape();
    let scale = logit_scale.retaped::<T>().try_exp()?.try_reshape_like(&())?;
    cosines.try_mul(scale.try_broadcast_like(&shape)?)
}

/// x·projection, each row divided by its norm.
fn project<B: Dim, C: ConstDim, S: ClipShape, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(B, C), E, D, T>,
    projection: &Tensor<(C, S::Embed), E, D>,
) -> Result<Features<B, S, E, D, T>, D::Err> {
    Ok(retyped(unit(
        retyped::<_, (usize, usize), E, D, T>(x)
            .try_matmul(retyped::<_, (usize, usize), E, D, T>(projection.retaped::<T>()))?,
    )?))
}

/// x / ‖x‖ of each row.
fn unit<E: Real, D: Device<E>, T: Tape<E, D>>(x: Matrix<E, D, T>) -> Result<Matrix<E, D, T>, D::Err> {
    let shape = *x.shape();
    let norm = x.with_empty_tape().try_square()?.try_sum::<(usize,), Axis<1>>()?.try_sqrt()?;
    x.try_div(BroadcastTo::try_broadcast_like::<_, Axis<1>>(norm, &shape)?)
}

/// Pictures (B, side, side, 3) with values in [0, 1] to normalised patches: B·P rows, each channel by channel (as the
/// published convolution reads them).
pub fn patchify<S: ClipShape, E: Real>(pixels: &[f32]) -> Vec<E> {
    let (side, patch) = (S::SIDE, S::PATCH);
    let per_side = side / patch;
    let mut out = Vec::with_capacity(pixels.len());
    for picture in pixels.chunks(side * side * 3) {
        for at in 0..per_side * per_side {
            let (top, left) = (at / per_side * patch, at % per_side * patch);
            for channel in 0..3 {
                for offset in 0..patch * patch {
                    let (y, x) = (top + offset / patch, left + offset % patch);
                    let value = picture[(y * side + x) * 3 + channel];
                    out.push(E::of(f64::from((value - MEAN[channel]) / STD[channel])));
                }
            }
        }
    }
    out
}

/// The published initialisation.
pub fn init<S: ClipShape>() -> impl Fn(&str, &[usize]) -> Init {
    |name, shape| {
        let width = if name.starts_with("visual.") { VisionDim::<S>::SIZE } else { TextDim::<S>::SIZE } as f64;
        let depth = S::DEPTH as f64;
        match name {
            "logit_scale" => Init::Constant((1.0f64 / 0.07).ln()),
            "token_embedding.weight" => Init::Normal(0.02),
            "positional_embedding" => Init::Normal(0.01),
            "visual.conv1.weight" => Init::Normal((shape[1] as f64).powf(-0.5)),
            _ if name.ends_with("bias") => Init::Constant(0.0),
            _ if name.contains("ln_") => Init::Constant(1.0),
            _ if name.ends_with("out_proj.weight") || name.ends_with("c_proj.weight") => {
                Init::Normal(width.powf(-0.5) * (2.0 * depth).powf(-0.5))
            }
            _ if name.ends_with("c_fc.weight") => Init::Normal((2.0 * width).powf(-0.5)),
            _ => Init::Normal(width.powf(-0.5)),
        }
    }
}
