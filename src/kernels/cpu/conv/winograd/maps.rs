//! The linear maps of F(2×2, 3×3) on vectors of channels, of the points 0, 1, −1 and ∞.

use crate::kernels::Real;
use std::ops::{Add, Mul, Sub};

/// Some neighbouring channels of a pixel.
#[derive(Clone, Copy)]
pub struct Vector<E, const N: usize>(pub [E; N]);

impl<E: Real, const N: usize> Vector<E, N> {
    #[inline(always)]
    pub fn zero() -> Self {
        Vector([E::of(0.0); N])
    }

    /// max(self, floor); a NaN stays one.
    #[inline(always)]
    pub fn at_least(mut self, floor: E) -> Self {
        for value in &mut self.0 {
            *value = if floor > *value { floor } else { *value };
        }
        self
    }

    #[inline(always)]
    pub fn load(from: &[E]) -> Self {
        let mut values = Self::zero();
        values.0.copy_from_slice(&from[..N]);
        values
    }
}

impl<E: Real, const N: usize> Add for Vector<E, N> {
    type Output = Self;

    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a += b;
        }
        self
    }
}

impl<E: Real, const N: usize> Mul<f64> for Vector<E, N> {
    type Output = Self;

    #[inline(always)]
    fn mul(mut self, factor: f64) -> Self {
        for value in &mut self.0 {
            *value *= E::of(factor);
        }
        self
    }
}

impl<E: Real, const N: usize> Sub for Vector<E, N> {
    type Output = Self;

    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a -= b;
        }
        self
    }
}

/// Bᵀ
#[inline(always)]
pub fn input<E: Real, const N: usize>([a, b, c, d]: [Vector<E, N>; 4]) -> [Vector<E, N>; 4] {
    [a - c, b + c, c - b, b - d]
}

/// G
#[inline(always)]
pub fn kernel<E: Real, const N: usize>([a, b, c]: [Vector<E, N>; 3]) -> [Vector<E, N>; 4] {
    let (ends, middle) = ((a + c) * 0.5, b * 0.5);
    [a, ends + middle, ends - middle, c]
}

/// Gᵀ
#[inline(always)]
pub fn kernel_adjoint<E: Real, const N: usize>([a, b, c, d]: [Vector<E, N>; 4]) -> [Vector<E, N>; 3] {
    let even = (b + c) * 0.5;
    [a + even, (b - c) * 0.5, even + d]
}

/// Aᵀ
#[inline(always)]
pub fn output<E: Real, const N: usize>([a, b, c, d]: [Vector<E, N>; 4]) -> [Vector<E, N>; 2] {
    [a + b + c, b - c - d]
}

/// A
#[inline(always)]
pub fn output_adjoint<E: Real, const N: usize>([a, b]: [Vector<E, N>; 2]) -> [Vector<E, N>; 4] {
    [a, a + b, a - b, Vector::zero() - b]
}

/// Calls `f` with 0, 1, … N − 1 for N up to 4, in a straight line: in a loop the compiler keeps what it indexes in memory.
#[inline(always)]
fn unrolled<const N: usize>(mut f: impl FnMut(usize)) {
    const { assert!(N <= 4) }
    if N > 0 {
        f(0);
    }
    if N > 1 {
        f(1);
    }
    if N > 2 {
        f(2);
    }
    if N > 3 {
        f(3);
    }
}

/// M x Mᵀ where `map` is the product with M and x(i, j) = `load(i, j)`; element (i, j) goes to `store`.
#[inline(always)]
pub fn both_sides<E: Real, const N: usize, const I: usize, const O: usize>(
    load: impl Fn(usize, usize) -> Vector<E, N>,
    map: impl Fn([Vector<E, N>; I]) -> [Vector<E, N>; O],
    mut store: impl FnMut(usize, usize, Vector<E, N>),
) {
    let mut half = [[Vector::zero(); I]; O];
    #[allow(clippy::needless_range_loop)] // j is a column of `half`
    for j in 0..I {
        let mut column = [Vector::zero(); I];
        unrolled::<I>(|i| column[i] = load(i, j));
        let column = map(column);
        unrolled::<O>(|i| half[i][j] = column[i]);
    }
    for (i, half) in half.iter().enumerate() {
        let mut row = [Vector::zero(); I];
        unrolled::<I>(|j| row[j] = half[j]);
        let row = map(row);
        unrolled::<O>(|j| store(i, j, row[j]));
    }
}
