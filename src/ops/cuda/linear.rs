//! Linear maps: cuBLAS's products, then the bias and the nonlinearity in one pass; and nonlinearities alone (activation.cu).

use super::super::tape::slot;
use crate::kernels::cpu::activation::Activation;
use crate::kernels::cuda::gpu::{Address, Factor, Gpu};
use crate::kernels::cuda::grids::Grid;
use dfdx::prelude::*;
use dfdx::tensor::CudaError;

/// y (R, O) = f(x (R, I)·wᵀ + b), with y in `shape`.
pub(super) fn linear<X: Shape, Y: Shape, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    x: Tensor<X, f32, Cuda, T>,
    w: Tensor<[usize; 2], f32, Cuda>,
    b: Option<Tensor<[usize; 1], f32, Cuda>>,
    f: Option<Activation>,
    shape: Y,
) -> Result<Tensor<Y, f32, Cuda, T>, CudaError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let (w, b) = (w.try_contiguous()?, b.map(Tensor::try_contiguous).transpose()?);
    let [outputs, inputs] = *w.shape();
    let rows = shape.num_elements() / outputs;
    let (y, y_at) = gpu.zeros(x.device(), shape)?;
    let (of_x, of_w) = (Factor::of(gpu.address(&x)?), Factor::of(gpu.address(&w)?));
    // What the nonlinearity is taken of, for its derivative.
    let before = f.is_some().then(|| gpu.memory::<f32>(rows * outputs)).transpose()?;
    let before_at = before.as_ref().map_or(Address::NONE, Address::of);
    let product = if f.is_some() { before_at } else { y_at };
    gpu.product([rows, inputs, outputs], of_x, of_w.transposed(), product, false)?;
    if b.is_some() || f.is_some() {
        let bias = b.as_ref().map_or(Ok(Address::NONE), |b| gpu.address(b))?;
        let sizes = [rows.into(), outputs.into(), f.into()];
        let tensors = [product.into(), bias.into(), before_at.into(), y_at.into()];
        gpu.launch(
            ("activation", "bias_activation"),
            Grid::bias_activation(rows, outputs),
            &[&tensors[..], &sizes].concat(),
        )?;
    }
    let (x_slot, w_slot, b_slot, y_slot) = (slot(&x), slot(&w), b.as_ref().map(slot), slot(&y));
    tape.add_backward_op(move |grads| {
        let dy = y_slot.address(grads)?;
        // Only this closure reads the gradient of y: its memory can take that of the product.
        if let Some(before) = &before {
            let sizes = [(rows * outputs).into(), f.into(), 0usize.into()];
            let tensors = [dy.into(), before.into(), dy.into()];
            gpu.launch(
                ("activation", "activation_backward"),
                Grid::activation_backward(rows * outputs),
                &[&tensors[..], &sizes].concat(),
            )?;
        }
        let (x, w) = (Factor::of(gpu.address(&x)?), Factor::of(gpu.address(&w)?));
        gpu.product([rows, outputs, inputs], Factor::of(dy), w, x_slot.address(grads)?, true)?;
        gpu.product([outputs, rows, inputs], Factor::of(dy).transposed(), x, w_slot.address(grads)?, true)?;
        match b_slot {
            Some(b_slot) => column_sums(gpu, dy, b_slot.address(grads)?, rows, outputs),
            None => Ok(()),
        }
    });
    Ok(y.put_tape(tape))
}

/// y = f(x).
pub(super) fn activation<S: Shape, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    x: Tensor<S, f32, Cuda, T>,
    f: Activation,
) -> Result<Tensor<S, f32, Cuda, T>, CudaError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let (count, kind) = (x.shape().num_elements(), Some(f));
    let (x_at, y, y_at) = gpu.beside(&x)?;
    let none = Address::NONE;
    // One row: where columns end matters to a bias only.
    let tensors = [x_at.into(), none.into(), none.into(), y_at.into()];
    let sizes = [1usize.into(), count.into(), kind.into()];
    gpu.launch(("activation", "bias_activation"), Grid::bias_activation(1, count), &[&tensors[..], &sizes].concat())?;
    let (x_slot, y_slot) = (slot(&x), slot(&y));
    tape.add_backward_op(move |grads| {
        let (dy, dx) = (y_slot.address(grads)?, x_slot.address(grads)?);
        let parameters = [dy.into(), gpu.address(&x)?.into(), dx.into(), count.into(), kind.into(), 1usize.into()];
        gpu.launch(("activation", "activation_backward"), Grid::activation_backward(count), &parameters)
    });
    Ok(y.put_tape(tape))
}

/// sums (C) += the sums of the columns of x (R, C).
pub(super) fn column_sums(gpu: &Gpu, x: Address, sums: Address, rows: usize, columns: usize) -> Result<(), CudaError> {
    let grid = Grid::column_sums(rows, columns);
    let parts = grid.blocks[1] as usize;
    let pass = |grid: Grid, x: Address, sums: Address, rows: usize, add: usize| {
        let parameters = [x.into(), sums.into(), rows.into(), columns.into(), add.into()];
        gpu.launch(("activation", "column_sums"), grid, &parameters)
    };
    let partial = gpu.memory::<f32>(parts * columns)?;
    pass(grid, x, Address::of(&partial), rows, 0)?;
    pass(Grid { blocks: [grid.blocks[0], 1, 1], ..grid }, Address::of(&partial), sums, parts, 1)
}
