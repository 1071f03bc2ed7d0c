//! Gumbel-softmax relaxation and the analytic KL to the uniform prior (paper A.2). Shapes: logits, noise, z (R, V), kl (R);
//! V is `vocab`, τ is `tau`, ln is natural.

use super::lanes::{sum_by, vectorised};
use super::parallel::{expect_lengths, rows_per_task};
use super::softmax::{backward_row, logsumexp, row_in_place};
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

compiled! {
    /// z = softmax((logits + noise)/τ), and the KL of [`kl_forward`] while a row is in the cache.
    pub fn forward(logits: &[E], noise: &[E], vocab: usize, tau: f64, z: &mut [E], kl: &mut [E]) = forward_of;

    /// dlogits += (z·(dz − Σ z·dz))/τ + dkl·q·(ln q − Σ q ln q)
    pub fn backward(gradients: (&[E], &[E]), z: &[E], logits: &[E], tau: f64, dlogits: &mut [E]) = backward_of;

    /// `kl[r] = Σ_v q ln q + ln V`, `q = softmax(logits[r])`; in [0, ln V] nats
    pub fn kl_forward(logits: &[E], vocab: usize, kl: &mut [E]) = kl_forward_of;

    /// `dlogits += dkl[r]·q·(ln q − Σ q ln q)`
    pub fn kl_backward(dkl: &[E], logits: &[E], vocab: usize, dlogits: &mut [E]) = kl_backward_of;
}

fn forward_of<E: Real>(logits: &[E], noise: &[E], vocab: usize, tau: f64, z: &mut [E], kl: &mut [E]) {
    let n = kl.len() * vocab;
    let lengths = [("logits", logits.len(), n), ("noise", noise.len(), n), ("z", z.len(), n)];
    expect_lengths("gumbel::forward", &lengths);
    let scale = E::of(1.0 / tau);
    let rows = rows_per_task(kl.len(), vocab);
    let tasks = z.par_chunks_mut(rows * vocab).zip_eq(logits.par_chunks(rows * vocab));
    tasks.zip_eq(noise.par_chunks(rows * vocab)).zip_eq(kl.par_chunks_mut(rows)).for_each(
        |(((z, logits), noise), kl)| {
            vectorised!(move || {
                let rows = z.chunks_exact_mut(vocab).zip(logits.chunks_exact(vocab)).zip(noise.chunks_exact(vocab));
                for (((z, logits), noise), kl) in rows.zip(kl) {
                    for ((z, logit), noise) in z.iter_mut().zip(logits).zip(noise) {
                        *z = (*logit + *noise) * scale;
                    }
                    row_in_place(z);
                    *kl = kl_of_row(logits);
                }
            });
        },
    );
}

fn backward_of<E: Real>((dz, dkl): (&[E], &[E]), z: &[E], logits: &[E], tau: f64, dlogits: &mut [E]) {
    let vocab = z.len() / dkl.len().max(1);
    let n = dkl.len() * vocab;
    let lengths = [("dz", dz.len(), n), ("z", z.len(), n), ("logits", logits.len(), n), ("dlogits", dlogits.len(), n)];
    expect_lengths("gumbel::backward", &lengths);
    let scale = E::of(1.0 / tau);
    let rows = rows_per_task(dkl.len(), vocab);
    let chunk = (rows * vocab).max(1);
    let tasks = dlogits.par_chunks_mut(chunk).zip_eq(logits.par_chunks(chunk)).zip_eq(z.par_chunks(chunk));
    tasks.zip_eq(dz.par_chunks(chunk)).zip_eq(dkl.par_chunks(rows)).for_each(|((((dlogits, logits), z), dz), dkl)| {
        vectorised!(move || {
            let rows = dlogits.chunks_exact_mut(vocab).zip(logits.chunks_exact(vocab)).zip(z.chunks_exact(vocab));
            for ((((dlogits, logits), z), dz), &dkl) in rows.zip(dz.chunks_exact(vocab)).zip(dkl) {
                backward_row(dz, z, scale, dlogits);
                kl_backward_row(dkl, logits, dlogits);
            }
        });
    });
}

fn kl_forward_of<E: Real>(logits: &[E], vocab: usize, kl: &mut [E]) {
    let rows = kl.len();
    expect_lengths("gumbel::kl_forward", &[("logits", logits.len(), rows * vocab)]);
    let chunk = rows_per_task(rows, vocab);
    kl.par_chunks_mut(chunk).zip_eq(logits.par_chunks(chunk * vocab)).for_each(|(kl, logits)| {
        vectorised!(move || {
            for (kl, logits) in kl.iter_mut().zip(logits.chunks_exact(vocab)) {
                *kl = kl_of_row(logits);
            }
        });
    });
}

fn kl_backward_of<E: Real>(dkl: &[E], logits: &[E], vocab: usize, dlogits: &mut [E]) {
    let rows = dkl.len();
    let lengths = [("logits", logits.len(), rows * vocab), ("dlogits", dlogits.len(), rows * vocab)];
    expect_lengths("gumbel::kl_backward", &lengths);
    let chunk = rows_per_task(rows, vocab);
    let tasks = dlogits.par_chunks_mut(chunk * vocab).zip_eq(logits.par_chunks(chunk * vocab));
    tasks.zip_eq(dkl.par_chunks(chunk)).for_each(|((dlogits, logits), dkl)| {
        vectorised!(move || {
            let rows = dlogits.chunks_exact_mut(vocab).zip(logits.chunks_exact(vocab));
            for ((dlogits, logits), dkl) in rows.zip(dkl) {
                kl_backward_row(*dkl, logits, dlogits);
            }
        });
    });
}

