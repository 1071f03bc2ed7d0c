//! Where a run's arithmetic happens.

use super::models::{self, Family};
use super::plan::{self, Machine, plan_on};
use crate::error::{Error, Result, without_panic};
use crate::kernels::Kernels;
use crate::spec::Spec;
use std::{fmt::Display, path::Path};

/// A device that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor, with kernels of our own.
    #[default]
    Cpu,
    /// The first NVIDIA GPU.
    Cuda(Kernels),
}

impl Device {
    /// As `run.json` and tables write it.
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda(Kernels::Composed) => "cuda",
            Device::Cuda(Kernels::Experimental) => "cuda, experimental kernels",
        }
    }

    /// The device of that [`Device::name`].
    pub fn named(name: &str) -> Option<Device> {
        [Device::Cpu, Device::Cuda(Kernels::Composed), Device::Cuda(Kernels::Experimental)]
            .into_iter()
            .find(|device| device.name() == name)
    }

    /// The model's name of the GPU that is used, where one is.
    pub fn card(self) -> Option<String> {
        #[cfg(feature = "cuda")]
        if self != Device::Cpu {
            return crate::kernels::cuda::name().ok();
        }
        None
    }

    /// What a build without CUDA says.
    #[cfg(not(feature = "cuda"))]
    pub(super) fn no_cuda() -> Error {
        Error::Device("no CUDA in this build: build it with --features cuda, or leave out --device cuda".into())
    }

    /// The models of a spec, to be trained on this device.
    ///
    /// # Errors
    /// Those of [`models::named`]; [`Error::Device`] where there is no such device, or too little memory on it.
    pub fn to_train(self, spec: &Spec) -> Result<Box<dyn Family>> {
        match self {
            Device::Cpu => {
                fits_here(spec, plan::available_bytes())?;
                models::named(spec)
            }
            Device::Cuda(kernels) => on_gpu(spec, kernels, true),
        }
    }

    /// [`Device::to_train`] for models that are only used: they need not fit with what training keeps.
    ///
    /// # Errors
    /// Those of [`Device::to_train`].
    pub fn to_use(self, spec: &Spec) -> Result<Box<dyn Family>> {
        match self {
            Device::Cpu => models::named(spec),
            Device::Cuda(kernels) => on_gpu(spec, kernels, false),
        }
    }

    /// Readies a GPU for what samples there by kernels of our own alone: an imported transformer, named `what`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a GPU with other kernels; [`Error::Device`] where there is none.
    pub(super) fn own_kernels(self, what: impl Display) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(Kernels::Experimental) => open(Kernels::Experimental).map(drop),
            Device::Cuda(Kernels::Composed) => {
                let how = "expected --cuda-kernels experimental, or no --device cuda";
                Err(Error::Usage(format!("{what} samples on a GPU by kernels of our own alone: {how}")))
            }
        }
    }

    /// Refuses a GPU for the imported file `path`, whose model runs on the processor.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(super) fn only_cpu(self, path: &Path) -> Result<()> {
        if self == Device::Cpu {
            return Ok(());
        }
        Err(Error::Usage(format!("{}: imported weights run on the CPU: leave out --device cuda", path.display())))
    }

    /// `run`, in which dfdx panics where a GPU is lost between two kernels: that is an error of the device.
    ///
    /// # Errors
    /// Those of `run`, and [`Error::Device`].
    pub fn guarded<R>(self, run: impl FnOnce() -> Result<R>) -> Result<R> {
        if self == Device::Cpu {
            return run();
        }
        without_panic(run).unwrap_or_else(|said| Err(Error::Device(format!("the GPU failed: {said}"))))
    }
}

/// Whether this machine can hold what each stage needs to be trained: found before anything is allocated.
fn fits_here(spec: &Spec, available: Option<f64>) -> Result<()> {
    // What no machine can build, and an unknown preset, are for the builder to say.
    if spec.preset == "paper" {
        return Ok(());
    }
    let machine = Machine { threads: 1, flops_per_second: None, available_bytes: available };
    let stages = plan_on(spec, machine).map(|plan| plan.stages).unwrap_or_default();
    match stages.iter().find_map(|stage| plan::warning(stage.name, stage.memory.peak(), machine)) {
        None => Ok(()),
        Some(warning) => Err(Error::Device(format!("too little memory: {warning}; {TAKES_LESS}"))),
    }
}

