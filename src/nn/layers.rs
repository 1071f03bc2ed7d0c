//! `Linear`, `LayerNorm` and `Conv` over `Dim` types.

use super::incremental::Norm;
use crate::kernels::Real;
use crate::kernels::cpu::packed::{Packed, Precision};
use crate::ops::{Activation, ConvOp, Input, LinearOp, NormOp, to_vec};
use crate::shape::Rows;
use dfdx::nn::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::prelude::{Const, ConstDim, Device, Dim, Dtype, Storage, Tape, Tensor};

/// Layer norms' ε, in all the published models.
const EPSILON: f64 = 1e-5;

/// y = x·weightᵀ + bias. Parameters: weight (O, I), bias (O,).
#[derive(Debug, Clone)]
pub struct Linear<I: ConstDim, O: ConstDim, E: Dtype, D: Storage<E>> {
    /// (O, I)
    pub weight: Tensor<(O, I), E, D>,
    /// (O,)
    pub bias: Tensor<(O,), E, D>,
}

impl<I: ConstDim, O: ConstDim, E: Dtype, D: Device<E>> TensorCollection<E, D> for Linear<I, O, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Linear<I, O, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, TensorOptions::reset_to_zeros()),
                Self::tensor("bias", |s| &s.bias, |s| &mut s.bias, TensorOptions::reset_to_zeros()),
            ),
            |(weight, bias)| Linear { weight, bias },
        )
    }
}

impl<I: ConstDim, O: ConstDim, E: Real, D: LinearOp<E>> Linear<I, O, E, D> {
    /// Shapes: x (…, I) → (…, O).
    pub fn forward<S: Rows<I>, T: Tape<E, D>>(
        &self,
        x: Tensor<S, E, D, T>,
    ) -> Result<Tensor<S::With<O>, E, D, T>, D::Err> {
        D::linear(x, &self.weight, Some(&self.bias), None)
    }

    /// f of [`Linear::forward`]. Shapes: x (…, I) → (…, O).
    pub fn activated<S: Rows<I>, T: Tape<E, D>>(
        &self,
        x: Tensor<S, E, D, T>,
        f: Activation,
    ) -> Result<Tensor<S::With<O>, E, D, T>, D::Err> {
        D::linear(x, &self.weight, Some(&self.bias), Some(f))
    }

    /// As sampling reads it.
    pub fn packed(&self, precision: Precision) -> Result<Packed<E>, D::Err> {
        Ok(Packed::new(to_vec(self.weight.clone())?, to_vec(self.bias.clone())?, I::SIZE, precision))
    }
}

/// Layer normalisation of the last axis. Parameters: weight (C,), bias (C,).
#[derive(Debug, Clone)]
pub struct LayerNorm<C: ConstDim, E: Dtype, D: Storage<E>> {
    /// The gain, (C,).
    pub weight: Tensor<(C,), E, D>,
    /// (C,)
    pub bias: Tensor<(C,), E, D>,
}

impl<C: ConstDim, E: Dtype, D: Device<E>> TensorCollection<E, D> for LayerNorm<C, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = LayerNorm<C, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, TensorOptions::reset_to_ones()),
                Self::tensor("bias", |s| &s.bias, |s| &mut s.bias, TensorOptions::reset_to_zeros()),
            ),
            |(weight, bias)| LayerNorm { weight, bias },
        )
    }
}

impl<C: ConstDim, E: Real, D: NormOp<E>> LayerNorm<C, E, D> {
    /// Shapes: x (…, C) → (…, C).
    pub fn forward<S: Rows<C>, T: Tape<E, D>>(&self, x: Tensor<S, E, D, T>) -> Result<Tensor<S, E, D, T>, D::Err> {
        D::layer_norm(x, &self.weight, &self.bias, EPSILON)
    }

    /// As sampling reads it.
    pub fn packed(&self) -> Result<Norm<E>, D::Err> {
        Ok(Norm { gain: to_vec(self.weight.clone())?, bias: to_vec(self.bias.clone())?, epsilon: EPSILON })
    }
}

/// A same-padded convolution with a K×K kernel. Parameters: w (O, I, K, K), b (O,).
#[derive(Debug, Clone)]
pub struct Conv<I: ConstDim, O: ConstDim, const K: usize, E: Dtype, D: Storage<E>> {
    /// (O, I, K, K)
    pub w: Tensor<(O, I, Const<K>, Const<K>), E, D>,
    /// (O,)
    pub b: Tensor<(O,), E, D>,
}

impl<I: ConstDim, O: ConstDim, const K: usize, E: Dtype, D: Device<E>> TensorCollection<E, D> for Conv<I, O, K, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = Conv<I, O, K, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor("w", |s| &s.w, |s| &mut s.w, TensorOptions::reset_to_zeros()),
                Self::tensor("b", |s| &s.b, |s| &mut s.b, TensorOptions::reset_to_zeros()),
            ),
            |(w, b)| Conv { w, b },
        )
    }
}

impl<I: ConstDim, O: ConstDim, const K: usize, E: Real, D: ConvOp<E>> Conv<I, O, K, E, D> {
    /// Shapes: x (B, H, W, I) → (B, H, W, O).
    #[allow(clippy::type_complexity)] // the shape is the documentation
    pub fn forward<B: Dim, H: Dim, W: Dim, T: Tape<E, D>>(
        &self,
        x: Tensor<(B, H, W, I), E, D, T>,
        input: Input,
    ) -> Result<Tensor<(B, H, W, O), E, D, T>, D::Err> {
        D::conv2d(x, &self.w, &self.b, input)
    }
}
