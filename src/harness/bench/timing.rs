//! How a work is timed, and what becomes of its seconds.

use super::counts::{self, Count};
use super::rates::{Peaks, Reached};
use crate::error::{Error, Result};
use crate::harness::memory::Peak;
use crate::kernels::MatmulPrecision;
use crate::kernels::cpu::bf16::{Rows, Tiles, Unit, multiply};
use crate::kernels::cpu::matmul::{View, matmul};
use crate::ops::Backend;
use dfdx::tensor::Synchronize;
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
    /// The process's so far, without a GPU's.
    #[serde(flatten)]
    pub memory: Peak,
    /// The share of what bounds the work, measured in the same run: the rate of a large matrix product, or the bandwidth of
    /// a copy for what reads every weight once. `None` on a GPU.
    pub fraction_of_peak: Option<f64>,
    /// On a GPU, or where bounds are given.
    #[serde(flatten)]
    pub reached: Option<Reached>,
    /// What it ran on, if not on the processor.
    #[serde(flatten)]
    pub gpu: Option<Gpu>,
}

/// The GPU of a figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// With which kernels, as `run.json` says it.
    pub device: &'static str,
    /// Its name.
    pub card: String,
    /// What products round their factors to.
    pub products: MatmulPrecision,
}

/// A device that benchmarks run on and that can be waited for.
pub trait Timed: Backend<f32> + Synchronize {}

impl<D: Backend<f32> + Synchronize> Timed for D {}

/// What benchmarks run on, and what their figures are held against.
pub struct Bench<D> {
    /// Where the tensors are.
    pub device: D,
    /// What the processor can do, where it does the work.
    pub machine: Option<Machine>,
    /// The GPU, where that does.
    pub gpu: Option<Gpu>,
    /// The bounds that are known.
    pub peaks: Peaks,
}

impl<D: Synchronize> Bench<D>
where
    Error: From<D::Err>,
{
    /// The median seconds of `times` calls, after two that do not count. A call has ended when the device has done all that it
    /// was told to.
    pub fn median(&self, times: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
        median(times, || {
            call()?;
            self.wait()
        })
    }

    /// Until the device has nothing left to do.
    pub fn wait(&self) -> Result<()> {
        Ok(self.device.try_synchronize()?)
    }

    /// A figure of a work that did `rate` a second.
    pub fn figure(&self, work: &str, value: f64, unit: &'static str, rate: Count) -> Measurement {
        let known = self.gpu.is_some() || self.peaks != Peaks::default();
        Measurement {
            work: work.to_owned(),
            value,
            unit,
            threads: rayon::current_num_threads(),
            memory: Peak::now(),
            fraction_of_peak: None,
            reached: known.then(|| Reached::new(rate, self.peaks)),
            gpu: self.gpu.clone(),
        }
    }

    /// The same with its share of the processor's arithmetic.
    pub fn bounded(&self, work: &str, value: f64, unit: &'static str, rate: Count) -> Measurement {
        let fraction_of_peak = self.machine.map(|machine| rate.flops / machine.flops);
        Measurement { fraction_of_peak, ..self.figure(work, value, unit, rate) }
    }
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
    /// Measures both.
    pub fn measure() -> Machine {
        let source = vec![1.0f32; 64 << 20];
        let mut target = vec![0.0f32; 64 << 20];
        let seconds = infallible(3, || {
            use rayon::prelude::*;
            let pieces = target.par_chunks_mut(1 << 20).zip(source.par_chunks(1 << 20));
            pieces.for_each(|(target, source)| target.copy_from_slice(source));
            black_box(&target);
        });
        let bytes = counts::copy(size_of_val(&source[..])).bytes / seconds;
        Machine { flops: product(2560, 512, 2048).flops, bytes }
    }
}

