//! The Gumbel-softmax relaxation, the KL to the uniform distribution and their gradients, gumbel.cu.

use super::grids::Grid;
use super::harness::{Kernels, error, noted, tensor, tensor_mut, uniform};
use proptest::prelude::*;
use std::sync::LazyLock;

type Forward = unsafe extern "C" fn(u64, *const f32, u64, u64, u64, *mut f32, *mut f32, u32, f32, f32);
type Backward = unsafe extern "C" fn(u64, u64, u64, u64, *const f32, *const f32, u64, u32, f32);
type KlForward = unsafe extern "C" fn(u64, u64, *mut f32, *mut f32, u32, f32);
type KlBackward = unsafe extern "C" fn(u64, u64, *const f32, *const f32, u64, u32);

static GUMBEL: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("gumbel"));

/// What a forward pass leaves; without noise z is not made.
struct Relaxed {
    z: Vec<f32>,
    hard: Vec<f32>,
    kl: Vec<f32>,
    lse: Vec<f32>,
    mean: Vec<f32>,
}

fn forward(logits: &[f32], noise: Option<&[f32]>, vocab: usize, tau: f32, hard: bool) -> Relaxed {
    let kernel: Forward = GUMBEL.function("gumbel_forward");
    let kl_alone: KlForward = GUMBEL.function("kl_forward");
    let (count, rows) = (logits.len(), logits.len() / vocab);
    let of = |length| vec![f32::NAN; length];
    let mut it = Relaxed { z: of(count), hard: of(count), kl: of(rows), lse: of(rows), mean: of(rows) };
    let (x, z, kl) = (tensor(logits), tensor_mut(&mut it.z), tensor_mut(&mut it.kl));
    let hard = if hard { tensor_mut(&mut it.hard) } else { 0 };
    let (lse, mean, most) = (it.lse.as_mut_ptr(), it.mean.as_mut_ptr(), (vocab as f64).ln() as f32);
    let (vocab, grid) = (vocab as u32, Grid::row_blocks(rows, vocab));
    // SAFETY: the slices have the lengths that rows and vocab say.
    GUMBEL.launch(grid.blocks, grid.threads, || unsafe {
        match noise {
            Some(noise) => {
                kernel(noted(&x), noise.as_ptr(), noted(&z), hard, noted(&kl), lse, mean, vocab, 1.0 / tau, most)
            }
            None => kl_alone(noted(&x), noted(&kl), lse, mean, vocab, most),
        }
    });
    it
}

/// dlogits, added to `start`; without dz of the KL alone.
fn backward(it: &Relaxed, dz: Option<&[f32]>, dkl: &[f32], logits: &[f32], tau: f32, start: &[f32]) -> Vec<f32> {
    let kernel: Backward = GUMBEL.function("gumbel_backward");
    let kl_alone: KlBackward = GUMBEL.function("kl_backward");
    let vocab = logits.len() / dkl.len();
    let mut dlogits = start.to_vec();
    let (dkl_at, z, x, dx) = (tensor(dkl), tensor(&it.z), tensor(logits), tensor_mut(&mut dlogits));
    let (lse, mean, grid) = (it.lse.as_ptr(), it.mean.as_ptr(), Grid::row_blocks(dkl.len(), vocab));
    // SAFETY: as above.
    GUMBEL.launch(grid.blocks, grid.threads, || unsafe {
        match dz {
            Some(dz) => kernel(tensor(dz), dkl_at, noted(&z), noted(&x), lse, mean, dx, vocab as u32, 1.0 / tau),
            None => kl_alone(dkl_at, noted(&x), lse, mean, dx, vocab as u32),
        }
    });
    dlogits
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let sum: f64 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x.exp() / sum).collect()
}

/// z and KL, and dlogits for either part.
fn naive(logits: &[f32], noise: &[f32], vocab: usize, tau: f32, dz: &[f32], dkl: &[f32]) -> [Vec<f64>; 4] {
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let [mut all_z, mut all_kl, mut of_z, mut of_kl] = [const { Vec::new() }; 4];
    for (row, &dkl) in dkl.iter().enumerate() {
        let at = row * vocab..(row + 1) * vocab;
        let (x, noise, dz) = (wide(&logits[at.clone()]), wide(&noise[at.clone()]), wide(&dz[at]));
        let z = softmax(&x.iter().zip(&noise).map(|(x, noise)| (x + noise) / f64::from(tau)).collect::<Vec<_>>());
        let q = softmax(&x);
        let sum: f64 = z.iter().zip(&dz).map(|(z, dz)| z * dz).sum();
        let mean: f64 = q.iter().map(|q| q * q.ln()).sum();
        of_z.extend(z.iter().zip(&dz).map(|(z, dz)| z * (dz - sum) / f64::from(tau)));
        of_kl.extend(q.iter().map(|q| f64::from(dkl) * q * (q.ln() - mean)));
        all_z.extend(z);
        all_kl.push(mean + (vocab as f64).ln());
    }
    [all_z, all_kl, of_z, of_kl]
}

