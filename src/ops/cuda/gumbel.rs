//! The Gumbel-softmax relaxation and the KL to the uniform prior, a block a row: gumbel.cu.

use super::super::tape::slot;
use crate::kernels::cuda::gpu::{Address, Gpu};
use crate::kernels::cuda::grids::Grid;
use dfdx::prelude::*;
use dfdx::tensor::CudaError;

/// The most codes that the kernels' registers hold.
pub(super) const MOST: usize = 16_384;

/// z, and KL (R,).
type Relaxed<S, T> = (Tensor<S, f32, Cuda, T>, Tensor<(usize,), f32, Cuda, T>);

/// z and KL of logits (R, V) with `noise` for each.
pub(super) fn relax<S: Shape, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    logits: Tensor<S, f32, Cuda, T>,
    noise: Vec<f32>,
    vocabulary: usize,
    tau: f64,
    hard: bool,
) -> Result<Relaxed<S, T>, CudaError> {
    let (x, mut tape) = logits.try_contiguous()?.split_tape();
    let rows = noise.len() / vocabulary;
    let noise = gpu.copy(noise)?;
    let (x_at, z, z_at) = gpu.beside(&x)?;
    let (kl, kl_at) = gpu.zeros(x.device(), (rows,))?;
    let (lse, mean) = (gpu.memory::<f32>(rows)?, gpu.memory::<f32>(rows)?);
    // With one-hot codes the soft ones are kept for the gradient.
    let soft = hard.then(|| gpu.memory::<f32>(rows * vocabulary)).transpose()?;
    let (soft_at, hard_at) = soft.as_ref().map_or((z_at, Address::NONE), |soft| (Address::of(soft), z_at));
    let (grid, scale) = (Grid::row_blocks(rows, vocabulary), (1.0 / tau) as f32);
    let tensors = [x_at.into(), (&noise).into(), soft_at.into(), hard_at.into(), kl_at.into()];
    let most = (vocabulary as f64).ln() as f32;
    let rest = [(&lse).into(), (&mean).into(), vocabulary.into(), scale.into(), most.into()];
    gpu.launch(("gumbel", "gumbel_forward"), grid, &[tensors, rest].concat())?;
    let (x_slot, z_slot, kl_slot, z_kept) = (slot(&x), slot(&z), slot(&kl), z.clone());
    tape.add_backward_op(move |grads| {
        let (dz, dkl, dx) = (z_slot.address(grads)?, kl_slot.address(grads)?, x_slot.address(grads)?);
        let soft = soft.as_ref().map_or_else(|| gpu.address(&z_kept), |soft| Ok(Address::of(soft)))?;
        let tensors = [dz.into(), dkl.into(), soft.into(), gpu.address(&x)?.into(), (&lse).into(), (&mean).into()];
        gpu.launch(
            ("gumbel", "gumbel_backward"),
            grid,
            &[&tensors[..], &[dx.into(), vocabulary.into(), scale.into()]].concat(),
        )
    });
    Ok((z.put_tape(tape), kl.put_tape(T::default())))
}

/// KL (R,) of logits (R, V).
pub(super) fn kl_uniform<S: Shape, T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    logits: Tensor<S, f32, Cuda, T>,
    rows: usize,
) -> Result<Tensor<(usize,), f32, Cuda, T>, CudaError> {
    let (x, mut tape) = logits.try_contiguous()?.split_tape();
    let vocabulary = x.shape().num_elements() / rows;
    let (kl, kl_at) = gpu.zeros(x.device(), (rows,))?;
    let (lse, mean) = (gpu.memory::<f32>(rows)?, gpu.memory::<f32>(rows)?);
    let (grid, most) = (Grid::row_blocks(rows, vocabulary), (vocabulary as f64).ln() as f32);
    let tensors = [gpu.address(&x)?.into(), kl_at.into(), (&lse).into(), (&mean).into()];
    gpu.launch(("gumbel", "kl_forward"), grid, &[&tensors[..], &[vocabulary.into(), most.into()]].concat())?;
    let (x_slot, kl_slot) = (slot(&x), slot(&kl));
    tape.add_backward_op(move |grads| {
        let (dkl, dx) = (kl_slot.address(grads)?, x_slot.address(grads)?);
        let tensors = [dkl.into(), gpu.address(&x)?.into(), (&lse).into(), (&mean).into()];
        gpu.launch(("gumbel", "kl_backward"), grid, &[&tensors[..], &[dx.into(), vocabulary.into()]].concat())
    });
    Ok(kl.put_tape(tape))
}
