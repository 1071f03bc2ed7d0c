//! NVIDIA GPUs: opening one, what is free on it, and the kernels that dfdx lacks.
//!
//! dfdx has its own kernels as PTX in the binary, but for a few that it compiles at run time with CUDA's headers; of those the
//! ones that the models use are here ([`open`] loads them), so that a GPU machine needs the driver and cuBLAS alone.

mod libraries;

use crate::error::{Error, Result};
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaDevice, DriverError, result};
use cudarc::nvrtc::Ptx;
use dfdx::prelude::{Cuda, Gradients, Tensor, ZerosTensor};
use dfdx::tensor::CudaError;
use std::sync::Arc;

/// (PTX, the module's name in dfdx, its functions).
const MODULES: [(&str, &str, &[&str]); 3] = [
    (include_str!(concat!(env!("OUT_DIR"), "/reshape.ptx")), "reshape_fwd_float", &["reshape_fwd"]),
    (include_str!(concat!(env!("OUT_DIR"), "/reshape.ptx")), "reshape_bwd_float", &["reshape_bwd"]),
    (include_str!(concat!(env!("OUT_DIR"), "/concat.ptx")), "concat_float", &["fwd", "bwd"]),
];

/// The first GPU, with every kernel that the models need.
///
/// # Errors
/// [`Error::Device`] where a library, the GPU or the right driver is missing: one line that says which.
pub fn open() -> Result<Cuda> {
    libraries::open()?;
    // dfdx unwraps these two.
    result::init().map_err(failed("the driver does not start"))?;
    if result::device::get_count().map_err(failed("the driver does not say what GPUs there are"))? == 0 {
        return Err(Error::Device("no GPU: the driver sees none (CUDA_VISIBLE_DEVICES hides them)".into()));
    }
    let device = Cuda::try_build(0, 0).map_err(failed("the GPU cannot be opened"))?;
    let driver = driver(&device)?;
    for (ptx, module, functions) in MODULES {
        let loaded = driver.load_ptx(Ptx::from_src(ptx), module, functions);
        loaded.map_err(failed(
            "the driver takes no kernels of CUDA 13: expected driver 580 or newer and a GPU from sm_80 on",
        ))?;
    }
    Ok(device)
}

/// Bytes that are free on the GPU, and all of them.
///
/// # Errors
/// [`Error::Device`] where the driver does not say.
pub fn memory(device: &Cuda) -> Result<(usize, usize)> {
    driver(device)?.bind_to_thread().map_err(failed("the GPU is gone"))?;
    result::mem_get_info().map_err(failed("the driver does not say what memory is free"))
}

/// cudarc's device under dfdx's, which keeps it to itself; a gradient's buffer knows it.
fn driver(device: &Cuda) -> Result<Arc<CudaDevice>> {
    let one: Tensor<(), f32, Cuda> = device.try_zeros().map_err(failed("the GPU gives no memory"))?;
    let mut gradients = Gradients::<f32, Cuda>::leaky();
    let buffer = gradients.get_or_alloc_mut(&one.ghost()).map_err(failed("the GPU gives no memory"))?;
    Ok(buffer.device())
}

fn failed<E: Into<CudaError>>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Device(format!("{what}: {}", reason(&error.into())))
}

/// The driver's own words, where it has any; and what helps, where memory is used up.
fn reason(error: &CudaError) -> String {
    if let CudaError::Driver(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) = error {
        let free =
            result::mem_get_info().map_or_else(|_| String::new(), |(free, _)| format!(" ({} MiB free)", free >> 20));
        return format!(
            "the GPU's memory is used up{free}: smaller batches, `accumulate` or `recompute` take less; \
             `experiment plan SPEC` says how much"
        );
    }
    if let CudaError::Driver(driver) = error
        && let (Ok(name), Ok(text)) = (driver.error_name(), driver.error_string())
    {
        return format!("{} ({})", text.to_string_lossy(), name.to_string_lossy());
    }
    error.to_string()
}

impl From<CudaError> for Error {
    fn from(error: CudaError) -> Self {
        Error::Device(reason(&error))
    }
}
