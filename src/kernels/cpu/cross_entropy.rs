//! Softmax cross-entropy with a weight per row:
//! `loss = Σ_r weight[r]·(logsumexp(logits[r]) − logits[r, target[r]])`, in nats. Shapes: logits (R, V), targets, nll, lse, dnll (R).

use super::lanes::vectorised;
use super::parallel::{expect_lengths, rows_per_task};
use super::softmax::logsumexp;
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

compiled! {
    /// Writes the loss per row, *unweighted*, to `nll` (R) and the logsumexp per row to `lse` (R); V is `vocab`.
    ///
    /// # Panics
    /// If a target is not below V.
    pub fn forward(logits: &[E], vocab: usize, targets: &[u32], nll: &mut [E], lse: &mut [E]) = forward_of;

    /// `dlogits += dnll[r]·(softmax(logits[r]) − onehot(target[r]))`
    ///
    /// # Panics
    /// If a target is not below V.
    pub fn backward(dnll: &[E], logits: &[E], lse: &[E], vocab: usize, targets: &[u32], dlogits: &mut [E]) = backward_of;
}

fn forward_of<E: Real>(logits: &[E], vocab: usize, targets: &[u32], nll: &mut [E], lse: &mut [E]) {
    let rows = targets.len();
    let lengths = [("logits", logits.len(), rows * vocab), ("nll", nll.len(), rows), ("lse", lse.len(), rows)];
    expect_lengths("cross_entropy::forward", &lengths);
    let chunk = rows_per_task(rows, vocab);
    let results = nll.par_chunks_mut(chunk).zip_eq(lse.par_chunks_mut(chunk));
    let inputs = logits.par_chunks(chunk * vocab).zip_eq(targets.par_chunks(chunk));
    results.zip_eq(inputs).for_each(|((nll, lse), (logits, targets))| {
        vectorised!(move || {
            let rows = logits.chunks_exact(vocab).zip(targets);
            for ((logits, target), (nll, lse)) in rows.zip(nll.iter_mut().zip(lse)) {
                *lse = logsumexp(logits);
                *nll = *lse - logits[index(*target, vocab)];
            }
        });
    });
}

fn backward_of<E: Real>(dnll: &[E], logits: &[E], lse: &[E], vocab: usize, targets: &[u32], dlogits: &mut [E]) {
    let rows = targets.len();
    let n = rows * vocab;
    let lengths = [
        ("dnll", dnll.len(), rows),
        ("logits", logits.len(), n),
        ("lse", lse.len(), rows),
        ("dlogits", dlogits.len(), n),
    ];
    expect_lengths("cross_entropy::backward", &lengths);
    let chunk = rows_per_task(rows, vocab);
    let tasks = dlogits.par_chunks_mut(chunk * vocab).zip_eq(logits.par_chunks(chunk * vocab));
    tasks.enumerate().for_each(|(task, (dlogits, logits))| {
        vectorised!(move || {
            let rows = dlogits.chunks_exact_mut(vocab).zip(logits.chunks_exact(vocab)).enumerate();
            for (r, (dlogits, logits)) in rows {
                let r = task * chunk + r;
                let (dnll, lse) = (dnll[r], lse[r]);
                // Rows of weight zero are common (padding): nothing to do.
                if dnll == E::of(0.0) {
                    continue;
                }
                for (dlogit, logit) in dlogits.iter_mut().zip(logits) {
                    *dlogit += dnll * (*logit - lse).fast_exp();
                }
                dlogits[index(targets[r], vocab)] -= dnll;
            }
        });
    });
}

#[inline(always)]
fn index(target: u32, vocab: usize) -> usize {
    assert!((target as usize) < vocab, "cross_entropy: target {target} of a vocabulary of {vocab}");
    target as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};

    fn naive(logits: &[f64], targets: &[u32]) -> Vec<f64> {
        let rows = logits.chunks(logits.len() / targets.len()).zip(targets);
        rows.map(|(x, target)| x.iter().map(|x| x.exp()).sum::<f64>().ln() - x[*target as usize]).collect()
    }

    #[test]
    fn forward_equals_the_definition_and_backward_central_differences() {
        let (vocab, targets) = (21, [0, 20, 7, 7]);
        let (logits, dnll) = (normals::<f64>("logits", 4 * vocab), [1.0, 0.5, 0.0, -2.0]);
        let (mut nll, mut lse) = ([0.0; 4], [0.0; 4]);
        forward(&logits, vocab, &targets, &mut nll, &mut lse);
        assert_close(&nll, &naive(&logits, &targets), 1e-13);
        let mut dlogits = vec![0.0; logits.len()];
        backward(&dnll, &logits, &lse, vocab, &targets, &mut dlogits);
        assert_gradient(&logits, &dlogits, |logits| weighted(&naive(logits, &targets), &dnll));
        let once = dlogits.clone();
        backward(&dnll, &logits, &lse, vocab, &targets, &mut dlogits);
        assert_close(&dlogits, &once.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-13);
        let logits: Vec<f32> = logits.iter().map(|x| *x as f32).collect();
        let (mut nll32, mut lse32) = ([0f32; 4], [0f32; 4]);
        forward(&logits, vocab, &targets, &mut nll32, &mut lse32);
        assert_close(&nll32, &nll, 1e-6);
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let (rows, vocab) = (500, 130);
        let logits = normals::<f32>("logits", rows * vocab);
        let targets: Vec<u32> = (0..rows as u32).map(|r| r % 130).collect();
        assert_same_on_any_threads(|| {
            let (mut nll, mut lse) = (vec![0.0; rows], vec![0.0; rows]);
            let mut dlogits = vec![0.0; logits.len()];
            forward(&logits, vocab, &targets, &mut nll, &mut lse);
            backward(&nll, &logits, &lse, vocab, &targets, &mut dlogits);
            [nll, lse, dlogits].concat()
        });
    }

    #[test]
    #[should_panic(expected = "target 3 of a vocabulary of 3")]
    fn a_target_outside_the_vocabulary_is_refused() {
        forward(&[0.0f32; 3], 3, &[3], &mut [0.0], &mut [0.0]);
    }
}
