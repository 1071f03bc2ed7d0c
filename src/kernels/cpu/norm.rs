//! Layer normalisation of rows: y = (x − mean)/√(var + ε)·gain + bias, var the biased variance.
//! Shapes: x, y (R, C), gain, bias (C), mean, rstd (R).

use super::lanes::{sum_by, vectorised};
use super::parallel::{expect_lengths, rows_per_task};
use super::reduce;
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

compiled! {
    /// Writes y and, for the backward pass, the mean and 1/√(var + ε) of each row.
    pub fn forward(x: &[E], gain: &[E], bias: &[E], epsilon: f64, y: &mut [E], mean: &mut [E], rstd: &mut [E]) = forward_of;

    /// dx +=, dgain +=, dbias += : with x̂ = (x − mean)·rstd and g = dy·gain, dx = rstd·(g − mean(g) − x̂·mean(g·x̂)),
    /// dgain = Σ_r dy·x̂, dbias = Σ_r dy.
    pub fn backward(dy: &[E], x: &[E], gain: &[E], mean: &[E], rstd: &[E], dx: &mut [E], dgain: &mut [E], dbias: &mut [E]) = backward_of;
}

fn forward_of<E: Real>(x: &[E], gain: &[E], bias: &[E], epsilon: f64, y: &mut [E], mean: &mut [E], rstd: &mut [E]) {
    let (rows, cols) = (mean.len(), gain.len());
    let n = rows * cols;
    let lengths = [("x", x.len(), n), ("bias", bias.len(), cols), ("y", y.len(), n), ("rstd", rstd.len(), rows)];
    expect_lengths("norm::forward", &lengths);
    let (epsilon, share) = (E::of(epsilon), E::of(1.0 / cols as f64));
    let chunk = rows_per_task(rows, cols);
    let statistics = mean.par_chunks_mut(chunk).zip_eq(rstd.par_chunks_mut(chunk));
    let tasks = y.par_chunks_mut(chunk * cols).zip_eq(x.par_chunks(chunk * cols)).zip_eq(statistics);
    tasks.for_each(|((y, x), (mean, rstd))| {
        vectorised!(move || {
            let rows = y.chunks_exact_mut(cols).zip(x.chunks_exact(cols)).zip(mean.iter_mut().zip(rstd));
            for ((y, x), (mean, rstd)) in rows {
                let mu = sum_by([x], |[x]| x) * share;
                let variance = sum_by([x], |[x]| (x - mu) * (x - mu)) * share;
                let r = E::of(1.0) / (variance + epsilon).sqrt();
                for (((y, x), gain), bias) in y.iter_mut().zip(x).zip(gain).zip(bias) {
                    *y = (*x - mu) * r * *gain + *bias;
                }
                (*mean, *rstd) = (mu, r);
            }
        });
    });
}

