//! `experiment bench`: the works that speed is measured on, each timed in this process. A peer measures the same works; what
//! counts is the ratio of both in one run on one machine.

mod works;

use crate::error::{Error, Result};
use crate::harness::memory::Peak;
use crate::kernels::cpu::matmul::{View, matmul};
use serde::Serialize;
use std::hint::black_box;
use std::time::Instant;

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The work's name, with its part.
    pub work: String,
    /// The median.
    pub value: f64,
    /// What it counts.
    pub unit: &'static str,
    /// Of the thread pool.
    pub threads: usize,
    /// The process's so far.
    #[serde(flatten)]
    pub memory: Peak,
    /// The share of what bounds the work, measured in the same run: the rate of a large matrix product, or the bandwidth of
    /// a copy for what reads every weight once.
    pub fraction_of_peak: Option<f64>,
}

/// A work's name, and how it is measured.
type Work = (&'static str, fn(&Machine) -> Result<Vec<Measurement>>);

/// Every work.
const WORKS: [Work; 8] = [
    ("gemm", works::gemm),
    ("attention", works::attention),
    ("train-s", works::train_s),
    ("train-l", works::train_l),
    ("sample-l", works::sample_l),
    ("dvae-train", works::dvae_train),
    ("dvae-256", works::dvae_256),
    ("clip-b32", works::clip_b32),
];

/// Their names.
pub fn names() -> Vec<&'static str> {
    WORKS.iter().map(|(name, _)| *name).collect()
}

/// Measures `asked`, or every work where it is empty; `each` hears every figure as it comes.
///
/// # Errors
/// [`Error::Usage`] for an unknown work; what a work says.
pub fn bench(asked: &[String], each: &mut dyn FnMut(Measurement) -> Result<()>) -> Result<()> {
    if let Some(unknown) = asked.iter().find(|name| !names().contains(&name.as_str())) {
        return Err(Error::Usage(format!("unknown work {unknown:?}: expected one of {}", names().join(", "))));
    }
    let machine = Machine::measure();
    for (name, work) in WORKS.iter().filter(|(name, _)| asked.is_empty() || asked.iter().any(|a| a == name)) {
        for measured in work(&machine)? {
            each(Measurement { work: measured.work.replacen("$", name, 1), ..measured })?;
        }
    }
    Ok(())
}

/// What the machine can do at the most, as far as this project's kernels reach it.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Floating-point operations a second of a 2560 × 512 × 2048 product.
    pub flops: f64,
    /// Bytes a second of a large copy, read and written.
    pub bytes: f64,
}

impl Machine {
    fn measure() -> Machine {
        let source = vec![1.0f32; 64 << 20];
        let mut target = vec![0.0f32; 64 << 20];
        let seconds = median(3, || {
            use rayon::prelude::*;
            let pieces = target.par_chunks_mut(1 << 20).zip(source.par_chunks(1 << 20));
            pieces.for_each(|(target, source)| target.copy_from_slice(source));
            black_box(&target);
        });
        let bytes = 2.0 * size_of_val(&source[..]) as f64 / seconds;
        Machine { flops: product(2560, 512, 2048), bytes }
    }

    /// A figure, and its share of the arithmetic peak where `flops` a second are known.
    fn figure(&self, work: &str, value: f64, unit: &'static str, flops: Option<f64>) -> Measurement {
        Measurement {
            work: work.to_owned(),
            value,
            unit,
            threads: rayon::current_num_threads(),
            memory: Peak::now(),
            fraction_of_peak: flops.map(|flops| flops / self.flops),
        }
    }
}

/// Floating-point operations a second of a product of (m, k) and (k, n).
fn product(m: usize, k: usize, n: usize) -> f64 {
    let (a, b) = (vec![0.5f32; m * k], vec![0.25f32; k * n]);
    let mut c = vec![0.0f32; m * n];
    let seconds = median(15, || matmul(black_box(&mut c), (m, n, k), View::rows(&a, k), View::rows(&b, n), false));
    2.0 * (m * k * n) as f64 / seconds
}

/// The median seconds of `times` calls, after two that do not count.
fn median(times: usize, mut call: impl FnMut()) -> f64 {
    let measured: Result<f64> = try_median(times, || {
        call();
        Ok(())
    });
    measured.unwrap_or(f64::NAN) // these calls do not fail
}

/// The same of calls that may fail.
fn try_median(times: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..2 {
        call()?;
    }
    let mut seconds = Vec::new();
    for _ in 0..times {
        let started = Instant::now();
        call()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[times / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_works_are_refused_before_anything_is_measured() {
        let error = bench(&["train-xl".into()], &mut |_| Ok(())).unwrap_err();
        assert!(matches!(&error, Error::Usage(text) if text.contains("sample-l")), "{error}");
    }

    #[test]
    fn two_calls_warm_up() {
        let mut calls = 0;
        assert!(median(5, || calls += 1) >= 0.0);
        assert_eq!(calls, 7);
    }
}
