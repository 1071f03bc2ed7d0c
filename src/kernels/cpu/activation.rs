//! Pointwise nonlinearities with their derivatives. All but ReLU and the erf form are x·σ(u(x)) for a polynomial u: also the
//! tanh form, because (1 + tanh z)/2 = σ(2z).

use super::lanes::vectorised;
use super::parallel::{expect_lengths, rows_per_task};
use super::reduce;
use crate::kernels::{Real, compiled};
use rayon::prelude::*;
use std::f64::consts::PI;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x·σ(1.702x), Child et al. and CLIP
    QuickGelu,
    /// 0.5x(1+tanh(√(2/π)(x+0.044715x³))), ruDALL-E
    TanhGelu,
    /// 0.5x(1+erf(x/√2))
    ErfGelu,
    /// x·σ(x)
    Silu,
}

/// u(x) = linear·x + cubic·x³ in the form x·σ(u(x)).
#[derive(Clone, Copy)]
struct Gate<E> {
    linear: E,
    cubic: E,
}

impl<E: Real> Gate<E> {
    fn of(linear: f64, cubic: f64) -> Self {
        Gate { linear: E::of(linear), cubic: E::of(cubic) }
    }

    fn tanh_gelu() -> Self {
        let linear = 2.0 * (2.0 / PI).sqrt();
        Gate::of(linear, 0.044715 * linear)
    }

    /// σ(u(x))
    #[inline(always)]
    fn sigmoid(self, x: E) -> E {
        let u = x * (self.linear + self.cubic * x * x);
        E::of(1.0) / (E::of(1.0) + (-u).fast_exp())
    }

    /// (x·σ(u))′ = σ + x·σ·(1 − σ)·u′
    #[inline(always)]
    fn derivative(self, x: E) -> E {
        let s = self.sigmoid(x);
        s + x * s * (E::of(1.0) - s) * (self.linear + E::of(3.0) * self.cubic * x * x)
    }
}

compiled! {
    /// y = f(x)
    pub fn forward(kind: Activation, x: &[E], y: &mut [E]) = forward_of;

    /// dx += dy·f′(x); the derivative of ReLU at 0 is 0.
    pub fn backward(kind: Activation, dy: &[E], x: &[E], dx: &mut [E]) = backward_of;

    /// dy = dy·f′(x), which is then dx.
    pub fn backward_in_place(kind: Activation, x: &[E], dy: &mut [E]) = backward_in_place_of;
}

fn forward_of<E: Real>(kind: Activation, x: &[E], y: &mut [E]) {
    expect_lengths("activation::forward", &[("y", y.len(), x.len())]);
    let chunk = rows_per_task(x.len(), 1);
    y.par_chunks_mut(chunk).zip_eq(x.par_chunks(chunk)).for_each(|(y, x)| forward_seq(kind, x, y));
}

/// [`forward`] on the calling thread.
pub(super) fn forward_seq<E: Real>(kind: Activation, x: &[E], y: &mut [E]) {
    let zero = E::of(0.0);
    let gated = |gate: Gate<E>, y: &mut [E]| {
        map(
            x,
            y,
            #[inline(always)]
            |x| x * gate.sigmoid(x),
        );
    };
    match kind {
        Activation::Relu => map(
            x,
            y,
            // A NaN stays one: it must not be hidden from the check of the loss.
            #[inline(always)]
            |x| if x < zero { zero } else { x },
        ),
        Activation::QuickGelu => gated(Gate::of(1.702, 0.0), y),
        Activation::TanhGelu => gated(Gate::tanh_gelu(), y),
        Activation::Silu => gated(Gate::of(1.0, 0.0), y),
        Activation::ErfGelu => map(
            x,
            y,
            #[inline(always)]
            |x| E::of(x.as_f64() * normal_cdf(x.as_f64())),
        ),
    }
}

fn backward_of<E: Real>(kind: Activation, dy: &[E], x: &[E], dx: &mut [E]) {
    expect_lengths("activation::backward", &[("dy", dy.len(), x.len()), ("dx", dx.len(), x.len())]);
    let chunk = rows_per_task(x.len(), 1);
    let tasks = dx.par_chunks_mut(chunk).zip_eq(dy.par_chunks(chunk)).zip_eq(x.par_chunks(chunk));
    tasks.for_each(|((dx, dy), x)| {
        let mut part = dy.to_vec();
        backward_seq(kind, x, &mut part);
        reduce::add(dx, &part);
    });
}

fn backward_in_place_of<E: Real>(kind: Activation, x: &[E], dy: &mut [E]) {
    expect_lengths("activation::backward_in_place", &[("dy", dy.len(), x.len())]);
    let chunk = rows_per_task(x.len(), 1);
    dy.par_chunks_mut(chunk).zip_eq(x.par_chunks(chunk)).for_each(|(dy, x)| backward_seq(kind, x, dy));
}