#[inline(always)]
fn kl_of_row<E: Real>(logits: &[E]) -> E {
    let most = E::of((logits.len() as f64).ln());
    // Rounding must not leave the range: a KL of −1e-7 would be reported as a fault.
    let kl = minus_entropy(logits, logsumexp(logits)) + most;
    // By comparisons, which a NaN passes.
    let kl = if kl < E::of(0.0) { E::of(0.0) } else { kl };
    if kl > most { most } else { kl }
}

#[inline(always)]
fn kl_backward_row<E: Real>(dkl: E, logits: &[E], dlogits: &mut [E]) {
    let lse = logsumexp(logits);
    let mean = minus_entropy(logits, lse);
    for (dlogit, logit) in dlogits.iter_mut().zip(logits) {
        let ln_q = *logit - lse;
        *dlogit += dkl * ln_q.fast_exp() * (ln_q - mean);
    }
}

/// Σ q ln q with ln q = logit − lse, which stays finite where q underflows to 0.
#[inline(always)]
fn minus_entropy<E: Real>(logits: &[E], lse: E) -> E {
    sum_by([logits], |[logit]| {
        let ln_q = logit - lse;
        ln_q.fast_exp() * ln_q
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};

    fn naive_softmax(x: &[f64]) -> Vec<f64> {
        let sum: f64 = x.iter().map(|x| x.exp()).sum();
        x.iter().map(|x| x.exp() / sum).collect()
    }

    fn naive_relax(logits: &[f64], noise: &[f64], vocab: usize, tau: f64) -> Vec<f64> {
        let y: Vec<f64> = logits.iter().zip(noise).map(|(l, n)| (l + n) / tau).collect();
        y.chunks(vocab).flat_map(naive_softmax).collect()
    }

    fn naive_kl(logits: &[f64], vocab: usize) -> Vec<f64> {
        let row = |x: &[f64]| naive_softmax(x).iter().map(|q| q * (q * vocab as f64).ln()).sum();
        logits.chunks(vocab).map(row).collect()
    }

    #[test]
    fn the_relaxation_and_its_kl_equal_the_definitions_and_their_gradient() {
        let (vocab, tau, dkl) = (19, 0.7, [0.4, -1.0, 0.3]);
        let (logits, noise) = (normals::<f64>("logits", 3 * vocab), normals::<f64>("noise", 3 * vocab));
        let dz = normals::<f64>("dz", 3 * vocab);
        let (mut z, mut kl) = (vec![0.0; logits.len()], [0.0; 3]);
        forward(&logits, &noise, vocab, tau, &mut z, &mut kl);
        assert_close(&z, &naive_relax(&logits, &noise, vocab, tau), 1e-13);
        assert_close(&kl, &naive_kl(&logits, vocab), 1e-13);
        let mut dlogits = vec![0.0; logits.len()];
        backward((&dz, &dkl), &z, &logits, tau, &mut dlogits);
        assert_gradient(&logits, &dlogits, |logits| {
            weighted(&naive_relax(logits, &noise, vocab, tau), &dz) + weighted(&naive_kl(logits, vocab), &dkl)
        });
    }

    #[test]
    fn the_kl_equals_the_definition_and_its_gradient() {
        let vocab = 19;
        let (logits, dkl) = (normals::<f64>("logits", 3 * vocab), [1.0, -0.5, 2.0]);
        let mut kl = [0.0; 3];
        kl_forward(&logits, vocab, &mut kl);
        assert_close(&kl, &naive_kl(&logits, vocab), 1e-13);
        let mut dlogits = vec![0.0; logits.len()];
        kl_backward(&dkl, &logits, vocab, &mut dlogits);
        assert_gradient(&logits, &dlogits, |logits| weighted(&naive_kl(logits, vocab), &dkl));
    }

    #[test]
    fn the_kl_reaches_both_ends_of_its_range() {
        let mut logits = vec![0.3f32; 2 * 8192];
        logits[8192 + 5] = 1000.0;
        let mut kl = [f32::NAN; 2];
        kl_forward(&logits, 8192, &mut kl);
        assert!(kl[0] >= 0.0 && kl[0] < 1e-5, "uniform: {}", kl[0]);
        assert_eq!(kl[1], 8192f32.ln());
        kl_forward(&[f32::NAN, 1.0], 2, &mut kl[..1]);
        assert!(kl[0].is_nan());
        let mut dlogits = vec![0.0; logits.len()];
        kl_backward(&[1.0, 1.0], &logits, 8192, &mut dlogits);
        assert!(dlogits.iter().all(|x| x.abs() < 1e-5));
    }

    #[test]
    fn a_low_temperature_is_nearly_one_hot() {
        let mut z = [0f32; 3];
        forward(&[1.0, 2.0, 0.0], &[0.5, 0.0, 0.0], 3, 0.01, &mut z, &mut [0.0]);
        assert!(z[0] < 1e-20 && z[1] == 1.0 && z[2] == 0.0, "{z:?}");
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let (rows, vocab) = (400, 130);
        let (logits, noise) = (normals::<f32>("logits", rows * vocab), normals::<f32>("noise", rows * vocab));
        assert_same_on_any_threads(|| {
            let (mut z, mut d, mut kl) = (vec![0.0; rows * vocab], vec![0.0; rows * vocab], vec![0.0; rows]);
            forward(&logits, &noise, vocab, 0.5, &mut z, &mut kl);
            backward((&noise, &kl), &z, &logits, 0.5, &mut d);
            kl_forward(&logits, vocab, &mut kl);
            kl_backward(&kl, &logits, vocab, &mut d);
            [z, d, kl].concat()
        });
    }
}
