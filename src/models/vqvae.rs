//! The alternative first stage: a VQ-VAE (arXiv 1711.00937) with the dVAE's encoder and decoder around a nearest-code
//! quantiser, so that the two differ in nothing but the bottleneck.

use super::dvae::{Encoder, Map, Stats, Trunk};
use crate::kernels::Real;
use crate::nn::{Init, Role};
use crate::ops::{ABSENT, Backend, nearest_rows, to_vec};
use crate::shape::DvaeShape;
use dfdx::prelude::*;

crate::module! {
    /// Encoder, codebook, decoder. Parameters: codebook (V, Init), normal with standard deviation 1/√Init, so that a code's
    /// length is about 1.
    pub struct Vqvae<S: DvaeShape> check S::CHECK, {
        encoder: Encoder<S, S::Init, E, D> = "encoder";
        codebook: Tensor<(S::Codes, S::Init), E, D> =
            "quantize.embed.weight", (Role::Embedding, Init::Normal(1.0 / (S::Init::SIZE as f64).sqrt()));
        decoder: Trunk<S, E, D> = "decoder.blocks";
    }
}

/// What a training step of the VQ-VAE needs: statistics (B, H, W, 6), codes, and per picture the two quantisation losses.
pub struct Quantised<E: Dtype, D: Storage<E>, T> {
    /// μ and ln b of the picture.
    pub stats: Stats<E, D, T>,
    /// Σ‖sg(z) − e‖² over the batch: moves the codes.
    pub codebook_loss: Tensor<(), E, D, T>,
    /// Σ‖z − sg(e)‖² over the batch: holds the encoder to its codes.
    pub commitment_loss: Tensor<(), E, D, T>,
    /// The nearest codes.
    pub codes: Vec<u32>,
}

impl<S: DvaeShape, E: Real, D: Backend<E>> Vqvae<S, E, D> {
    /// Quantises with straight-through gradients. x (B, H, W, 3), values φ(pixels).
    pub fn forward<T: Tape<E, D>>(&self, x: Map<Const<3>, E, D, T>) -> Result<Quantised<E, D, T>, D::Err> {
        let z = self.encoder.forward(x)?;
        let shape = *z.shape();
        let device = z.with_empty_tape().split_tape().0.device().clone();
        let plain = z.with_empty_tape().split_tape().0;
        let codes = nearest_rows(plain.clone(), &self.codebook)?;
        let e = D::gather_rows(self.codebook.retaped::<T>(), &codes, shape)?;
        let (e_values, z_values) = (to_vec(e.with_empty_tape().split_tape().0)?, to_vec(plain)?);
        let constant = |values: Vec<E>| device.try_tensor_from_vec(values, shape);
        let square = |a: Tensor<_, E, D, T>, b: Vec<E>| -> Result<Tensor<(), E, D, T>, D::Err> {
            a.try_sub(constant(b)?)?.try_square()?.try_sum()
        };
        let codebook_loss = square(e, z_values.clone())?;
        let commitment_loss = square(z.with_empty_tape(), e_values.clone())?;
        // Straight-through: the value of e, the gradient of z.
        let gap = e_values.iter().zip(&z_values).map(|(&e, &z)| e - z).collect();
        let through = D::add_scaled(z, constant(gap)?.retaped::<T>(), 1.0)?;
        let stats = self.decoder.forward(through)?;
        Ok(Quantised { stats, codebook_loss, commitment_loss, codes })
    }

    /// The nearest codes of pictures. x (B, H, W, 3) → B·h·w ids.
    pub fn encode(&self, x: Map<Const<3>, E, D, NoneTape>) -> Result<Vec<u32>, D::Err> {
        nearest_rows(self.encoder.forward(x)?, &self.codebook)
    }

    /// Statistics of the pictures of `codes`, as [`Dvae::decode`](super::dvae::Dvae::decode).
    pub fn decode(&self, codes: &[u32], [batch, height, width]: [usize; 3]) -> Result<Stats<E, D, NoneTape>, D::Err> {
        debug_assert!(codes.iter().all(|&code| code != ABSENT));
        let shape = (batch, height, width, S::Init::default());
        self.decoder.forward(D::gather_rows(self.codebook.clone(), codes, shape)?)
    }
}
