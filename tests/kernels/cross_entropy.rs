//! Cross-entropy and its gradient, cross_entropy.cu.

use super::grids::Grid;
use super::harness::{Kernels, error, noted, tensor, tensor_mut, uniform};
use proptest::prelude::*;
use std::sync::LazyLock;

type Forward = unsafe extern "C" fn(u64, *const u32, u64, *mut f32, u32);
type Backward = unsafe extern "C" fn(u64, u64, *const u32, *const f32, u64, u32);

static CROSS_ENTROPY: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("cross_entropy"));

/// The loss and logsumexp of each row.
fn forward(logits: &[f32], targets: &[u32]) -> (Vec<f32>, Vec<f32>) {
    let kernel: Forward = CROSS_ENTROPY.function("cross_entropy_forward");
    let (rows, vocab) = (targets.len(), logits.len() / targets.len());
    let (mut nll, mut lse) = (vec![f32::NAN; rows], vec![f32::NAN; rows]);
    let (x, nll_at, lse_at) = (tensor(logits), tensor_mut(&mut nll), lse.as_mut_ptr());
    let grid = Grid::row_blocks(rows, vocab);
    CROSS_ENTROPY.launch(grid.blocks, grid.threads, || {
        // SAFETY: the slices have the lengths that rows and vocab say.
        unsafe { kernel(noted(&x), targets.as_ptr(), noted(&nll_at), lse_at, vocab as u32) }
    });
    (nll, lse)
}

fn backward(dnll: &[f32], logits: &[f32], targets: &[u32], lse: &[f32], mut dlogits: Vec<f32>) -> Vec<f32> {
    let kernel: Backward = CROSS_ENTROPY.function("cross_entropy_backward");
    let (rows, vocab) = (targets.len(), logits.len() / targets.len());
    let (dnll, x, dx, grid) = (tensor(dnll), tensor(logits), tensor_mut(&mut dlogits), Grid::row_blocks(rows, vocab));
    CROSS_ENTROPY.launch(grid.blocks, grid.threads, || {
        // SAFETY: as above.
        unsafe { kernel(dnll, noted(&x), targets.as_ptr(), lse.as_ptr(), dx, vocab as u32) }
    });
    dlogits
}

fn check(rows: usize, vocab: usize, seed: u64) {
    let logits: Vec<f32> = uniform(rows * vocab, seed).iter().map(|x| 8.0 * x + 90.0).collect();
    let targets: Vec<u32> = (0..rows).map(|row| ((row as u64 * 7919 + seed) % vocab as u64) as u32).collect();
    let mut dnll = uniform(rows, seed + 1);
    dnll[rows / 2] = 0.0;
    let start = uniform(rows * vocab, seed + 2);
    let (nll, lse) = forward(&logits, &targets);
    let dlogits = backward(&dnll, &logits, &targets, &lse, start.clone());
    let (mut losses, mut gradients, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for (row, x) in logits.chunks(vocab).enumerate() {
        let sum = x.iter().map(|&x| (f64::from(x) - 90.0).exp()).sum::<f64>().ln() + 90.0;
        let target = targets[row] as usize;
        losses.push(sum - f64::from(x[target]));
        whole.push(sum);
        let gradient = |i: usize| {
            let share = (f64::from(x[i]) - sum).exp() - f64::from(u8::from(i == target));
            f64::from(start[row * vocab + i]) + f64::from(dnll[row]) * share
        };
        gradients.extend((0..vocab).map(gradient));
    }
    let errors = [error(&nll, &losses), error(&lse, &whole), error(&dlogits, &gradients)];
    assert!(errors.iter().all(|&error| error < 1e-5), "{rows}×{vocab}: {errors:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn equals_the_definition_and_its_gradient(rows in 1..7usize, vocab in 1..300usize, seed in 0..1000u64) {
        check(rows, vocab, seed);
    }
}

#[test]
fn rows_of_many_warps_and_longer_than_the_registers_hold() {
    check(2, 8192, 1);
    check(1, 5001, 4);
    check(2, 16_384 + 101, 2);
    check(1, 2 * 16_384, 3);
}

#[test]
fn masked_logits_count_for_nothing() {
    let mut logits = vec![f32::NEG_INFINITY; 20_000];
    // In the first values that the registers hold less than in the second, and at both ends of those.
    (logits[5], logits[16_384], logits[19_999]) = (1.0, 2.0, 2.0);
    let sum = 2.0 + (-1f32).exp();
    let (nll, lse) = forward(&logits, &[19_999]);
    assert!((nll[0] - sum.ln()).abs() < 1e-6 && (lse[0] - 2.0 - sum.ln()).abs() < 1e-6, "{nll:?} {lse:?}");
    let dlogits = backward(&[1.0], &logits, &[19_999], &lse, vec![0.0; 20_000]);
    assert!((dlogits[16_384] - 1.0 / sum).abs() < 1e-6 && (dlogits[19_999] - 1.0 / sum + 1.0).abs() < 1e-6);
    assert!(dlogits.iter().filter(|&&d| d != 0.0).count() == 3);
}

#[test]
fn a_beginning_that_is_masked_counts_for_nothing() {
    let mut logits = vec![f32::NEG_INFINITY; 16_384 + 3];
    logits[16_385] = 2.0;
    assert_eq!(forward(&logits, &[16_385]), (vec![0.0], vec![2.0]));
}

#[test]
fn rows_without_weight_are_passed_over() {
    let logits = [f32::NAN; 4];
    assert_eq!(backward(&[0.0], &logits, &[1], &[f32::NAN], vec![0.5; 4]), [0.5; 4]);
}

#[test]
fn what_is_not_a_number_or_no_target_shows() {
    assert!(forward(&[0.0, f32::NAN, 1.0], &[0]).0[0].is_nan());
    assert!(forward(&[0.0, 2.0, 1.0], &[3]).0[0].is_nan());
}
