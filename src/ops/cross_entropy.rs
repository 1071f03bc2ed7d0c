//! Softmax cross-entropy of rows of logits.

use super::tape::{erase, slot};
use crate::kernels::{Real, Values, cpu::cross_entropy};
use crate::shape::Rows;
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// `−ln softmax(logits)[target]` per row, in nats. Shapes: logits (…, V) with R rows, targets R ids below V, result (R,).
pub trait CrossEntropyOp<E: Real>: Device<E> {
    /// The loss of each row.
    fn cross_entropy<S: Rows<V>, V: Dim, T: Tape<E, Self>>(
        logits: Tensor<S, E, Self, T>,
        targets: &[u32],
    ) -> Result<Tensor<(usize,), E, Self, T>, Self::Err> {
        composed(logits, targets)
    }
}

/// The composition of dfdx operations that [`CrossEntropyOp::cross_entropy`] equals.
pub fn composed<S: Rows<V>, V: Dim, E: Real, D: Device<E>, T: Tape<E, D>>(
    logits: Tensor<S, E, D, T>,
    targets: &[u32],
) -> Result<Tensor<(usize,), E, D, T>, D::Err> {
    let device = logits.device().clone();
    let (rows, vocab) = (logits.shape().rows(), logits.shape().last().size());
    let targets = device.try_tensor_from_vec(targets.iter().map(|&t| t as usize).collect(), (rows,))?;
    logits.try_reshape_like(&(rows, vocab))?.try_log_softmax::<Axis<1>>()?.try_select(targets)?.try_negate()
}

impl<E: Real> CrossEntropyOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn cross_entropy<S: Rows<V>, V: Dim, T: Tape<E, Self>>(
        logits: Tensor<S, E, Self, T>,
        targets: &[u32],
    ) -> Result<Tensor<(usize,), E, Self, T>, Self::Err> {
        let vocabulary = logits.shape().last().size();
        on_cpu(erase(logits), vocabulary, targets)
    }
}

fn on_cpu<S: Shape, E: Real, T: Tape<E, Cpu>>(
    logits: Tensor<S, E, Cpu, T>,
    vocab: usize,
    targets: &[u32],
) -> Result<Tensor<(usize,), E, Cpu, T>, CpuError> {
    let (x, mut tape) = logits.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let rows = x.shape().num_elements() / vocab;
    assert_eq!(targets.len(), rows, "cross_entropy: one target per row");
    let xs = Values::of(&x);
    let (mut nll, mut lse) = (vec![E::zero(); rows], vec![E::zero(); rows]);
    cross_entropy::forward(&xs, vocab, targets, &mut nll, &mut lse);
    let y = device.try_tensor_from_vec(nll, (rows,))?;
    let (x_slot, y_slot) = (slot(&x), slot(&y));
    let targets = targets.to_vec();
    tape.add_backward_op(move |grads| {
        let dy = y_slot.take(grads)?;
        x_slot.accumulate(grads, |dx| cross_entropy::backward(&dy, &xs, &lse, vocab, &targets, dx))
    });
    Ok(y.put_tape(tape))
}
