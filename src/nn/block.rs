//! The pre-norm transformer block that DALL·E's transformer and both CLIP towers are made of.
//!
//! Legend: B batch, S sequence, W::Dim width.

use super::{IncrementalBlock, Init, LayerNorm, Linear, Precision};
use crate::kernels::Real;
use crate::ops::{Activation, Backend, Mask, recomputed};
use crate::shape::{BlockShape, Ranked};
use dfdx::prelude::{ConstDim, Dim, Tape, Tensor, WithEmptyTape};
use std::marker::PhantomData;

/// The names of a block's parameters in the published checkpoints, and its nonlinearity.
pub trait BlockNames: 'static + std::fmt::Debug + Clone {
    /// The norm before attention.
    const LN_1: &'static str;
    /// The fused queries, keys and values: what stands before `weight` and `bias`.
    const QKV: &'static str;
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

/// Standard deviations of a block's matrices at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockInit {
    /// Queries, keys and values.
    pub qkv: f64,
    /// Attention's output.
    pub out: f64,
    /// The MLP's first map.
    pub up: f64,
    /// The MLP's second map.
    pub down: f64,
}

crate::module! {
    /// x + attention(norm(x)), then x + mlp(norm(x)); with a sandwich, x + norm(attention(norm(x))) and so on.
    pub struct Block<W: BlockShape, N: BlockNames> (init: BlockInit) check W::CHECK, {
        /// Before attention.
        pub ln_1: LayerNorm<W::Dim, E, D> = N::LN_1;
        /// Queries, keys and values.
        pub qkv: Linear<W::Dim, W::Qkv, E, D> = N::QKV, Init::Normal(init.qkv);
        /// Attention's output.
        pub out: Linear<W::Dim, W::Dim, E, D> = N::OUT, Init::Normal(init.out);
        /// Before the MLP.
        pub ln_2: LayerNorm<W::Dim, E, D> = N::LN_2;
        /// Widens.
        pub up: Linear<W::Dim, W::Mlp, E, D> = N::UP, Init::Normal(init.up);
        /// Narrows.
        pub down: Linear<W::Mlp, W::Dim, E, D> = N::DOWN, Init::Normal(init.down);
        /// Of the branches' results; none without a sandwich.
        pub after: Vec<LayerNorm<W::Dim, E, D>> => N::AFTER;
        names: PhantomData<N>;
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
