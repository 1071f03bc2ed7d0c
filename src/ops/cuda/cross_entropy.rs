//! Softmax cross-entropy, a block a row: cross_entropy.cu.

use super::super::tape::slot;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::grids::Grid;
use dfdx::prelude::*;
use dfdx::tensor::CudaError;

/// The loss of each row of logits (R, V).
pub(super) fn cross_entropy<S: Shape, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    logits: Tensor<S, f32, Cuda, T>,
    targets: &[u32],
) -> Result<Tensor<(usize,), f32, Cuda, T>, CudaError> {
    let (x, mut tape) = logits.try_contiguous()?.split_tape();
    let rows = targets.len();
    let vocabulary = x.shape().num_elements() / rows;
    let targets = gpu.copy(targets.to_vec())?;
    let (y, y_at) = gpu.zeros(x.device(), (rows,))?;
    let lse = gpu.memory::<f32>(rows)?;
    let grid = Grid::row_blocks(rows, vocabulary);
    let parameters = [gpu.address(&x)?.into(), (&targets).into(), y_at.into(), (&lse).into(), vocabulary.into()];
    gpu.launch(("cross_entropy", "cross_entropy_forward"), grid, &parameters)?;
    let (x_slot, y_slot) = (slot(&x), slot(&y));
    tape.add_backward_op(move |grads| {
        let (dy, dx) = (y_slot.address(grads)?, x_slot.address(grads)?);
        let inputs = [dy.into(), gpu.address(&x)?.into(), (&targets).into(), (&lse).into()];
        let parameters = [&inputs[..], &[dx.into(), vocabulary.into()]].concat();
        gpu.launch(("cross_entropy", "cross_entropy_backward"), grid, &parameters)
    });
    Ok(y.put_tape(tape))
}