/// [`backward_in_place`] on the calling thread.
fn backward_seq<E: Real>(kind: Activation, x: &[E], dy: &mut [E]) {
    let zero = E::of(0.0);
    let gated = |gate: Gate<E>, dy: &mut [E]| {
        scale(
            x,
            dy,
            #[inline(always)]
            |dy, x| dy * gate.derivative(x),
        );
    };
    match kind {
        Activation::Relu => scale(
            x,
            dy,
            #[inline(always)]
            |dy, x| if x > zero { dy } else { zero },
        ),
        Activation::QuickGelu => gated(Gate::of(1.702, 0.0), dy),
        Activation::TanhGelu => gated(Gate::tanh_gelu(), dy),
        Activation::Silu => gated(Gate::of(1.0, 0.0), dy),
        Activation::ErfGelu => scale(
            x,
            dy,
            #[inline(always)]
            |dy, x| {
                let x = x.as_f64();
                dy * E::of(normal_cdf(x) + x * (-x * x / 2.0).exp() / (2.0 * PI).sqrt())
            },
        ),
    }
}

/// y = f(x)
#[inline(always)]
fn map<E: Real>(x: &[E], y: &mut [E], f: impl Fn(E) -> E) {
    vectorised!(move || {
        for (y, x) in y.iter_mut().zip(x) {
            *y = f(*x);
        }
    });
}

/// dy = f(dy, x)
#[inline(always)]
fn scale<E: Real>(x: &[E], dy: &mut [E], f: impl Fn(E, E) -> E) {
    vectorised!(move || {
        for (dy, x) in dy.iter_mut().zip(x) {
            *dy = f(*dy, *x);
        }
    });
}

/// Φ(x), the standard normal distribution function, to about 1e-15: near 0 by the series
/// Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …), whose terms have one sign; in the tails, where ½ would cancel, by the
/// continued fraction 1 − Φ(x) = φ(x)/(x + 1/(x + 2/(x + …))).
fn normal_cdf(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
    let a = x.abs();
    if a < 3.5 {
        let (mut term, mut sum, mut odd) = (x, x, 3.0);
        while term.abs() > 1e-17 * sum.abs() {
            term *= x * x / odd;
            sum += term;
            odd += 2.0;
        }
        0.5 + density * sum
    } else {
        let fraction = (1..=60).rev().fold(a, |tail, k| a + f64::from(k) / tail);
        let upper = density / fraction;
        if x > 0.0 { 1.0 - upper } else { upper }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals};
    use Activation::*;

    /// Φ by Simpson's rule over the density.
    fn integrated_cdf(x: f64) -> f64 {
        let (n, width) = (2000, x / 2000.0);
        let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * PI).sqrt();
        let inner: f64 = (1..n).map(|i| density(f64::from(i) * width) * f64::from(2 + 2 * (i % 2))).sum();
        0.5 + (density(0.0) + inner + density(x)) * width / 3.0
    }

    fn naive(kind: Activation, x: f64) -> f64 {
        match kind {
            Relu => x.max(0.0),
            QuickGelu => x / (1.0 + (-1.702 * x).exp()),
            TanhGelu => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
            ErfGelu => x * integrated_cdf(x),
            Silu => x / (1.0 + (-x).exp()),
        }
    }

    #[test]
    fn every_form_equals_its_definition_and_its_derivative() {
        let mut x = normals::<f64>("x", 50);
        x.extend([-9.0, -4.0, -3.49, -3.51, 0.1, 3.49, 3.51, 8.0]);
        let dy = normals::<f64>("dy", x.len());
        for kind in [Relu, QuickGelu, TanhGelu, ErfGelu, Silu] {
            let expected: Vec<f64> = x.iter().map(|x| naive(kind, *x)).collect();
            let mut y = vec![0.0; x.len()];
            forward(kind, &x, &mut y);
            assert_close(&y, &expected, 1e-12);
            let mut dx = vec![0.0; x.len()];
            backward(kind, &dy, &x, &mut dx);
            // Sum against sum would lose digits: each element on its own.
            for i in 0..x.len() {
                assert_gradient(&x[i..=i], &dx[i..=i], |x| dy[i] * naive(kind, x[0]));
            }
            let (mut y32, x32) = (vec![0f32; x.len()], x.iter().map(|x| *x as f32).collect::<Vec<_>>());
            forward(kind, &x32, &mut y32);
            assert_close(&y32, &expected, 1e-6);
            let once = dx.clone();
            backward(kind, &dy, &x, &mut dx);
            assert_close(&dx, &once.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-12);
        }
    }

    #[test]
    fn far_tails_are_finite_and_nan_stays_nan() {
        for kind in [Relu, QuickGelu, TanhGelu, ErfGelu, Silu] {
            let mut y = [0f32; 3];
            forward(kind, &[-1e4, 1e4, f32::NAN], &mut y);
            assert!(y[0].abs() < 1e-3 && y[1] == 1e4 && y[2].is_nan(), "{kind:?}: {y:?}");
        }
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let (x, dy) = (normals::<f32>("x", 50_001), normals::<f32>("dy", 50_001));
        assert_same_on_any_threads(|| {
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            forward(QuickGelu, &x, &mut y);
            backward(QuickGelu, &dy, &x, &mut dx);
            [y, dx].concat()
        });
    }
}