#[allow(clippy::too_many_arguments)]
fn backward_of<E: Real>(
    dy: &[E],
    x: &[E],
    gain: &[E],
    mean: &[E],
    rstd: &[E],
    dx: &mut [E],
    dgain: &mut [E],
    dbias: &mut [E],
) {
    let (rows, cols) = (mean.len(), gain.len());
    let n = rows * cols;
    let lengths = [
        ("dy", dy.len(), n),
        ("x", x.len(), n),
        ("rstd", rstd.len(), rows),
        ("dx", dx.len(), n),
        ("dgain", dgain.len(), cols),
        ("dbias", dbias.len(), cols),
    ];
    expect_lengths("norm::backward", &lengths);
    let share = E::of(1.0 / cols as f64);
    let chunk = rows_per_task(rows, cols);
    let statistics = mean.par_chunks(chunk).zip_eq(rstd.par_chunks(chunk));
    let inputs = dy.par_chunks(chunk * cols).zip_eq(x.par_chunks(chunk * cols));
    let tasks = dx.par_chunks_mut(chunk * cols).zip_eq(inputs).zip_eq(statistics);
    let parts = tasks.map(|((dx, (dy, x)), (mean, rstd))| {
        let mut part = vec![E::of(0.0); 2 * cols];
        let (dgain, dbias) = part.split_at_mut(cols);
        vectorised!(move || {
            let inputs = dy.chunks_exact(cols).zip(x.chunks_exact(cols)).zip(mean.iter().zip(rstd));
            for (dx, ((dy, x), (mu, r))) in dx.chunks_exact_mut(cols).zip(inputs) {
                let (mu, r) = (*mu, *r);
                let mean_g = sum_by([dy, gain], |[dy, gain]| dy * gain) * share;
                let mean_gx = sum_by([dy, gain, x], |[dy, gain, x]| dy * gain * (x - mu)) * r * share;
                for ((dx, dy), (x, gain)) in dx.iter_mut().zip(dy).zip(x.iter().zip(gain)) {
                    *dx += r * (*dy * *gain - mean_g - (*x - mu) * r * mean_gx);
                }
                for ((dgain, dbias), (dy, x)) in dgain.iter_mut().zip(dbias.iter_mut()).zip(dy.iter().zip(x)) {
                    *dgain += *dy * (*x - mu) * r;
                    *dbias += *dy;
                }
            }
        });
        part
    });
    for part in parts.collect::<Vec<_>>() {
        reduce::add(dgain, &part[..cols]);
        reduce::add(dbias, &part[cols..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};

    const EPSILON: f64 = 1e-5;

    fn naive(x: &[f64], gain: &[f64], bias: &[f64]) -> Vec<f64> {
        let cols = gain.len();
        let row = |x: &[f64]| {
            let mean = x.iter().sum::<f64>() / cols as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / cols as f64;
            let y = |i: usize| (x[i] - mean) / (variance + EPSILON).sqrt() * gain[i] + bias[i];
            (0..cols).map(y).collect::<Vec<_>>()
        };
        x.chunks(cols).flat_map(row).collect()
    }

    #[test]
    fn forward_equals_the_definition_and_backward_central_differences() {
        let (rows, cols) = (4, 21);
        let (x, dy) = (normals::<f64>("x", rows * cols), normals::<f64>("dy", rows * cols));
        let (gain, bias) = (normals::<f64>("gain", cols), normals::<f64>("bias", cols));
        let (mut y, mut mean, mut rstd) = (vec![0.0; rows * cols], vec![0.0; rows], vec![0.0; rows]);
        forward(&x, &gain, &bias, EPSILON, &mut y, &mut mean, &mut rstd);
        assert_close(&y, &naive(&x, &gain, &bias), 1e-13);
        let (mut dx, mut dgain, mut dbias) = (vec![0.0; rows * cols], vec![0.0; cols], vec![0.0; cols]);
        backward(&dy, &x, &gain, &mean, &rstd, &mut dx, &mut dgain, &mut dbias);
        assert_gradient(&x, &dx, |x| weighted(&naive(x, &gain, &bias), &dy));
        assert_gradient(&gain, &dgain, |gain| weighted(&naive(&x, gain, &bias), &dy));
        assert_gradient(&bias, &dbias, |bias| weighted(&naive(&x, &gain, bias), &dy));
    }

    #[test]
    fn a_large_mean_does_not_cancel_in_f32() {
        let x: Vec<f32> = normals::<f32>("x", 64).iter().map(|x| x + 1000.0).collect();
        let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let mut y = vec![0f32; 64];
        forward(&x, &[1.0; 64], &[0.0; 64], EPSILON, &mut y, &mut [0.0], &mut [0.0]);
        assert_close(&y, &naive(&wide, &[1.0; 64], &[0.0; 64]), 1e-3);
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let (rows, cols) = (900, 70);
        let (x, dy) = (normals::<f32>("x", rows * cols), normals::<f32>("dy", rows * cols));
        let (gain, bias) = (normals::<f32>("gain", cols), normals::<f32>("bias", cols));
        assert_same_on_any_threads(|| {
            let (mut y, mut mean, mut rstd) = (vec![0.0; rows * cols], vec![0.0; rows], vec![0.0; rows]);
            let (mut dx, mut dgain, mut dbias) = (vec![0.0; rows * cols], vec![0.0; cols], vec![0.0; cols]);
            forward(&x, &gain, &bias, EPSILON, &mut y, &mut mean, &mut rstd);
            backward(&dy, &x, &gain, &mean, &rstd, &mut dx, &mut dgain, &mut dbias);
            [y, mean, rstd, dx, dgain, dbias].concat()
        });
    }
}
