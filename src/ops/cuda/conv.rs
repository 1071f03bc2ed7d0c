//! Convolution as products of gathered tiles: conv.cu.

use super::super::Input;
use super::super::tape::slot;
use super::linear::column_sums;
use crate::kernels::MatmulPrecision;
use crate::kernels::cuda::gpu::{Gpu, Parameter};
use crate::kernels::cuda::grids::{Grid, depth_parts, tile_side};
use cudarc::driver::CudaSlice;
use dfdx::prelude::*;
use dfdx::tensor::CudaError;

/// (B, H, W, I) to (B, H, W, O), of w (O, I, K, K) and b (O).
pub(super) fn conv2d<T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    x: Tensor<[usize; 4], f32, Cuda, T>,
    w: Tensor<[usize; 4], f32, Cuda>,
    b: Tensor<[usize; 1], f32, Cuda>,
    input: Input,
) -> Result<Tensor<[usize; 4], f32, Cuda, T>, CudaError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let (w, b) = (w.try_contiguous()?, b.try_contiguous()?);
    let ([batch, height, width, inputs], [outputs, _, kernel, _]) = (*x.shape(), *w.shape());
    let pixels = batch * height * width;
    let sizes = [pixels, height, width, inputs, outputs, kernel, usize::from(input == Input::Relu)];
    let (y, y_at) = gpu.zeros(x.device(), [batch, height, width, outputs])?;
    let packed = pack(gpu, &w, false)?;
    let tensors = [gpu.address(&x)?.into(), (&packed).into(), gpu.address(&b)?.into(), y_at.into()];
    product(gpu, FORWARD, [pixels, outputs], 1, &tensors, sizes)?;
    let (x_slot, w_slot, b_slot, y_slot) = (slot(&x), slot(&w), slot(&b), slot(&y));
    tape.add_backward_op(move |grads| {
        let dy = y_slot.address(grads)?;
        if input != Input::Picture {
            let turned = pack(gpu, &w, true)?;
            let dx = x_slot.address(grads)?;
            let tensors = [dy.into(), (&turned).into(), gpu.address(&x)?.into(), dx.into()];
            product(gpu, INPUT, [pixels, inputs], 1, &tensors, sizes)?;
        }
        let matrix = [outputs, kernel * kernel * fours(inputs)];
        let count = depth_parts(matrix, pixels);
        let parts = gpu.memory::<f32>(count * matrix[0] * matrix[1])?;
        product(gpu, WEIGHT, matrix, count, &[dy.into(), gpu.address(&x)?.into(), (&parts).into()], sizes)?;
        let dw = w_slot.address(grads)?;
        let parameters = [(&parts).into(), dw.into(), count.into(), outputs.into(), inputs.into(), kernel.into()];
        gpu.launch(("conv", "conv_add"), Grid::values(matrix[0] * matrix[1]), &parameters)?;
        column_sums(gpu, dy, b_slot.address(grads)?, pixels, outputs)
    });
    Ok(y.put_tape(tape))
}

/// Channels, as the kernels pad them.
fn fours(channels: usize) -> usize {
    channels.next_multiple_of(4)
}

/// w (O, I, K, K) as (O, K², I) or, turned by 180° for the gradient of x, (I, K², O).
fn pack(gpu: &Gpu, w: &Tensor<[usize; 4], f32, Cuda>, turned: bool) -> Result<CudaSlice<f32>, CudaError> {
    let [outputs, inputs, kernel, _] = *w.shape();
    let (lines, channels) = if turned { (inputs, outputs) } else { (outputs, inputs) };
    let length = lines * kernel * kernel * fours(channels);
    let packed = gpu.memory::<f32>(length)?;
    let sizes = [outputs.into(), inputs.into(), kernel.into(), usize::from(turned).into()];
    let tensors = [gpu.address(w)?.into(), (&packed).into()];
    gpu.launch(("conv", "conv_pack"), Grid::values(length), &[&tensors[..], &sizes].concat())?;
    Ok(packed)
}

/// A pass's kernels for tiles of 64 and of 128: exact, then in TF32.
type Kernels = [[&'static str; 2]; 2];

const FORWARD: Kernels = [["conv_forward_64_exact", "conv_forward_128_exact"], ["conv_forward_64", "conv_forward_128"]];
const INPUT: Kernels = [["conv_input_64_exact", "conv_input_128_exact"], ["conv_input_64", "conv_input_128"]];
const WEIGHT: Kernels = [["conv_weight_64_exact", "conv_weight_128_exact"], ["conv_weight_64", "conv_weight_128"]];

/// A pass, as the product of that many parts that it is.
fn product(
    gpu: &Gpu,
    kernels: Kernels,
    matrix: [usize; 2],
    parts: usize,
    tensors: &[Parameter],
    sizes: [usize; 7],
) -> Result<(), CudaError> {
    let side = tile_side(matrix, parts);
    let name = kernels[usize::from(gpu.products() != MatmulPrecision::F32)][usize::from(side == 128)];
    gpu.launch(("conv", name), Grid::tiles(matrix, side, parts), &[tensors, &sizes.map(Parameter::from)].concat())
}
