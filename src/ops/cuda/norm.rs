//! Layer norm, a block a row: norm.cu.

use super::super::tape::slot;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::grids::Grid;
use dfdx::prelude::*;
use dfdx::tensor::CudaError;

/// The widest rows that the kernel's registers hold.
pub(super) const WIDEST: usize = 4096;

/// Rows of as many values as `gain` has.
pub(super) fn layer_norm<S: Shape, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    x: Tensor<S, f32, Cuda, T>,
    gain: Tensor<[usize; 1], f32, Cuda>,
    bias: Tensor<[usize; 1], f32, Cuda>,
    epsilon: f64,
) -> Result<Tensor<S, f32, Cuda, T>, CudaError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let (gain, bias) = (gain.try_contiguous()?, bias.try_contiguous()?);
    let [columns] = *gain.shape();
    let rows = x.shape().num_elements() / columns;
    let (mean, rstd) = (gpu.memory::<f32>(rows)?, gpu.memory::<f32>(rows)?);
    let (x_at, y, y_at) = gpu.beside(&x)?;
    let tensors = [x_at.into(), gpu.address(&gain)?.into(), gpu.address(&bias)?.into(), y_at.into()];
    let kept = [(&mean).into(), (&rstd).into(), columns.into(), (epsilon as f32).into()];
    gpu.launch(("norm", "norm_forward"), Grid::row_blocks(rows, columns), &[tensors, kept].concat())?;
    let (x_slot, gain_slot, bias_slot, y_slot) = (slot(&x), slot(&gain), slot(&bias), slot(&y));
    tape.add_backward_op(move |grads| {
        let grid = Grid::norm_backward(rows, columns);
        let blocks = grid.blocks[0] as usize;
        let parts = gpu.memory::<f32>(2 * blocks * columns)?;
        let (dy, dx) = (y_slot.address(grads)?, x_slot.address(grads)?);
        let tensors = [dy.into(), gpu.address(&x)?.into(), gpu.address(&gain)?.into(), (&mean).into(), (&rstd).into()];
        let rest = [dx.into(), (&parts).into(), rows.into(), columns.into()];
        gpu.launch(("norm", "norm_backward"), grid, &[&tensors[..], &rest].concat())?;
        let (dgain, dbias) = (gain_slot.address(grads)?, bias_slot.address(grads)?);
        let parameters = [(&parts).into(), dgain.into(), dbias.into(), blocks.into(), columns.into()];
        gpu.launch(("norm", "norm_backward_sums"), Grid::norm_backward_sums(columns), &parameters)
    });
    Ok(y.put_tape(tape))
}
