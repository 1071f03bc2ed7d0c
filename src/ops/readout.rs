//! What leaves the tape: indices of the largest value, and of the nearest row.

use super::tape::erase;
use crate::kernels::cpu::argmax;
use crate::kernels::{Real, compiled};
use crate::shape::{Ranked, Rows};
use dfdx::prelude::{ConstDim, Device, Dim, HasShape, ReshapeTo, Shape, Tape, Tensor};
use rayon::prelude::*;

/// The index of the largest value of each row, the first one on ties.
pub fn argmax_rows<S: Rows<V>, V: Dim, E: Real, D: Device<E>>(x: Tensor<S, E, D>) -> Result<Vec<u32>, D::Err> {
    let cols = x.shape().last().size();
    Ok(largest(&to_vec(x)?, cols))
}

/// The index of the row of `table` (V, C) with the least squared distance to each row of `x` (…, C).
pub fn nearest_rows<S: Rows<C>, V: ConstDim, C: ConstDim, E: Real, D: Device<E>>(
    x: Tensor<S, E, D>,
    table: &Tensor<(V, C), E, D>,
) -> Result<Vec<u32>, D::Err> {
    let (x, table) = (to_vec(x)?, to_vec(table.clone())?);
    Ok(nearest(&x, &table, C::SIZE))
}

compiled! {
    fn largest(x: &[E], cols: usize) -> Vec<u32> = largest_of;
    fn nearest(x: &[E], table: &[E], cols: usize) -> Vec<u32> = nearest_of;
}

fn largest_of<E: Real>(x: &[E], cols: usize) -> Vec<u32> {
    x.par_chunks(cols).map(|row| argmax(row) as u32).collect()
}

fn nearest_of<E: Real>(x: &[E], table: &[E], cols: usize) -> Vec<u32> {
    let distance = |a: &[E], b: &[E]| a.iter().zip(b).map(|(&a, &b)| (a - b) * (a - b)).sum::<E>();
    let nearest = |row: &[E]| {
        let negative: Vec<E> = table.chunks(cols).map(|code| -distance(row, code)).collect();
        argmax(&negative) as u32
    };
    x.par_chunks(cols).map(nearest).collect()
}

/// The values in row-major order, on the host.
pub fn to_vec<S: Ranked, E: Real, D: Device<E>>(x: Tensor<S, E, D>) -> Result<Vec<E>, D::Err> {
    host(erase(x))
}

fn host<S: Shape, E: Real, D: Device<E>>(x: Tensor<S, E, D>) -> Result<Vec<E>, D::Err> {
    let mut out = vec![E::zero(); x.shape().num_elements()];
    x.try_contiguous()?.copy_into(&mut out);
    Ok(out)
}

/// The value of a scalar, whose tape stays where it is.
pub fn scalar<E: Real, D: Device<E>, T: Tape<E, D>>(x: &Tensor<(), E, D, T>) -> E {
    let mut value = [E::zero()];
    x.copy_into(&mut value);
    value[0]
}
