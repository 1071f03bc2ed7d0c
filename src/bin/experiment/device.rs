//! `--device` and `--cuda-kernels`.

use crate::usage;
use clap::{Args, ValueEnum};
use dalle::Result;
use dalle::harness::device::Device;
use dalle::harness::open::Which;
use dalle::kernels::Kernels;

/// Where the arithmetic happens.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Where the arithmetic happens.
    #[arg(long, default_value = "cpu", value_enum)]
    device: DeviceKind,
    /// Which kernels a GPU runs; the experimental ones have not run on one yet.
    #[arg(long, default_value = "composed", value_enum)]
    cuda_kernels: Choice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeviceKind {
    Cpu,
    Cuda,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    Composed,
    Experimental,
}

impl DeviceArgs {
    /// The arguments that ask for the same.
    pub fn words(&self) -> Vec<String> {
        let word = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
        let named = |option: &'static str, value| {
            word(value).into_iter().flat_map(move |value| [option.to_owned(), value]).collect::<Vec<_>>()
        };
        match self.device {
            DeviceKind::Cpu => Vec::new(),
            DeviceKind::Cuda => [
                named("--device", self.device.to_possible_value()),
                named("--cuda-kernels", self.cuda_kernels.to_possible_value()),
            ]
            .concat(),
        }
    }

    /// `work` on the device that is asked for; where that fails, its error.
    pub fn run(&self, work: impl FnOnce(Device) -> Result<()>) -> Result<()> {
        let device = self.device()?;
        device.guarded(|| work(device))
    }

    /// The device that is asked for.
    pub fn device(&self) -> Result<Device> {
        match (self.device, self.cuda_kernels) {
            (DeviceKind::Cpu, Choice::Composed) => Ok(Device::Cpu),
            (DeviceKind::Cpu, Choice::Experimental) => {
                usage("--cuda-kernels experimental: expected --device cuda with it")
            }
            (DeviceKind::Cuda, Choice::Composed) => Ok(Device::Cuda(Kernels::Composed)),
            (DeviceKind::Cuda, Choice::Experimental) => Ok(Device::Cuda(Kernels::Experimental)),
        }
    }
}

/// Which checkpoints of a run are used.
#[derive(Debug, Clone, Copy, Args)]
pub struct CheckpointArgs {
    /// Uses an older checkpoint of a run where the newest is damaged, and says so.
    #[arg(long)]
    allow_older_checkpoint: bool,
}

impl CheckpointArgs {
    pub fn which(self) -> Which {
        if self.allow_older_checkpoint { Which::OrOlder } else { Which::Newest }
    }
}
