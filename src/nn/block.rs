//! The pre-norm transformer block that DALL·E's transformer and both CLIP towers are made of.
//!
//! Legend: B batch, S sequence, W::Dim width.

use super::{IncrementalBlock, LayerNorm, Linear, Precision};
use crate::kernels::Real;
use crate::ops::{Activation, Backend, Mask, recomputed};
use crate::shape::{BlockShape, Ranked};
use dfdx::nn::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::prelude::{ConstDim, Device, Dim, Dtype, Storage, Tape, Tensor, WithEmptyTape};
use std::marker::PhantomData;

/// The names of a block's parameters in the published checkpoints, and its nonlinearity.
pub trait BlockNames: 'static + std::fmt::Debug + Clone {
    /// The norm before attention.
    const LN_1: &'static str;
    /// Weight and bias of the fused queries, keys and values.
    const QKV: [&'static str; 2];
    /// Attention's output.
    const OUT: &'static str;
    /// The norm before the MLP.
    const LN_2: &'static str;
    /// The MLP's first map.
    const UP: &'static str;
    /// The MLP's second map.
    const DOWN: &'static str;
    /// Between them.
    const ACTIVATION: Activation;
    /// The norms of both branches' results, before each is added to the stream (CogView's sandwich): none or two.
    const AFTER: &'static [&'static str] = &[];
}

/// x + attention(norm(x)), then x + mlp(norm(x)); with a sandwich, x + norm(attention(norm(x))) and so on.
#[derive(Debug, Clone)]
pub struct Block<W: BlockShape, N: BlockNames, E: Dtype, D: Storage<E>> {
    /// Before attention.
    pub ln_1: LayerNorm<W::Dim, E, D>,
    /// Queries, keys and values.
    pub qkv: Linear<W::Dim, W::Qkv, E, D>,
    /// Attention's output.
    pub out: Linear<W::Dim, W::Dim, E, D>,
    /// Before the MLP.
    pub ln_2: LayerNorm<W::Dim, E, D>,
    /// Widens.
    pub up: Linear<W::Dim, W::Mlp, E, D>,
    /// Narrows.
    pub down: Linear<W::Mlp, W::Dim, E, D>,
    /// Of the branches' results; none without a sandwich.
    pub after: Vec<LayerNorm<W::Dim, E, D>>,
    names: PhantomData<N>,
}

impl<W: BlockShape, N: BlockNames, E: Dtype, D: Device<E>> TensorCollection<E, D> for Block<W, N, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Block<W, N, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let () = W::CHECK;
        let after = N::AFTER.iter().enumerate();
        visitor.visit_fields(
            (
                Self::module(N::LN_1, |s| &s.ln_1, |s| &mut s.ln_1),
                (
                    Self::tensor(N::QKV[0], |s| &s.qkv.weight, |s| &mut s.qkv.weight, TensorOptions::reset_to_zeros()),
                    Self::tensor(N::QKV[1], |s| &s.qkv.bias, |s| &mut s.qkv.bias, TensorOptions::reset_to_zeros()),
                ),
                Self::module(N::OUT, |s| &s.out, |s| &mut s.out),
                Self::module(N::LN_2, |s| &s.ln_2, |s| &mut s.ln_2),
                Self::module(N::UP, |s| &s.up, |s| &mut s.up),
                (
                    Self::module(N::DOWN, |s| &s.down, |s| &mut s.down),
                    after
                        .map(|(i, name)| Self::module(name, move |s| &s.after[i], move |s| &mut s.after[i]))
                        .collect::<Vec<_>>(),
                ),
            ),
            |(ln_1, (weight, bias), out, ln_2, up, (down, after))| Block {
                ln_1,
                qkv: Linear { weight, bias },
                out,
                ln_2,
                up,
                down,
                after,
                names: PhantomData,
            },
        )
    }
}

type Stream<B, S, W, E, D, T> = Tensor<(B, S, <W as BlockShape>::Dim), E, D, T>;

impl<W: BlockShape, N: BlockNames, E: Real, D: Backend<E>> Block<W, N, E, D> {
    /// Shapes: x (B, S, Dim) → (B, S, Dim); `mask` (S, S).
    pub fn forward<B: Dim, S: Dim, T: Tape<E, D>>(
        &self,
        x: Stream<B, S, W, E, D, T>,
        mask: &Mask,
    ) -> Result<Stream<B, S, W, E, D, T>, D::Err> {
        let attend = |x| {
            let mixed = D::attention::<W, B, S, T>(self.qkv.forward(self.ln_1.forward(x)?)?, mask)?;
            self.after(0, self.out.forward(mixed)?)
        };
        let mlp = |x| {
            let wide = self.up.activated(self.ln_2.forward(x)?, N::ACTIVATION)?;
            self.after(1, self.down.forward(wide)?)
        };
        let x = residual(x, attend)?;
        residual(x, mlp)
    }

    /// [`Block::forward`], of which the tape keeps x alone.
    pub fn recomputed<B: Dim, S: Dim, T: Tape<E, D>>(
        &self,
        x: Stream<B, S, W, E, D, T>,
        mask: &Mask,
    ) -> Result<Stream<B, S, W, E, D, T>, D::Err> {
        let (block, mask) = (self.clone(), mask.clone()); // handles: the values are shared
        recomputed(x, move |x| block.forward(x, &mask))
    }

    /// As sampling reads it.
    pub fn incremental(&self, precision: Precision) -> Result<IncrementalBlock<E>, D::Err> {
        Ok(IncrementalBlock {
            ln_1: self.ln_1.packed()?,
            qkv: self.qkv.packed(precision)?,
            out: self.out.packed(precision)?,
            ln_2: self.ln_2.packed()?,
            up: self.up.packed(precision)?,
            down: self.down.packed(precision)?,
            after: self.after.iter().map(LayerNorm::packed).collect::<Result<_, _>>()?,
            activation: N::ACTIVATION,
            heads: W::Heads::SIZE,
        })
    }

    /// The norm of a branch's result, where there is one.
    fn after<B: Dim, S: Dim, T: Tape<E, D>>(
        &self,
        branch: usize,
        y: Stream<B, S, W, E, D, T>,
    ) -> Result<Stream<B, S, W, E, D, T>, D::Err> {
        match self.after.get(branch) {
            Some(norm) => norm.forward(y),
            None => Ok(y),
        }
    }
}

fn residual<S: Ranked, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
    f: impl FnOnce(Tensor<S, E, D, T>) -> Result<Tensor<S, E, D, T>, D::Err>,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    // The skip keeps the id of x: both paths accumulate into one gradient.
    let skip = x.with_empty_tape();
    D::add_scaled(f(x)?, skip, 1.0)
}
