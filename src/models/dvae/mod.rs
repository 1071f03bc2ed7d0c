//! The discrete VAE (paper §2.1, A.1–A.3): pictures to a grid of codes and back.
//!
//! Encoder → logits over the codes at each grid position → (relaxed or one-hot) codes → decoder → μ and ln b of the
//! logit-Laplace. No normalisation layers, ReLU only, residual blocks scaled by a post-gain; parameter names are those of
//! the released checkpoints. Legend: B batch, H and W sides, C channels.

mod block;
mod decoder;
mod encoder;

pub use decoder::{Decoder, Trunk};
pub use encoder::Encoder;

use crate::kernels::Real;
use crate::nn::Init;
use crate::ops::{Backend, argmax_rows};
use crate::shape::{DvaeShape, Groups, Side};
use dfdx::nn::{ModuleVisitor, TensorCollection};
use dfdx::prelude::{Const, Device, Dim, Dtype, NoneTape, Storage, Tensor};

/// ε of the map φ(x) = (1−2ε)x + ε that keeps pictures off 0 and 1 (paper A.3).
pub const EPSILON: f64 = 0.1;

/// The grid of an encoder over a picture of sides `H` and `W`.
pub type Grid<S, X> = <<S as DvaeShape>::Down as Groups>::Down<X>;
/// The side of a decoder's picture over a grid of side `X`.
pub type Picture<S, X> = <<S as DvaeShape>::Up as Groups>::Up<X>;

/// Encoder and decoder.
#[derive(Debug, Clone)]
pub struct Dvae<S: DvaeShape, E: Dtype, D: Storage<E>> {
    /// Pictures to logits.
    pub encoder: Encoder<S, S::Codes, E, D>,
    /// Codes to distributions of pictures.
    pub decoder: Decoder<S, E, D>,
}

impl<S: DvaeShape, E: Dtype, D: Device<E>> TensorCollection<E, D> for Dvae<S, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Dvae<S, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let () = S::CHECK;
        visitor.visit_fields(
            (
                Self::module("encoder", |s| &s.encoder, |s| &mut s.encoder),
                Self::module("decoder", |s| &s.decoder, |s| &mut s.decoder),
            ),
            |(encoder, decoder)| Dvae { encoder, decoder },
        )
    }
}

impl<S: DvaeShape, E: Real, D: Backend<E>> Dvae<S, E, D> {
    /// The codes of pictures: argmax of the encoder's logits, no noise (paper, footnote 6). x (B, H, W, 3) → B·grid² ids.
    pub fn encode<B: Dim, H: Side, W: Side>(&self, x: Tensor<(B, H, W, Const<3>), E, D>) -> Result<Vec<u32>, D::Err> {
        argmax_rows::<(B, Grid<S, H>, Grid<S, W>, S::Codes), S::Codes, E, D>(self.encoder.forward(x)?)
    }

    /// Statistics (μ, ln b) of the pictures of `codes`, B·h·w ids in raster order → (B, H, W, 6).
    #[allow(clippy::type_complexity)] // the shape is the documentation
    pub fn decode<B: Dim, H: Side, W: Side>(
        &self,
        codes: &[u32],
        (batch, height, width): (B, H, W),
        device: &D,
    ) -> Result<Tensor<(B, Picture<S, H>, Picture<S, W>, Const<6>), E, D>, D::Err> {
        let vocabulary = <S::Codes as dfdx::shapes::ConstDim>::SIZE;
        let mut one_hot = vec![E::zero(); codes.len() * vocabulary];
        for (position, &code) in codes.iter().enumerate() {
            one_hot[position * vocabulary + code as usize] = E::one();
        }
        let z = device.try_tensor_from_vec(one_hot, (batch, height, width, S::Codes::default()))?;
        self.decoder.forward::<B, H, W, NoneTape>(z)
    }
}

/// Every weight normal with standard deviation 1/√(n_in·k²), every bias 0 (the released code: `Conv2d` of openai/DALL-E).
pub fn init(name: &str, shape: &[usize]) -> Init {
    if name.ends_with(".w") {
        Init::Normal(1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt())
    } else {
        Init::Constant(0.0)
    }
}

/// φ: pictures in [0, 1] to the open interval that the logit-Laplace lives on.
pub fn squash<E: Real>(pixels: &[impl Copy + Into<f64>]) -> Vec<E> {
    pixels.iter().map(|&x| E::of((1.0 - 2.0 * EPSILON) * x.into() + EPSILON)).collect()
}

/// φ⁻¹ clamped to [0, 1].
pub fn unsquash(x: f64) -> f64 {
    ((x - EPSILON) / (1.0 - 2.0 * EPSILON)).clamp(0.0, 1.0)
}

/// φ⁻¹(sigmoid(μ)): the picture of the statistics (B, H, W, 6) → B·H·W·3 values; ln b is ignored (A.3).
pub fn reconstruction<E: Real>(stats: &[E]) -> Vec<E> {
    let pixel = |mu: E| E::of(unsquash(1.0 / (1.0 + (-mu.as_f64()).exp())));
    stats.chunks(6).flat_map(|maps| maps[..3].iter().map(|&mu| pixel(mu))).collect()
}