fn plus(start: &[f32], parts: &[&[f64]]) -> Vec<f64> {
    start
        .iter()
        .enumerate()
        .map(|(i, &start)| f64::from(start) + parts.iter().map(|part| part[i]).sum::<f64>())
        .collect()
}

fn check(rows: usize, vocab: usize, tau: f32, seed: u64) {
    let of = |count, seed, scale: f32| uniform(count, seed).iter().map(|x| scale * x).collect::<Vec<_>>();
    let (logits, noise) = (of(rows * vocab, seed, 5.0), of(rows * vocab, seed + 1, 2.0));
    // Large enough that the gradient of a long row's smallest parts counts.
    let (dz, dkl, start) =
        (of(rows * vocab, seed + 2, 10.0), of(rows, seed + 3, 100.0), of(rows * vocab, seed + 4, 0.1));
    let [z, kl, of_z, of_kl] = naive(&logits, &noise, vocab, tau, &dz, &dkl);
    let soft = forward(&logits, Some(&noise), vocab, tau, false);
    let hard = forward(&logits, Some(&noise), vocab, tau, true);
    let alone = forward(&logits, None, vocab, tau, false);
    assert!(soft.hard.iter().all(|x| x.is_nan()) && soft.z == hard.z && soft.kl == alone.kl);
    for (hard, z) in hard.hard.chunks(vocab).zip(soft.z.chunks(vocab)) {
        let largest = z.iter().copied().fold(0.0, f32::max);
        let first = z.iter().position(|&z| z == largest).unwrap();
        assert!(hard.iter().enumerate().all(|(i, &x)| x == f32::from(u8::from(i == first))));
    }
    let both = backward(&soft, Some(&dz), &dkl, &logits, tau, &start);
    let kl_alone = backward(&alone, None, &dkl, &logits, tau, &start);
    let errors = [
        error(&soft.z, &z),
        error(&soft.kl, &kl),
        error(&both, &plus(&start, &[&of_z, &of_kl])),
        error(&kl_alone, &plus(&start, &[&of_kl])),
    ];
    assert!(errors.iter().all(|&error| error < 3e-5), "{rows}×{vocab}, τ = {tau}: {errors:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn equals_the_definition_and_its_gradients(rows in 1..5usize, vocab in 2..300usize, tau in 0.3..2f32, seed in 0..1000u64) {
        check(rows, vocab, tau, seed);
    }
}

#[test]
fn rows_as_long_as_the_registers_hold() {
    check(1, 8192, 0.9, 1);
    check(1, 16_384, 1.0, 2);
    check(1, 5001, 1.0, 3);
}

#[test]
fn of_equal_values_the_first_is_chosen() {
    for (first, second) in [(3, 700), (512, 513), (699, 40)] {
        let mut logits = vec![0.0; 703];
        (logits[first], logits[second]) = (1.0, 1.0);
        let hard = forward(&logits, Some(&[0.5; 703]), 703, 1.0, true).hard;
        let chosen = hard.iter().position(|&x| x == 1.0);
        assert_eq!((chosen, hard.iter().sum::<f32>()), (Some(first.min(second)), 1.0));
    }
}

#[test]
fn the_kl_reaches_both_ends_of_its_range_and_nan_stays_nan() {
    let mut logits = vec![0.3f32; 2 * 8192];
    logits[8192 + 5] = 1000.0;
    let it = forward(&logits, None, 8192, 1.0, false);
    assert!(it.kl[0] >= 0.0 && it.kl[0] < 1e-5, "{:?}", it.kl);
    assert_eq!(it.kl[1], (8192f64.ln()) as f32);
    let dlogits = backward(&it, None, &[1.0, 1.0], &logits, 1.0, &vec![0.0; logits.len()]);
    assert!(dlogits.iter().all(|d| d.abs() < 1e-5));
    // So near to 0 that rounding alone would be below it.
    let flat: Vec<f32> = uniform(60 * 7, 1).iter().map(|x| 1e-4 * x).collect();
    let it = forward(&flat, None, 7, 1.0, false);
    assert!(it.kl.iter().all(|kl| (0.0..1e-5).contains(kl)) && it.kl.contains(&0.0), "{:?}", it.kl);
    let it = forward(&[f32::NAN, 1.0], Some(&[0.0, 0.0]), 2, 1.0, false);
    assert!(it.kl[0].is_nan() && it.z.iter().all(|z| z.is_nan()));
}

#[test]
fn a_low_temperature_is_nearly_one_hot() {
    let it = forward(&[1.0, 2.0, 0.0], Some(&[0.5, 0.0, 0.0]), 3, 0.01, false);
    assert!(it.z[0] < 1e-20 && it.z[1] == 1.0 && it.z[2] == 0.0, "{:?}", it.z);
}
