//! Rows of a tensor by index: embedding tables, and picking positions of a sequence.

use super::tape::{Keep, Unary, unary};
use crate::kernels::{Real, cpu::embed};
use crate::shape::Rows;
use dfdx::prelude::{Device, *};

pub use crate::kernels::cpu::embed::ABSENT;

/// `y[i] = x[ids[i]]` over rows. Shapes: x (…, C) with V rows, ids one per row of y, y (…, C).
pub trait GatherOp<E: Real>: Device<E> {
    /// The rows `ids` of `x` in the shape `shape`; [`ABSENT`] gives a row of zeros. An id must be below the number of rows.
    fn gather_rows<S: Rows<C>, O: Rows<C>, C: Dim, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        ids: &[u32],
        shape: O,
    ) -> Result<Tensor<O, E, Self, T>, Self::Err> {
        composed(x, ids, shape)
    }
}

/// The composition of dfdx operations that [`GatherOp::gather_rows`] equals.
pub fn composed<S: Rows<C>, O: Rows<C>, C: Dim, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
    ids: &[u32],
    shape: O,
) -> Result<Tensor<O, E, D, T>, D::Err> {
    let device = x.device().clone();
    let (rows, cols) = (x.shape().rows(), x.shape().last().size());
    let zero = device.try_zeros_like(&(1usize, cols))?;
    let table = (x.try_reshape_like(&(rows, cols))?, zero).try_concat_along(Axis::<0>)?;
    let ids = ids.iter().map(|&id| if id == ABSENT { rows } else { id as usize }).collect::<Vec<_>>();
    let count = ids.len();
    table.try_gather(device.try_tensor_from_vec(ids, (count,))?)?.try_reshape_like(&shape)
}

impl<E: Real> GatherOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn gather_rows<S: Rows<C>, O: Rows<C>, C: Dim, T: Tape<E, Self>>(
        x: Tensor<S, E, Self, T>,
        ids: &[u32],
        shape: O,
    ) -> Result<Tensor<O, E, Self, T>, Self::Err> {
        assert_eq!(ids.len(), shape.rows(), "gather_rows: one id per row of the result");
        let cols = x.shape().last().size();
        unary(x, shape, rows(ids, cols))
    }
}

fn rows<E: Real>(ids: &[u32], cols: usize) -> Unary<E> {
    let (forward_ids, backward_ids) = (ids.to_vec(), ids.to_vec());
    let forward = move |table: &[E], y: &mut [E]| embed::forward(table, cols, &forward_ids, y);
    Unary::new(Keep::Nothing, forward, move |dy, _, dtable| embed::backward(dy, cols, &backward_ids, dtable))
}
