//! The Gumbel-softmax relaxation and the analytic KL to the uniform prior (paper A.2).

use super::tape::{Keep, Unary, erase, slot, typed, unary};
use crate::kernels::{Real, Values, cpu::gumbel};
use crate::shape::Rows;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// Relaxed codes. Shapes: logits, z (…, V) with R rows; noise R·V standard Gumbel draws; KL (R,) in nats.
pub trait GumbelOp<E: Real>: Device<E> {
    /// z = softmax((logits + noise)/τ) and the KL of [`GumbelOp::kl_uniform`]. z is soft forward and backward, as the
    /// paper's; with `hard`, one-hot forward at the largest z and the relaxed gradient backward (straight-through).
    fn relax<S: Rows<V>, V: Dim, T: Tape<E, Self>>(
        logits: Tensor<S, E, Self, T>,
        noise: Vec<E>,
        tau: f64,
        hard: bool,
    ) -> Result<Relaxed<S, E, Self, T>, Self::Err> {
        let kl = kl_composed(logits.with_empty_tape())?;
        Ok((relax_composed(logits, noise, tau, hard)?, kl))
    }

    /// KL(softmax(logits) ‖ uniform) of each row, from the logits without noise; in [0, ln V].
    fn kl_uniform<S: Rows<V>, V: Dim, T: Tape<E, Self>>(
        logits: Tensor<S, E, Self, T>,
    ) -> Result<Tensor<(usize,), E, Self, T>, Self::Err> {
        kl_composed(logits)
    }
}

/// z (…, V) and KL (R,), whose gradients reach the logits together: both must be on the way to the loss.
pub type Relaxed<S, E, D, T> = (Tensor<S, E, D, T>, Tensor<(usize,), E, D, T>);

/// The composition of dfdx operations that z of [`GumbelOp::relax`] equals.
pub fn relax_composed<S: Rows<V>, V: Dim, E: Real, D: Device<E>, T: Tape<E, D>>(
    logits: Tensor<S, E, D, T>,
    noise: Vec<E>,
    tau: f64,
    hard: bool,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let device = logits.device().clone();
    let shape = *logits.shape();
    let rows = (shape.rows(), shape.last().size());
    let noise = device.try_tensor_from_vec(noise, rows)?;
    let noisy = logits.try_reshape_like(&rows)?.try_add(noise)?.try_div(E::of(tau))?;
    let z = noisy.try_softmax::<Axis<1>>()?;
    if !hard {
        return z.try_reshape_like(&shape);
    }
    // hard = z + (onehot − z), the difference being a constant.
    let soft = z.with_empty_tape().split_tape().0;
    let values = soft.as_vec();
    let mut gap: Vec<E> = values.iter().map(|&v| -v).collect();
    for (row, chunk) in values.chunks(rows.1).enumerate() {
        gap[row * rows.1 + crate::kernels::cpu::argmax(chunk)] += E::one();
    }
    z.try_add(device.try_tensor_from_vec(gap, rows)?)?.try_reshape_like(&shape)
}

/// The composition of dfdx operations that [`GumbelOp::kl_uniform`] equals.
pub fn kl_composed<S: Rows<V>, V: Dim, E: Real, D: Device<E>, T: Tape<E, D>>(
    logits: Tensor<S, E, D, T>,
) -> Result<Tensor<(usize,), E, D, T>, D::Err> {
    let rows = (logits.shape().rows(), logits.shape().last().size());
    let logits = logits.try_reshape_like(&rows)?;
    let log_q = logits.with_empty_tape().try_log_softmax::<Axis<1>>()?;
    let q = logits.try_softmax::<Axis<1>>()?;
    q.try_mul(log_q)?.try_sum::<(usize,), Axis<1>>()?.try_add(E::of((rows.1 as f64).ln()))
}

impl<E: Real> GumbelOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn relax<S: Rows<V>, V: Dim, T: Tape<E, Self>>(
        logits: Tensor<S, E, Self, T>,
        noise: Vec<E>,
        tau: f64,
        hard: bool,
    ) -> Result<Relaxed<S, E, Self, T>, Self::Err> {
        let vocabulary = logits.shape().last().size();
        let (z, kl) = relax_on_cpu(erase(logits), vocabulary, &noise, tau, hard)?;
        Ok((typed(z), kl))
    }

    fn kl_uniform<S: Rows<V>, V: Dim, T: Tape<E, Self>>(
        logits: Tensor<S, E, Self, T>,
    ) -> Result<Tensor<(usize,), E, Self, T>, Self::Err> {
        let (rows, vocab) = (logits.shape().rows(), logits.shape().last().size());
        unary(logits, (rows,), kl_of(vocab))
    }
}

fn kl_of<E: Real>(vocab: usize) -> Unary<E> {
    let forward = move |x: &[E], kl: &mut [E]| gumbel::kl_forward(x, vocab, kl);
    Unary::new(Keep::Input, forward, move |dkl, x, dx| gumbel::kl_backward(dkl, x, vocab, dx))
}

fn relax_on_cpu<S: Shape, E: Real, T: Tape<E, Cpu>>(
    logits: Tensor<S, E, Cpu, T>,
    vocab: usize,
    noise: &[E],
    tau: f64,
    hard: bool,
) -> Result<Relaxed<S, E, Cpu, T>, CpuError> {
    let (x, mut tape) = logits.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let (shape, rows) = (*x.shape(), noise.len() / vocab);
    assert_eq!(noise.len(), shape.num_elements(), "relax: one draw per logit");
    let (xs, mut soft, mut kl) = (Values::of(&x), vec![E::zero(); noise.len()], vec![E::zero(); rows]);
    gumbel::forward(&xs, noise, vocab, tau, &mut soft, &mut kl);
    let out = if hard { crate::kernels::cpu::one_hot_rows(&soft, vocab) } else { soft.clone() };
    let (z, kl) = (device.try_tensor_from_vec(out, shape)?, device.try_tensor_from_vec(kl, (rows,))?);
    let (x_slot, z_slot, kl_slot) = (slot(&x), slot(&z), slot(&kl));
    tape.add_backward_op(move |grads| {
        let (dz, dkl) = (z_slot.take(grads)?, kl_slot.take(grads)?);
        x_slot.accumulate(grads, |dx| gumbel::backward((&dz, &dkl), &soft, &xs, tau, dx))
    });
    Ok((z.put_tape(tape), kl.put_tape(T::default())))
}
