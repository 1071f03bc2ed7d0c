//! The values of a dfdx tensor as the slice that they are. dfdx lends single elements only and copies otherwise; every
//! operation would copy its inputs and its weights.

use dfdx::prelude::{Cpu, HasShape, Shape, Tensor, Unit};
use std::ops::Deref;

/// The values of a contiguous tensor in row-major order, shared with it. dfdx copies before it writes to values that others
/// share, so these never change.
#[derive(Debug, Clone)]
pub struct Values<S: Shape, E: Unit>(Tensor<S, E, Cpu>);

impl<S: Shape, E: Unit> Values<S, E> {
    /// Those of `x`.
    ///
    /// # Panics
    /// If `x` is not contiguous (`try_contiguous`).
    pub fn of(x: &Tensor<S, E, Cpu>) -> Self {
        let sizes = x.shape().concrete();
        let mut stride = x.shape().num_elements();
        for (axis, size) in sizes.into_iter().enumerate() {
            stride /= size.max(1);
            if size > 1 && stride > 0 {
                // dfdx does not show its strides; the place of the next element along the axis does.
                let mut next = S::Concrete::default();
                next[axis] = 1;
                let step = (&raw const x[next] as usize).wrapping_sub(&raw const x[S::Concrete::default()] as usize);
                assert!(step == stride * size_of::<E>(), "a view of {sizes:?}, expected a contiguous tensor");
            }
        }
        Values(x.clone())
    }
}

impl<S: Shape, E: Unit> Deref for Values<S, E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        let length = self.0.shape().num_elements();
        if length == 0 {
            return &[];
        }
        let first = S::Concrete::default();
        let mut last = first;
        for (axis, size) in self.0.shape().concrete().into_iter().enumerate() {
            last[axis] = size - 1;
        }
        let (first, _last) = (&raw const self.0[first], &self.0[last]);
        // SAFETY: the first and the last element are checked to lie in the tensor's one Vec, and its strides are those of
        // rows (`Values::of`), so `length` elements lie from the one to the other. The tensor keeps the Vec alive, and nothing
        // writes to it meanwhile: `index_mut` and dfdx's own operations copy what is shared first (`Arc::make_mut`).
        unsafe { std::slice::from_raw_parts(first, length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::prelude::*;

    #[test]
    fn the_values_are_those_of_the_tensor_and_stay_them() {
        let device = Cpu::default();
        let mut x: Tensor<Rank2<2, 3>, f32, _> = device.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let values = Values::of(&x);
        assert_eq!(*values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        x[[1, 1]] = 9.0;
        assert_eq!((x[[1, 1]], values[4]), (9.0, 5.0));
        assert_eq!(*Values::of(&device.tensor(7.0f64)), [7.0]);
        let none: Tensor<(usize, Const<3>), f32, _> = device.zeros_like(&(0, Const));
        assert!(Values::of(&none).is_empty());
    }

    #[test]
    #[should_panic(expected = "expected a contiguous tensor")]
    fn a_view_is_refused() {
        let x: Tensor<Rank2<2, 3>, f32, _> = Cpu::default().zeros();
        Values::of(&x.permute::<Rank2<3, 2>, _>());
    }
}
