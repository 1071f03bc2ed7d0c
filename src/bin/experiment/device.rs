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
