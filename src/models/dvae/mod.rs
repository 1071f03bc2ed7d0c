//! The discrete VAE (paper §2.1, A.1–A.3): pictures to a grid of codes and back.
//!
//! Encoder → logits over the codes at each grid position → (relaxed or one-hot) codes → decoder → μ and ln b of the
//! logit-Laplace. No normalisation layers, ReLU only, residual blocks scaled by a post-gain; parameter names and
//! initialisation are those of the released checkpoints and their code. Legend: B batch, H and W sides, C channels.

mod block;
mod decoder;
mod encoder;

pub use decoder::{Decoder, Trunk};
pub use encoder::Encoder;

use crate::kernels::Real;
use crate::ops::{Backend, argmax_rows};
use crate::shape::DvaeShape;
use dfdx::prelude::{Const, NoneTape, Tensor};

/// ε of the map φ(x) = (1−2ε)x + ε that keeps pictures off 0 and 1 (paper A.3).
pub const EPSILON: f64 = 0.1;

/// Feature maps or pictures, (B, H, W, C): channels are types, sides run-time numbers. A preset's check relates the sides of its
/// pictures and its grid.
pub type Map<C, E, D, T> = Tensor<(usize, usize, usize, C), E, D, T>;
/// Statistics of pictures: μ and ln b of each channel, (B, H, W, 6).
pub type Stats<E, D, T> = Map<Const<6>, E, D, T>;

crate::module! {
    /// Encoder and decoder.
    pub struct Dvae<S: DvaeShape> check S::CHECK, {
        /// Pictures to logits.
        pub encoder: Encoder<S, S::Codes, E, D> = "encoder";
        /// Codes to distributions of pictures.
        pub decoder: Decoder<S, E, D> = "decoder";
    }
}

impl<S: DvaeShape, E: Real, D: Backend<E>> Dvae<S, E, D> {
    /// The codes of pictures: argmax of the encoder's logits, no noise (paper, footnote 6). x (B, H, W, 3) → B·h·w ids.
    pub fn encode(&self, x: Map<Const<3>, E, D, NoneTape>) -> Result<Vec<u32>, D::Err> {
        argmax_rows(self.encoder.forward(x)?)
    }

    /// Statistics of the pictures of `codes`, B·h·w ids in raster order → (B, H, W, 6).
    pub fn decode(
        &self,
        codes: &[u32],
        [batch, height, width]: [usize; 3],
        device: &D,
    ) -> Result<Stats<E, D, NoneTape>, D::Err> {
        let vocabulary = <S::Codes as dfdx::shapes::ConstDim>::SIZE;
        let mut one_hot = vec![E::zero(); codes.len() * vocabulary];
        for (position, &code) in codes.iter().enumerate() {
            one_hot[position * vocabulary + code as usize] = E::one();
        }
        let z = device.try_tensor_from_vec(one_hot, (batch, height, width, S::Codes::default()))?;
        self.decoder.forward(z)
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
