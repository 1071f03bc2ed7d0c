//! Bottleneck residual blocks, and groups of them at one resolution.

use super::Map;
use crate::kernels::Real;
use crate::nn::Conv;
use crate::ops::{Backend, Input, retyped};
use crate::shape::{DvaeShape, Groups};
use dfdx::prelude::{ConstDim, Tape, WithEmptyTape};
use std::marker::PhantomData;

crate::module! {
    /// id(x) + post_gain·res(x). The residual path is four convolutions, each after a ReLU, I → H → H → H → O channels, the
    /// outer ones with kernels `FIRST` and `LAST`: 3 and 1 in the encoder, 1 and 3 in the decoder.
    pub struct ResidualBlock<I: ConstDim, H: ConstDim, O: ConstDim; const FIRST, const LAST> {
        /// A 1×1 convolution where I ≠ O; nothing where the identity does.
        id_path: Vec<Conv<I, O, 1, E, D>> => (I::SIZE != O::SIZE).then_some("id_path");
        conv_1: Conv<I, H, FIRST, E, D> = "res_path.conv_1";
        conv_2: Conv<H, H, 3, E, D> = "res_path.conv_2";
        conv_3: Conv<H, H, 3, E, D> = "res_path.conv_3";
        conv_4: Conv<H, O, LAST, E, D> = "res_path.conv_4";
    }
}

impl<I: ConstDim, H: ConstDim, O: ConstDim, const FIRST: usize, const LAST: usize, E: Real, D: Backend<E>>
    ResidualBlock<I, H, O, FIRST, LAST, E, D>
{
    fn forward<T: Tape<E, D>>(&self, x: Map<I, E, D, T>, post_gain: f64) -> Result<Map<O, E, D, T>, D::Err> {
        let same = x.with_empty_tape();
        let skip = match self.id_path.first() {
            Some(conv) => conv.forward(same, Input::Linear)?,
            None => retyped(same), // I = O
        };
        let x = self.conv_1.forward(x, Input::Relu)?;
        let x = self.conv_2.forward(x, Input::Relu)?;
        let x = self.conv_3.forward(x, Input::Relu)?;
        D::add_scaled(skip, self.conv_4.forward(x, Input::Relu)?, post_gain)
    }
}

crate::module! {
    /// The blocks of one resolution: the first changes the channels from I to those of `G`, the others keep them.
    pub struct Group<S: DvaeShape, I: ConstDim, G: Groups; const FIRST, const LAST> {
        first: ResidualBlock<I, G::Hidden, G::Channels, FIRST, LAST, E, D> = "block_1";
        others: Vec<ResidualBlock<G::Channels, G::Hidden, G::Channels, FIRST, LAST, E, D>> =>
            (2..=S::BLOCKS).map(|i| format!("block_{i}"));
        shape: PhantomData<S>;
    }
}

impl<S: DvaeShape, I: ConstDim, G: Groups, const FIRST: usize, const LAST: usize, E: Real, D: Backend<E>>
    Group<S, I, G, FIRST, LAST, E, D>
{
    /// Shapes: x (B, H, W, I) → (B, H, W, channels of G).
    pub fn forward<T: Tape<E, D>>(&self, x: Map<I, E, D, T>) -> Result<Map<G::Channels, E, D, T>, D::Err> {
        let mut x = self.first.forward(x, S::POST_GAIN)?;
        for block in &self.others {
            x = block.forward(x, S::POST_GAIN)?;
        }
        Ok(x)
    }
}
