//! The encoder: 7×7, up to four groups with a 2×2 max-pool between them, ReLU, 1×1 to the logits.

use super::Map;
use super::block::Group;
use crate::kernels::Real;
use crate::nn::Conv;
use crate::ops::{Backend, Input, retyped};
use crate::shape::{DvaeShape, Groups};
use dfdx::prelude::{Const, ConstDim, Tape};

type First<S> = <S as DvaeShape>::Down;
type Second<S> = <First<S> as Groups>::Rest;
type Third<S> = <Second<S> as Groups>::Rest;
type Fourth<S> = <Third<S> as Groups>::Rest;
type Channels<G> = <G as Groups>::Channels;
type EncoderGroup<S, I, G, E, D> = Group<S, I, G, 3, 1, E, D>;

crate::module! {
    /// Pictures to `O` maps on the grid: logits over the codes in the dVAE, vectors to quantise in the VQ-VAE.
    /// Groups past the preset's count are empty.
    pub struct Encoder<S: DvaeShape, O: ConstDim> {
        /// 7×7.
        pub input: Conv<Const<3>, Channels<First<S>>, 7, E, D> = "blocks.input";
        /// At the picture's resolution.
        pub group_1: EncoderGroup<S, Channels<First<S>>, First<S>, E, D> = "blocks.group_1";
        /// At half of it, and so on.
        pub group_2: Vec<EncoderGroup<S, Channels<First<S>>, Second<S>, E, D>> =>
            (S::Down::COUNT >= 2).then_some("blocks.group_2");
        /// At a quarter.
        pub group_3: Vec<EncoderGroup<S, Channels<Second<S>>, Third<S>, E, D>> =>
            (S::Down::COUNT >= 3).then_some("blocks.group_3");
        /// At an eighth.
        pub group_4: Vec<EncoderGroup<S, Channels<Third<S>>, Fourth<S>, E, D>> =>
            (S::Down::COUNT >= 4).then_some("blocks.group_4");
        /// 1×1, after a ReLU.
        pub output: Conv<<First<S> as Groups>::Last, O, 1, E, D> = "blocks.output.conv";
    }
}

impl<S: DvaeShape, O: ConstDim, E: Real, D: Backend<E>> Encoder<S, O, E, D> {
    /// Shapes: x (B, H, W, 3), values φ(pixels) in (0, 1) → (B, H/2ⁿ, W/2ⁿ, O) for n + 1 groups. Sides must be multiples of 2ⁿ.
    pub fn forward<T: Tape<E, D>>(&self, x: Map<Const<3>, E, D, T>) -> Result<Map<O, E, D, T>, D::Err> {
        let x = self.group_1.forward(self.input.forward(x, Input::Picture)?)?;
        let Some(group_2) = self.group_2.first() else { return self.read_out(x) };
        let x = group_2.forward(D::max_pool(x)?)?;
        let Some(group_3) = self.group_3.first() else { return self.read_out(x) };
        let x = group_3.forward(D::max_pool(x)?)?;
        let Some(group_4) = self.group_4.first() else { return self.read_out(x) };
        self.read_out(group_4.forward(D::max_pool(x)?)?)
    }

    /// ReLU, 1×1. Which group was the last, and so C, is a constant of the preset that the types of the groups do not show.
    fn read_out<C: ConstDim, T: Tape<E, D>>(&self, x: Map<C, E, D, T>) -> Result<Map<O, E, D, T>, D::Err> {
        self.output.forward(retyped(x), Input::Relu)
    }
}