/// What to do about it.
const TAKES_LESS: &str =
    "smaller batches, `accumulate` or `recompute` take less; `experiment plan SPEC` says what takes it";

#[cfg(not(feature = "cuda"))]
fn on_gpu(_: &Spec, _: Kernels, _: bool) -> Result<Box<dyn Family>> {
    Err(Device::no_cuda())
}

#[cfg(not(feature = "cuda"))]
fn open(_: Kernels) -> Result<()> {
    Err(Device::no_cuda())
}

#[cfg(feature = "cuda")]
use crate::kernels::cuda::open;

#[cfg(feature = "cuda")]
fn on_gpu(spec: &Spec, kernels: Kernels, training: bool) -> Result<Box<dyn Family>> {
    use crate::kernels::{MatmulPrecision, Products, cuda};
    let stages = [
        ("first_stage", spec.first_stage.precision),
        ("transformer", spec.transformer.precision),
        ("clip", spec.clip.precision),
    ];
    if let Some((stage, _)) = stages.iter().find(|(_, precision)| *precision != Products::F32) {
        return Err(Error::Usage(format!(
            "{stage}.precision: bf16 is for a CPU; on a GPU `gpu.products: bf16` says it"
        )));
    }
    let device = cuda::open(kernels)?;
    match cuda::experimental() {
        Some(gpu) => gpu.set_products(spec.gpu.products),
        None if spec.gpu.products == MatmulPrecision::F32 => {}
        None => {
            let what =
                "gpu.products: only f32 without --cuda-kernels experimental, whose kernels round what they multiply";
            return Err(Error::Usage(what.into()));
        }
    }
    if training {
        let (free, _) = cuda::memory(&device)?;
        fits(spec, free)?;
    }
    models::on_device(spec, &device)
}

/// Whether a GPU with `free` bytes can hold the least that each stage needs: what the CPU's kernels keep, and compositions of
/// dfdx operations keep more.
#[cfg(any(feature = "cuda", test))]
fn fits(spec: &Spec, free: usize) -> Result<()> {
    let machine = Machine { threads: 1, flops_per_second: None, available_bytes: Some(free as f64) };
    match plan_on(spec, machine)?.warnings.first() {
        None => Ok(()),
        Some(warning) => Err(Error::Device(format!("too little memory on the GPU: {warning}; {TAKES_LESS}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::load;
    use crate::models::presets;

    #[test]
    fn too_little_memory_is_said_with_what_is_needed_and_what_is_free() {
        let spec = load::check("a test", "{name: small, preset: tiny}", &[], presets::NAMES).unwrap();
        fits(&spec, 1 << 40).unwrap();
        let error = fits(&spec, 3 << 10).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 6);
        assert!(text.starts_with("device: too little memory on the GPU: dvae needs "), "{text}");
        assert!(text.contains("3.00 KiB are available") && text.contains("experiment plan"), "{text}");
    }

    #[test]
    fn a_stage_that_this_machine_cannot_hold_is_refused_before_it_is_built() {
        let spec = |batch: &str| {
            load::check(
                "a test",
                &format!("{{name: a, preset: tiny, transformer: {{batch: {batch}}}}}"),
                &[],
                presets::NAMES,
            )
        };
        let huge = spec("1048576").unwrap();
        fits_here(&huge, None).unwrap();
        fits_here(&spec("8").unwrap(), Some(1e9)).unwrap();
        let error = fits_here(&huge, Some(1e9)).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 6);
        assert!(
            text.starts_with("device: too little memory: transformer needs ") && text.contains("MiB are available"),
            "{text}"
        );
        for beyond in ["1048577", "1000000000", "18446744073709551615"] {
            assert_eq!(spec(beyond).unwrap_err().exit_code(), 2, "{beyond}");
        }
    }

    #[test]
    fn a_lost_device_is_an_error_of_the_device() {
        let error =
            Device::Cuda(Kernels::Composed).guarded(|| -> Result<()> { panic!("{}", "launch failed") }).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (6, "device: the GPU failed: launch failed"));
        assert_eq!(Device::Cuda(Kernels::Composed).guarded(|| Ok(3)).unwrap(), 3);
        assert!(matches!(
            Device::Cuda(Kernels::Composed).guarded(|| -> Result<()> { Err(Error::Usage("x".into())) }),
            Err(Error::Usage(_))
        ));
    }
}
