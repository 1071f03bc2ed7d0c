//! The Gumbel-softmax relaxation and the analytic KL to the uniform prior (paper A.2).

use super::tape::{Keep, erase, slot, typed, unary};
use crate::kernels::{Real, Values, cpu::gumbel};
use crate::shape::Rows;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// Relaxed codes. Shapes: logits, z (…, V) with R rows; noise R·V standard Gumbel draws; KL (R,) in nats.
pub trait GumbelOp<E: Real>: Device<E> {
    /// z = softmax((logits + noise)/τ): soft forward and backward, as the paper's; with `hard`, one-hot forward at the
    /// largest z and the relaxed gradient backward (straight-through).
    fn relax<S: Rows<V>, V: Dim, T: Tape<E, Self>>(
        logits: Tensor<S, E, Self, T>,
        noise: Vec<E>,
        tau: f64,
        hard: bool,
    ) -> Result<Tensor<S, E, Self, T>, Self::Err> {
        relax_composed(logits, noise, tau, hard)
    }

    /// KL(softmax(logits) ‖ uniform) of each row, from the logits without noise; in [0, ln V].
    fn kl_uniform<S: Rows<V>, V: Dim, T: Tape<E, Self>>(
        logits: Tensor<S, E, Self, T>,
    ) -> Result<Tensor<(usize,), E, Self, T>, Self::Err> {
        kl_composed(logits)
    }
}

/// The composition of dfdx operations that [`GumbelOp::relax`] equals.
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
    ) -> Result<Tensor<S, E, Self, T>, Self::Err> {
        let vocabulary = logits.shape().last().size();
        Ok(typed(relax_on_cpu(erase(logits), vocabulary, &noise, tau, hard)?))
    }

    fn kl_uniform<S: Rows<V>, V: Dim, T: Tape<E, Self>>(
        logits: Tensor<S, E, Self, T>,
    ) -> Result<Tensor<(usize,), E, Self, T>, Self::Err> {
        let (rows, vocab) = (logits.shape().rows(), logits.shape().last().size());
        unary(
            logits,
            (rows,),
            Keep::Input,
            move |x, kl| gumbel::kl_forward(x, vocab, kl),
            move |dkl, x, dx| gumbel::kl_backward(dkl, x, vocab, dx),
        )
    }
}

fn relax_on_cpu<S: Shape, E: Real, T: Tape<E, Cpu>>(
    logits: Tensor<S, E, Cpu, T>,
    vocab: usize,
    noise: &[E],
    tau: f64,
    hard: bool,
) -> Result<Tensor<S, E, Cpu, T>, CpuError> {
    let (x, mut tape) = logits.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let shape = *x.shape();
    assert_eq!(noise.len(), shape.num_elements(), "relax: one draw per logit");
    let mut soft = vec![E::zero(); noise.len()];
    gumbel::relax_forward(&Values::of(&x), noise, vocab, tau, &mut soft);
    let out = if hard { crate::kernels::cpu::one_hot_rows(&soft, vocab) } else { soft.clone() };
    let z = device.try_tensor_from_vec(out, shape)?;
    let (x_slot, z_slot) = (slot(&x), slot(&z));
    tape.add_backward_op(move |grads| {
        let dz = z_slot.take(grads)?;
        x_slot.accumulate(grads, |dx| gumbel::relax_backward(&dz, &soft, vocab, tau, dx))
    });
    Ok(z.put_tape(tape))
}
