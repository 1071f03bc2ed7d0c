//! Logit-Laplace negative log-likelihood (paper A.3) of x in (0, 1): ln 2 + ln b + ln x(1−x) + |logit x − μ|·e^{−ln b}.
//! Shapes: x (P, C), stats (P, 2C): the first C maps are μ, the last C ln b; nll (P, C).

use super::parallel::{expect_lengths, rows_per_task};
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

/// A logarithm or exponential weighs about this many elements of plain work.
const TRANSCENDENTAL: usize = 8;

compiled! {
    /// Nats per value, in `nll`. `clamp` bounds ln b (to ±7 in training; `None` in parity). A clamped ln b passes no gradient.
    pub fn forward(x: &[E], stats: &[E], channels: usize, clamp: Option<f64>, nll: &mut [E]) = forward_of;

    /// dstats += : dμ = −dnll·sign(logit x − μ)·e^{−ln b}; d ln b = dnll·(1 − |logit x − μ|·e^{−ln b}), 0 where clamped.
    pub fn backward(dnll: &[E], x: &[E], stats: &[E], channels: usize, clamp: Option<f64>, dstats: &mut [E]) = backward_of;
}

fn forward_of<E: Real>(x: &[E], stats: &[E], channels: usize, clamp: Option<f64>, nll: &mut [E]) {
    let pixels = check("laplace::forward", x, stats, channels, nll);
    let bound = E::of(clamp.unwrap_or(f64::INFINITY));
    let ln_2 = E::of(std::f64::consts::LN_2);
    let chunk = rows_per_task(pixels, TRANSCENDENTAL * channels) * channels;
    let tasks = nll.par_chunks_mut(chunk).zip_eq(x.par_chunks(chunk)).zip_eq(stats.par_chunks(2 * chunk));
    tasks.for_each(|((nll, x), stats)| {
        let pixels = nll.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
        for ((nll, x), stats) in pixels.zip(stats.chunks_exact(2 * channels)) {
            let (mu, ln_b) = stats.split_at(channels);
            for ((nll, x), (mu, ln_b)) in nll.iter_mut().zip(x).zip(mu.iter().zip(ln_b)) {
                let (ln_x, ln_1_x) = (x.ln(), (E::of(1.0) - *x).ln());
                let ln_b = clamped(*ln_b, bound);
                *nll = ln_2 + ln_b + ln_x + ln_1_x + (ln_x - ln_1_x - *mu).abs() * (-ln_b).fast_exp();
            }
        }
    });
}

fn backward_of<E: Real>(dnll: &[E], x: &[E], stats: &[E], channels: usize, clamp: Option<f64>, dstats: &mut [E]) {
    let pixels = check("laplace::backward", x, stats, channels, dnll);
    expect_lengths("laplace::backward", &[("dstats", dstats.len(), stats.len())]);
    let bound = E::of(clamp.unwrap_or(f64::INFINITY));
    let chunk = rows_per_task(pixels, TRANSCENDENTAL * channels) * channels;
    let inputs = dnll.par_chunks(chunk).zip_eq(x.par_chunks(chunk)).zip_eq(stats.par_chunks(2 * chunk));
    dstats.par_chunks_mut(2 * chunk).zip_eq(inputs).for_each(|(dstats, ((dnll, x), stats))| {
        let inputs = dnll.chunks_exact(channels).zip(x.chunks_exact(channels));
        let pixels = dstats.chunks_exact_mut(2 * channels).zip(stats.chunks_exact(2 * channels));
        for ((dstats, stats), (dnll, x)) in pixels.zip(inputs) {
            let (dmu, dln_b) = dstats.split_at_mut(channels);
            let (mu, ln_b) = stats.split_at(channels);
            for c in 0..channels {
                let distance = x[c].ln() - (E::of(1.0) - x[c]).ln() - mu[c];
                let bounded = clamped(ln_b[c], bound);
                let slope = (-bounded).fast_exp();
                // The sign of 0 is 0 here: the kink's middle.
                if distance > E::of(0.0) {
                    dmu[c] -= dnll[c] * slope;
                } else if distance < E::of(0.0) {
                    dmu[c] += dnll[c] * slope;
                }
                if bounded == ln_b[c] {
                    dln_b[c] += dnll[c] * (E::of(1.0) - distance.abs() * slope);
                }
            }
        }
    });
}

