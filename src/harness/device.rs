//! Where a run's arithmetic happens.

use super::models::Models;
use super::spec::Spec;
use crate::error::{Error, Result};

/// A device that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor, with kernels of our own.
    #[default]
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
}

impl Device {
    /// As the command line and `run.json` write it.
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda => "cuda",
        }
    }

    /// What a build without CUDA says.
    #[cfg(not(feature = "cuda"))]
    pub(super) fn no_cuda() -> Error {
        Error::Device("no CUDA in this build: build it with --features cuda, or leave out --device cuda".into())
    }

    /// The models of a spec, their parameters on this device.
    ///
    /// # Errors
    /// Those of [`Models::build`]; [`Error::Device`] where there is no such device, or too little memory on it.
    pub fn models(self, spec: &Spec) -> Result<Models> {
        match self {
            Device::Cpu => Models::build(spec),
            Device::Cuda => on_gpu(spec),
        }
    }

    /// `run`, in which dfdx panics where a GPU is lost between two kernels: that is an error of the device.
    ///
    /// # Errors
    /// Those of `run`, and [`Error::Device`].
    pub fn guarded<R>(self, run: impl FnOnce() -> Result<R>) -> Result<R> {
        if self == Device::Cpu {
            return run();
        }
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(Error::Device(format!("the GPU failed: {}", said.unwrap_or("for no reason given"))))
        })
    }
}

#[cfg(not(feature = "cuda"))]
fn on_gpu(_: &Spec) -> Result<Models> {
    Err(Device::no_cuda())
}

#[cfg(feature = "cuda")]
fn on_gpu(spec: &Spec) -> Result<Models> {
    use super::plan::{Machine, plan_on};
    use crate::kernels::cuda;

    let device = cuda::open()?;
    let (free, _) = cuda::memory(&device)?;
    // What the CPU's kernels keep is the least that compositions of dfdx operations keep.
    let machine = Machine { threads: 1, flops_per_second: 1.0, available_bytes: Some(free as f64) };
    if let Some(warning) = plan_on(spec, machine)?.warnings.first() {
        let what = format!("too little memory on the GPU: {warning}; `experiment plan SPEC` says what takes it");
        return Err(Error::Device(what));
    }
    super::models::on_device(spec, &device)
}
