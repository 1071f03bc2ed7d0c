//! The decoder: 1×1 from the codes (the codebook), up to four groups with nearest upsampling between them, ReLU, 1×1 to the
//! six statistics.

use super::block::Group;
use super::{Map, Stats};
use crate::kernels::Real;
use crate::nn::Conv;
use crate::ops::{Backend, Input, retyped};
use crate::shape::{DvaeShape, Groups};
use dfdx::prelude::{Const, ConstDim, Tape};

type First<S> = <S as DvaeShape>::Up;
type Second<S> = <First<S> as Groups>::Rest;
type Third<S> = <Second<S> as Groups>::Rest;
type Fourth<S> = <Third<S> as Groups>::Rest;
type Channels<G> = <G as Groups>::Channels;
type DecoderGroup<S, I, G, E, D> = Group<S, I, G, 1, 3, E, D>;

crate::module! {
    /// Codebook vectors to the statistics of a picture: what the decoders of the dVAE and the VQ-VAE share.
    /// Groups past the preset's count are empty.
    pub struct Trunk<S: DvaeShape> {
        /// At the grid's resolution.
        pub group_1: DecoderGroup<S, S::Init, First<S>, E, D> = "group_1";
        /// At twice that, and so on.
        pub group_2: Vec<DecoderGroup<S, Channels<First<S>>, Second<S>, E, D>> =>
            (S::Up::COUNT >= 2).then_some("group_2");
        /// At four times.
        pub group_3: Vec<DecoderGroup<S, Channels<Second<S>>, Third<S>, E, D>> =>
            (S::Up::COUNT >= 3).then_some("group_3");
        /// At eight times.
        pub group_4: Vec<DecoderGroup<S, Channels<Third<S>>, Fourth<S>, E, D>> =>
            (S::Up::COUNT >= 4).then_some("group_4");
        /// 1×1, after a ReLU.
        pub output: Conv<<First<S> as Groups>::Last, Const<6>, 1, E, D> = "output.conv";
    }
}

impl<S: DvaeShape, E: Real, D: Backend<E>> Trunk<S, E, D> {
    /// Shapes: z (B, h, w, Init) → (B, h·2ⁿ, w·2ⁿ, 6) for n + 1 groups.
    pub fn forward<T: Tape<E, D>>(&self, z: Map<S::Init, E, D, T>) -> Result<Stats<E, D, T>, D::Err> {
        let x = self.group_1.forward(z)?;
        let Some(group_2) = self.group_2.first() else { return self.read_out(x) };
        let x = group_2.forward(D::upsample(x)?)?;
        let Some(group_3) = self.group_3.first() else { return self.read_out(x) };
        let x = group_3.forward(D::upsample(x)?)?;
        let Some(group_4) = self.group_4.first() else { return self.read_out(x) };
        self.read_out(group_4.forward(D::upsample(x)?)?)
    }

    /// ReLU, 1×1. Which group was the last, and so C, is a constant of the preset that the types of the groups do not show.
    fn read_out<C: ConstDim, T: Tape<E, D>>(&self, x: Map<C, E, D, T>) -> Result<Stats<E, D, T>, D::Err> {
        self.output.forward(retyped(x), Input::Relu)
    }
}

crate::module! {
    /// Codes, relaxed or one-hot, to the statistics (μ, ln b) of a picture.
    pub struct Decoder<S: DvaeShape> {
        /// The codebook.
        pub input: Conv<S::Codes, S::Init, 1, E, D> = "blocks.input";
        /// Codebook vectors to statistics.
        pub trunk: Trunk<S, E, D> = "blocks";
    }
}

impl<S: DvaeShape, E: Real, D: Backend<E>> Decoder<S, E, D> {
    /// Shapes: z (B, h, w, Codes) → (B, h·2ⁿ, w·2ⁿ, 6).
    pub fn forward<T: Tape<E, D>>(&self, z: Map<S::Codes, E, D, T>) -> Result<Stats<E, D, T>, D::Err> {
        self.trunk.forward(self.input.forward(z, Input::Linear)?)
    }
}