/// `x` within ±`bound`; NaN stays NaN.
fn clamped<E: Real>(x: E, bound: E) -> E {
    if x > bound {
        bound
    } else if x < -bound {
        -bound
    } else {
        x
    }
}

/// Asserts the lengths; returns the pixels.
#[track_caller]
fn check<E>(kernel: &str, x: &[E], stats: &[E], channels: usize, nll: &[E]) -> usize {
    let pixels = x.len() / channels;
    let n = pixels * channels;
    expect_lengths(kernel, &[("x", x.len(), n), ("stats", stats.len(), 2 * n), ("nll", nll.len(), n)]);
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};

    const CHANNELS: usize = 3;

    fn pictures(n: usize) -> Vec<f64> {
        normals::<f64>("pixels", n).iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()
    }

    /// −ln of the density 1/(2b·x(1−x))·e^{−|logit x − μ|/b}.
    fn naive(x: &[f64], stats: &[f64], clamp: Option<f64>) -> Vec<f64> {
        let value = |i: usize| {
            let (pixel, c) = (i / CHANNELS, i % CHANNELS);
            let mu = stats[pixel * 2 * CHANNELS + c];
            let ln_b = stats[pixel * 2 * CHANNELS + CHANNELS + c];
            let b = clamp.map_or(ln_b, |bound| ln_b.clamp(-bound, bound)).exp();
            let logit = (x[i] / (1.0 - x[i])).ln();
            -((-(logit - mu).abs() / b).exp() / (2.0 * b * x[i] * (1.0 - x[i]))).ln()
        };
        (0..x.len()).map(value).collect()
    }

    #[test]
    fn forward_equals_the_density_and_backward_central_differences() {
        let x = pictures(7 * CHANNELS);
        let (stats, dnll) = (normals::<f64>("stats", 2 * x.len()), normals::<f64>("dnll", x.len()));
        for clamp in [None, Some(0.6)] {
            let mut nll = vec![0.0; x.len()];
            forward(&x, &stats, CHANNELS, clamp, &mut nll);
            assert_close(&nll, &naive(&x, &stats, clamp), 1e-12);
            let mut dstats = vec![0.0; stats.len()];
            backward(&dnll, &x, &stats, CHANNELS, clamp, &mut dstats);
            assert_gradient(&stats, &dstats, |stats| weighted(&naive(&x, stats, clamp), &dnll));
        }
        assert!(stats.chunks(2 * CHANNELS).any(|s| s[CHANNELS..].iter().any(|ln_b| ln_b.abs() > 0.6)));
    }

    #[test]
    fn the_density_integrates_to_one() {
        let (n, stats) = (200_000, [0.4, -0.3]);
        let mass: f64 = (0..n)
            .map(|i| {
                let mut nll = [0.0];
                forward(&[(f64::from(i) + 0.5) / f64::from(n)], &stats, 1, None, &mut nll);
                (-nll[0]).exp() / f64::from(n)
            })
            .sum();
        assert!((mass - 1.0).abs() < 1e-3, "{mass}");
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let x: Vec<f32> = pictures(3000 * CHANNELS).iter().map(|x| *x as f32).collect();
        let stats = normals::<f32>("stats", 2 * x.len());
        assert_same_on_any_threads(|| {
            let (mut nll, mut dstats) = (vec![0.0; x.len()], vec![0.0; stats.len()]);
            forward(&x, &stats, CHANNELS, Some(7.0), &mut nll);
            backward(&nll, &x, &stats, CHANNELS, Some(7.0), &mut dstats);
            [nll, dstats].concat()
        });
    }
}
