//! `Linear`, `LayerNorm` and `Conv` over `Dim` types.

use super::incremental::Norm;
use super::module::{Init, Role};
use crate::kernels::Real;
use crate::kernels::cpu::packed::{Packed, Precision};
use crate::ops::{Activation, ConvOp, Input, LinearOp, NormOp, to_vec};
use crate::shape::Rows;
use dfdx::prelude::{Const, ConstDim, Dim, Tape, Tensor};

/// Layer norms' ε, in all the published models.
const EPSILON: f64 = 1e-5;

crate::module! {
    /// y = x·weightᵀ + bias. Parameters: weight (O, I), bias (O,). Its owner says how the weight starts; the bias is 0.
    pub struct Linear<I: ConstDim, O: ConstDim> (weight_init: Init) {
        /// (O, I)
        pub weight: Tensor<(O, I), E, D> = "weight", (Role::Matrix, weight_init);
        /// (O,)
        pub bias: Tensor<(O,), E, D> = "bias", (Role::Bias, Init::Constant(0.0));
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

crate::module! {
    /// Layer normalisation of the last axis. Parameters: weight (C,), bias (C,).
    pub struct LayerNorm<C: ConstDim> {
        /// The gain, (C,).
        pub weight: Tensor<(C,), E, D> = "weight", (Role::Gain, Init::Constant(1.0));
        /// (C,)
        pub bias: Tensor<(C,), E, D> = "bias", (Role::Bias, Init::Constant(0.0));
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

crate::module! {
    /// A same-padded convolution with a K×K kernel. Parameters: w (O, I, K, K), normal with standard deviation 1/√(I·K²) (as
    /// the released dVAE's), b (O,), 0.
    pub struct Conv<I: ConstDim, O: ConstDim; const K> {
        /// (O, I, K, K)
        pub w: Tensor<(O, I, Const<K>, Const<K>), E, D> =
            "w", (Role::Matrix, Init::Normal(1.0 / ((I::SIZE * K * K) as f64).sqrt()));
        /// (O,)
        pub b: Tensor<(O,), E, D> = "b", (Role::Bias, Init::Constant(0.0));
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
