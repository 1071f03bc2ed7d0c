//! `experiment bench`: the benchmarks that speed is measured on, each timed in this process. A peer measures the same benchmarks; what
//! counts is the ratio of both in one run on one machine. Those of models (`models.rs`) run on a GPU too, the others measure the
//! processor's own kernels (`kernels.rs`); what a work asks for at the least is in `counts.rs`, what a GPU can do in `rates.rs`.

mod counts;
mod inputs;
mod kernels;
mod models;
mod rates;
mod sampling;
mod timing;

pub use rates::{Peaks, Reached};
pub use timing::{Gpu, Measurement};

use super::device::Device;
use crate::error::{Error, Result};
use crate::kernels::{Kernels, MatmulPrecision, Products};
use crate::ops::with_products;
use dfdx::tensor::Cpu;
use timing::{Bench, Machine};

/// Hears every figure as it comes.
type Emit<'a> = &'a mut dyn FnMut(Measurement) -> Result<()>;

/// A work's name, and how it is measured.
type Benchmark<D> = (&'static str, fn(&Bench<D>, Emit<'_>) -> Result<()>);

/// Where the benchmarks run, and against what.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Where.
    pub device: Device,
    /// What products round their factors to.
    pub products: MatmulPrecision,
    /// Bounds that are given; those of a known GPU otherwise.
    pub peaks: Peaks,
}

/// The work of 1.3 billion parameters. On a processor it takes 8 GB and minutes, so that it is asked for by name there; on a GPU only
/// kernels of our own sample in 16 bits.
const MALEVICH: &str = "malevich";

/// The names of every work.
pub fn names() -> Vec<&'static str> {
    kernels::benchmarks().iter().chain(&models::benchmarks()).map(|(name, _)| *name).collect()
}

/// Measures `asked`, or every work of the device where it is empty; `each` hears every figure as it comes.
///
/// # Errors
/// [`Error::Usage`] for an unknown work, or what the device does not offer; what a work says.
pub fn bench(asked: &[String], settings: Settings, each: Emit<'_>) -> Result<()> {
    if let Some(unknown) = asked.iter().find(|name| !names().contains(&name.as_str())) {
        return Err(Error::Usage(format!("unknown work {unknown:?}: expected one of {}", names().join(", "))));
    }
    let rounded = match (settings.device, settings.products) {
        (Device::Cuda(Kernels::Experimental), _) | (_, MatmulPrecision::F32) => Products::F32,
        (Device::Cpu, MatmulPrecision::Bf16) => Products::Bf16,
        (device, products) => {
            let got = format!("{products:?}").to_lowercase();
            let what = match device {
                Device::Cpu => "expected f32 or bf16",
                Device::Cuda(_) => {
                    "expected f32, or --cuda-kernels experimental, whose kernels round what they multiply"
                }
            };
            return Err(Error::Usage(format!("--products {got}: {what}")));
        }
    };
    let offered = offered(settings.device);
    if let Some(work) = asked.iter().find(|name| !offered.contains(&name.as_str())) {
        let (device, benchmarks) = (settings.device.name(), offered.join(", "));
        return Err(Error::Usage(format!("{work} is not offered on {device}: expected one of {benchmarks}")));
    }
    let wanted: Vec<&str> = match settings.device {
        _ if !asked.is_empty() => asked.iter().map(String::as_str).collect(),
        Device::Cpu => offered.into_iter().filter(|&name| name != MALEVICH).collect(),
        Device::Cuda(_) => offered,
    };
    match settings.device {
        Device::Cpu => {
            let (device, machine, peaks) = (Cpu::default(), Some(Machine::measure()), settings.peaks);
            let benchmarks = kernels::benchmarks().into_iter().chain(models::benchmarks());
            let bench = Bench { device, machine, gpu: None, peaks };
            match rounded {
                Products::F32 => run(&bench, benchmarks, &wanted, each),
                Products::Bf16 => with_products(rounded, || {
                    run(&bench, benchmarks, &wanted, &mut |measured| {
                        each(Measurement { work: measured.work + "-bf16", ..measured })
                    })
                }),
            }
        }
        Device::Cuda(kernels) => on_gpu(&wanted, kernels, settings, each),
    }
}

/// The names of the benchmarks that run on `device`.
fn offered(device: Device) -> Vec<&'static str> {
    match device {
        Device::Cpu => names(),
        Device::Cuda(kernels) => {
            let of_models = models::benchmarks::<Cpu>().into_iter().map(|(name, _)| name);
            of_models.filter(|&name| name != MALEVICH || kernels == Kernels::Experimental).collect()
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn on_gpu(_: &[&str], _: Kernels, _: Settings, _: Emit<'_>) -> Result<()> {
    Err(Device::no_cuda())
}

#[cfg(feature = "cuda")]
fn on_gpu(wanted: &[&str], kernels: Kernels, settings: Settings, each: Emit<'_>) -> Result<()> {
    use crate::kernels::cuda;
    let Settings { device, products, peaks } = settings;
    let opened = cuda::open(kernels)?;
    if let Some(gpu) = cuda::experimental() {
        gpu.set_products(products);
    }
    let gpu = Gpu { device: device.name(), card: cuda::name()?, products };
    let peaks = peaks.or(Peaks::of_card(&gpu.card, products));
    run(&Bench { device: opened, machine: None, gpu: Some(gpu), peaks }, models::benchmarks(), wanted, each)
}

fn run<D>(
    bench: &Bench<D>,
    benchmarks: impl IntoIterator<Item = Benchmark<D>>,
    wanted: &[&str],
    each: Emit<'_>,
) -> Result<()> {
    for (name, work) in benchmarks.into_iter().filter(|(name, _)| wanted.contains(name)) {
        work(bench, &mut |measured| each(Measurement { work: measured.work.replacen("$", name, 1), ..measured }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(work: &str, settings: Settings) -> String {
        match bench(&[work.to_owned()], settings, &mut |_| Ok(())) {
            Err(Error::Usage(text)) => text,
            other => panic!("expected a wrong use, got {other:?}"),
        }
    }

    #[test]
    fn what_is_not_offered_is_refused_before_anything_is_measured() {
        let unknown = refused("train-xl", Settings::default());
        assert!(unknown.contains("train-xl") && unknown.contains("gemm, attention, train-s"), "{unknown}");
        let cuda = Settings { device: Device::Cuda(Kernels::Composed), ..Settings::default() };
        let cpus = refused("gemm", cuda);
        assert!(cpus.starts_with("gemm is not offered on cuda: expected one of train-s, train-l, sample-l"), "{cpus}");
        for (device, expected) in [(Device::Cpu, "expected f32 or bf16"), (cuda.device, "experimental")] {
            let text = refused("train-s", Settings { device, products: MatmulPrecision::Tf32, ..cuda });
            assert!(text.starts_with("--products tf32: ") && text.contains(expected), "{text}");
        }
        assert!(refused(MALEVICH, cuda).starts_with("malevich is not offered on cuda: "));
        assert!(offered(Device::Cuda(Kernels::Experimental)).contains(&MALEVICH));
    }
}
