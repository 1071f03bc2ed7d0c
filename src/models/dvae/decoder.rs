//! The decoder: 1×1 from the codes (the codebook), up to four groups with nearest upsampling between them, ReLU, 1×1 to the
//! six statistics.

use super::Picture;
use super::block::Group;
use crate::kernels::Real;
use crate::nn::Conv;
use crate::ops::{Backend, Input, retyped};
use crate::shape::{DvaeShape, Groups, Ranked, Side};
use dfdx::nn::{ModuleVisitor, TensorCollection};
use dfdx::prelude::{Const, Device, Dim, Dtype, Storage, Tape, Tensor};

type First<S> = <S as DvaeShape>::Up;
type Second<S> = <First<S> as Groups>::Rest;
type Third<S> = <Second<S> as Groups>::Rest;
type Fourth<S> = <Third<S> as Groups>::Rest;
type Channels<G> = <G as Groups>::Channels;
type DecoderGroup<S, I, G, E, D> = Group<S, I, G, 1, 3, E, D>;

/// Codebook vectors to the statistics of a picture: what the decoders of the dVAE and the VQ-VAE share.
/// Groups past the preset's count are empty.
#[derive(Debug, Clone)]
pub struct Trunk<S: DvaeShape, E: Dtype, D: Storage<E>> {
    /// At the grid's resolution.
    pub group_1: DecoderGroup<S, S::Init, First<S>, E, D>,
    /// At twice that, and so on.
    pub group_2: Vec<DecoderGroup<S, Channels<First<S>>, Second<S>, E, D>>,
    /// At four times.
    pub group_3: Vec<DecoderGroup<S, Channels<Second<S>>, Third<S>, E, D>>,
    /// At eight times.
    pub group_4: Vec<DecoderGroup<S, Channels<Third<S>>, Fourth<S>, E, D>>,
    /// 1×1, after a ReLU.
    pub output: Conv<<First<S> as Groups>::Last, Const<6>, 1, E, D>,
}

impl<S: DvaeShape, E: Dtype, D: Device<E>> TensorCollection<E, D> for Trunk<S, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Trunk<S, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let there = |group: usize| 0..usize::from(S::Up::COUNT >= group);
        visitor.visit_fields(
            (
                Self::module("group_1", |s| &s.group_1, |s| &mut s.group_1),
                there(2)
                    .map(|i| Self::module("group_2", move |s| &s.group_2[i], move |s| &mut s.group_2[i]))
                    .collect::<Vec<_>>(),
                there(3)
                    .map(|i| Self::module("group_3", move |s| &s.group_3[i], move |s| &mut s.group_3[i]))
                    .collect::<Vec<_>>(),
                there(4)
                    .map(|i| Self::module("group_4", move |s| &s.group_4[i], move |s| &mut s.group_4[i]))
                    .collect::<Vec<_>>(),
                Self::module("output.conv", |s| &s.output, |s| &mut s.output),
            ),
            |(group_1, group_2, group_3, group_4, output)| Trunk { group_1, group_2, group_3, group_4, output },
        )
    }
}

type Stats<S, B, H, W, E, D, T> = Tensor<(B, Picture<S, H>, Picture<S, W>, Const<6>), E, D, T>;

impl<S: DvaeShape, E: Real, D: Backend<E>> Trunk<S, E, D> {
    /// Shapes: z (B, h, w, Init) → (B, h·2ⁿ, w·2ⁿ, 6) for n + 1 groups.
    pub fn forward<B: Dim, H: Side, W: Side, T: Tape<E, D>>(
        &self,
        z: Tensor<(B, H, W, S::Init), E, D, T>,
    ) -> Result<Stats<S, B, H, W, E, D, T>, D::Err> {
        let x = self.group_1.forward(z)?;
        let Some(group_2) = self.group_2.first() else { return self.read_out::<B, H, W, _, _>(x) };
        let x = group_2.forward(D::upsample(x)?)?;
        let Some(group_3) = self.group_3.first() else { return self.read_out::<B, H, W, _, _>(x) };
        let x = group_3.forward(D::upsample(x)?)?;
        let Some(group_4) = self.group_4.first() else { return self.read_out::<B, H, W, _, _>(x) };
        self.read_out::<B, H, W, _, _>(group_4.forward(D::upsample(x)?)?)
    }

    /// ReLU, 1×1. Which group was the last is a constant of the preset that the types of the groups do not show.
    fn read_out<B: Dim, H: Side, W: Side, Q: Ranked<Sides = [usize; 4]>, T: Tape<E, D>>(
        &self,
        x: Tensor<Q, E, D, T>,
    ) -> Result<Stats<S, B, H, W, E, D, T>, D::Err> {
        let x: Tensor<(usize, usize, usize, <First<S> as Groups>::Last), E, D, T> = retyped(x);
        Ok(retyped(self.output.forward(x, Input::Relu)?))
    }
}

/// Codes, relaxed or one-hot, to the statistics (μ, ln b) of a picture.
#[derive(Debug, Clone)]
pub struct Decoder<S: DvaeShape, E: Dtype, D: Storage<E>> {
    /// The codebook.
    pub input: Conv<S::Codes, S::Init, 1, E, D>,
    /// Codebook vectors to statistics.
    pub trunk: Trunk<S, E, D>,
}

impl<S: DvaeShape, E: Dtype, D: Device<E>> TensorCollection<E, D> for Decoder<S, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Decoder<S, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("blocks.input", |s| &s.input, |s| &mut s.input),
                Self::module("blocks", |s| &s.trunk, |s| &mut s.trunk),
            ),
            |(input, trunk)| Decoder { input, trunk },
        )
    }
}

impl<S: DvaeShape, E: Real, D: Backend<E>> Decoder<S, E, D> {
    /// Shapes: z (B, h, w, Codes) → (B, h·2ⁿ, w·2ⁿ, 6).
    pub fn forward<B: Dim, H: Side, W: Side, T: Tape<E, D>>(
        &self,
        z: Tensor<(B, H, W, S::Codes), E, D, T>,
    ) -> Result<Stats<S, B, H, W, E, D, T>, D::Err> {
        self.trunk.forward(self.input.forward(z, Input::Linear)?)
    }
}
