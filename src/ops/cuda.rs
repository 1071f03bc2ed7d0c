//! Every operation on an NVIDIA GPU: so far each one's composition of dfdx operations.

use super::*;
use dfdx::tensor::Cuda;

impl ActivationOp<f32> for Cuda {}
impl AttentionOp<f32> for Cuda {}
impl ConvOp<f32> for Cuda {}
impl CrossEntropyOp<f32> for Cuda {}
impl GatherOp<f32> for Cuda {}
impl GumbelOp<f32> for Cuda {}
impl LaplaceOp<f32> for Cuda {}
impl LinearOp<f32> for Cuda {}
impl NormOp<f32> for Cuda {}
impl PoolOp<f32> for Cuda {}
impl SumOp<f32> for Cuda {}
