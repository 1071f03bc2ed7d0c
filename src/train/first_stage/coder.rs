//! A first stage with its weights fixed, for pictures of any size that its strides allow.

use super::PictureModel;
use crate::error::{Error, Result};
use crate::models::dvae::{Dvae, reconstruction, squash};
use crate::ops::{Backend, to_vec};
use crate::shape::DvaeShape;
use crate::train::stage::Codec;
use dfdx::prelude::{Const, ConstDim};
use std::marker::PhantomData;

/// A model and where it computes.
pub(super) struct Coder<S: DvaeShape, M, D> {
    pub model: M,
    device: D,
    shape: PhantomData<S>,
}

impl<S: DvaeShape, M, D> Coder<S, M, D> {
    pub fn new(model: M, device: D) -> Self {
        Coder { model, device, shape: PhantomData }
    }
}

/// A dVAE of weights from elsewhere.
pub fn coder<S: DvaeShape, D: Backend<f32>>(model: Dvae<S, f32, D>, device: D) -> impl Codec + use<S, D>
where
    Error: From<D::Err>,
{
    Coder::<S, _, D>::new(model, device)
}

impl<S: DvaeShape, M: PictureModel<S, D>, D: Backend<f32>> Codec for Coder<S, M, D>
where
    Error: From<D::Err>,
{
    fn stride(&self) -> usize {
        S::Side::SIZE / S::Grid::SIZE
    }

    fn vocabulary(&self) -> usize {
        S::Codes::SIZE
    }

    fn encode_any(&self, height: usize, width: usize, pixels: &[f32]) -> Result<(usize, usize, Vec<u32>)> {
        let x = self.device.try_tensor_from_vec(squash(pixels), (1usize, height, width, Const))?;
        Ok((height / self.stride(), width / self.stride(), self.model.encode(x)?))
    }

    fn decode_any(&self, height: usize, width: usize, codes: &[u32]) -> Result<(usize, usize, Vec<f32>)> {
        let stats = self.model.decode(codes, (1usize, height, width), &self.device)?;
        Ok((height * self.stride(), width * self.stride(), reconstruction(&to_vec(stats)?)))
    }
}