/// The rate of a product of (m, k) and (k, n) on the processor.
pub fn product(m: usize, k: usize, n: usize) -> Count {
    let (a, b) = (vec![0.5f32; m * k], vec![0.25f32; k * n]);
    let mut c = vec![0.0f32; m * n];
    let seconds = infallible(15, || matmul(black_box(&mut c), (m, n, k), View::rows(&a, k), View::rows(&b, n), false));
    counts::product(m, k, n) / seconds
}

/// The same with both factors in bf16, as a training step keeps them: rows of activations and tiles of weights.
pub fn rounded_product(m: usize, k: usize, n: usize) -> Count {
    let (a, b) = (Rows::of(&vec![0.5; m * k], k), Tiles::of(&vec![0.25; k * n], n));
    let mut c = vec![0.0f32; m * n];
    let seconds = infallible(15, || multiply(Unit::best(), black_box(&mut c), &a, &b, false));
    counts::product(m, k, n) / seconds
}

/// [`median`] of calls that do not fail.
fn infallible(times: usize, mut call: impl FnMut()) -> f64 {
    let measured: Result<f64> = median(times, || {
        call();
        Ok(())
    });
    measured.unwrap_or(f64::NAN)
}

/// The median seconds of `times` calls, after two that do not count.
fn median(times: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
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
    use dfdx::tensor::{Cpu, CpuError, HasErr};
    use serde_json::Value;
    use std::cell::Cell;

    #[test]
    fn two_calls_warm_up() {
        let mut calls = 0;
        assert!(infallible(5, || calls += 1) >= 0.0);
        assert_eq!(calls, 7);
    }

    /// A device that counts how often it is waited for.
    #[derive(Default)]
    struct Late(Cell<usize>);

    impl HasErr for Late {
        type Err = CpuError;
    }

    impl Synchronize for Late {
        fn try_synchronize(&self) -> std::result::Result<(), CpuError> {
            self.0.set(self.0.get() + 1);
            Ok(())
        }
    }

    #[test]
    fn a_call_ends_when_the_device_is_done() {
        let bench = Bench { device: Late::default(), machine: None, gpu: None, peaks: Peaks::default() };
        let mut calls = 0;
        let each = || {
            calls += 1;
            assert_eq!(bench.device.0.get(), calls - 1);
            Ok(())
        };
        bench.median(3, each).unwrap();
        assert_eq!(bench.device.0.get(), 5);
    }

    #[test]
    fn a_figure_of_the_processor_has_the_fields_that_it_always_had() {
        let keys = |measured: &Measurement| -> Vec<String> {
            let Value::Object(fields) = serde_json::to_value(measured).unwrap() else { panic!("not an object") };
            fields.into_iter().map(|(key, _)| key).collect()
        };
        let machine = Machine { flops: 4.0, bytes: 1.0 };
        let cpu = Bench { device: Cpu::default(), machine: Some(machine), gpu: None, peaks: Peaks::default() };
        let rate = Count { flops: 3.0, bytes: 2.0 };
        let figure = cpu.bounded("gemm", 1.0, "GFLOP/s", rate);
        assert_eq!(figure.fraction_of_peak, Some(0.75));
        let always = ["work", "value", "unit", "threads", "peak_live_mib", "peak_rss_mib", "fraction_of_peak"];
        assert_eq!(keys(&figure), always);

        let peaks = Peaks { tflops: Some(1.0), tb_per_s: Some(1.0) };
        let reached = ["tflops", "tb_per_s", "share_of_flops_bound", "share_of_bytes_bound"];
        let given = Bench { peaks, ..cpu };
        assert_eq!(keys(&given.figure("gemm", 1.0, "GFLOP/s", rate))[7..], reached);

        let gpu = Some(Gpu { device: "cuda", card: "a card".to_owned(), products: MatmulPrecision::Bf16 });
        let figure = Bench { machine: None, gpu, ..given }.bounded("gemm", 1.0, "GFLOP/s", rate);
        assert_eq!(keys(&figure)[7..], [&reached[..], &["device", "card", "products"]].concat());
        let json = serde_json::to_value(&figure).unwrap();
        assert!(json["fraction_of_peak"].is_null() && json["products"] == "bf16");
    }
}
