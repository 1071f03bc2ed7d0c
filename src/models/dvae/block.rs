//! Bottleneck residual blocks, and groups of them at one resolution.

use crate::kernels::Real;
use crate::nn::Conv;
use crate::ops::{Backend, Input, retyped};
use crate::shape::{DvaeShape, Groups};
use dfdx::nn::{ModuleVisitor, TensorCollection};
use dfdx::prelude::{ConstDim, Device, Dim, Dtype, Storage, Tape, Tensor, WithEmptyTape};
use std::marker::PhantomData;

/// id(x) + post_gain·res(x). The residual path is four convolutions, each after a ReLU, I → H → H → H → O channels, the outer
/// ones with kernels `FIRST` and `LAST`: 3 and 1 in the encoder, 1 and 3 in the decoder.
#[derive(Debug, Clone)]
pub struct ResidualBlock<
    I: ConstDim,
    H: ConstDim,
    O: ConstDim,
    const FIRST: usize,
    const LAST: usize,
    E: Dtype,
    D: Storage<E>,
> {
    /// A 1×1 convolution where I ≠ O; nothing where the identity does.
    id_path: Vec<Conv<I, O, 1, E, D>>,
    conv_1: Conv<I, H, FIRST, E, D>,
    conv_2: Conv<H, H, 3, E, D>,
    conv_3: Conv<H, H, 3, E, D>,
    conv_4: Conv<H, O, LAST, E, D>,
}

impl<I: ConstDim, H: ConstDim, O: ConstDim, const FIRST: usize, const LAST: usize, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for ResidualBlock<I, H, O, FIRST, LAST, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = ResidualBlock<I, H, O, FIRST, LAST, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let id_paths = 0..usize::from(I::SIZE != O::SIZE);
        visitor.visit_fields(
            (
                id_paths
                    .map(|i| Self::module("id_path", move |s| &s.id_path[i], move |s| &mut s.id_path[i]))
                    .collect::<Vec<_>>(),
                (
                    Self::module("res_path.conv_1", |s| &s.conv_1, |s| &mut s.conv_1),
                    Self::module("res_path.conv_2", |s| &s.conv_2, |s| &mut s.conv_2),
                    Self::module("res_path.conv_3", |s| &s.conv_3, |s| &mut s.conv_3),
                    Self::module("res_path.conv_4", |s| &s.conv_4, |s| &mut s.conv_4),
                ),
            ),
            |(id_path, (conv_1, conv_2, conv_3, conv_4))| ResidualBlock { id_path, conv_1, conv_2, conv_3, conv_4 },
        )
    }
}

type Map<B, Y, X, C, E, D, T> = Tensor<(B, Y, X, C), E, D, T>;

impl<I: ConstDim, H: ConstDim, O: ConstDim, const FIRST: usize, const LAST: usize, E: Real, D: Backend<E>>
    ResidualBlock<I, H, O, FIRST, LAST, E, D>
{
    fn forward<B: Dim, Y: Dim, X: Dim, T: Tape<E, D>>(
        &self,
        x: Map<B, Y, X, I, E, D, T>,
        post_gain: f64,
    ) -> Result<Map<B, Y, X, O, E, D, T>, D::Err> {
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

/// The blocks of one resolution: the first changes the channels from I to those of `G`, the others keep them.
#[derive(Debug, Clone)]
pub struct Group<S: DvaeShape, I: ConstDim, G: Groups, const FIRST: usize, const LAST: usize, E: Dtype, D: Storage<E>> {
    first: ResidualBlock<I, G::Hidden, G::Channels, FIRST, LAST, E, D>,
    others: Vec<ResidualBlock<G::Channels, G::Hidden, G::Channels, FIRST, LAST, E, D>>,
    shape: PhantomData<S>,
}

impl<S: DvaeShape, I: ConstDim, G: Groups, const FIRST: usize, const LAST: usize, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for Group<S, I, G, FIRST, LAST, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Group<S, I, G, FIRST, LAST, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let names: Vec<String> = (2..=S::BLOCKS).map(|i| format!("block_{i}")).collect();
        visitor.visit_fields(
            (
                Self::module("block_1", |s| &s.first, |s| &mut s.first),
                names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| Self::module(name, move |s| &s.others[i], move |s| &mut s.others[i]))
                    .collect::<Vec<_>>(),
            ),
            |(first, others)| Group { first, others, shape: PhantomData },
        )
    }
}

impl<S: DvaeShape, I: ConstDim, G: Groups, const FIRST: usize, const LAST: usize, E: Real, D: Backend<E>>
    Group<S, I, G, FIRST, LAST, E, D>
{
    /// Shapes: x (B, H, W, I) → (B, H, W, channels of G).
    pub fn forward<B: Dim, Y: Dim, X: Dim, T: Tape<E, D>>(
        &self,
        x: Map<B, Y, X, I, E, D, T>,
    ) -> Result<Map<B, Y, X, G::Channels, E, D, T>, D::Err> {
        let mut x = self.first.forward(x, S::POST_GAIN)?;
        for block in &self.others {
            x = block.forward(x, S::POST_GAIN)?;
        }
        Ok(x)
    }
}
