//! NVIDIA GPUs: opening one, what is free on it, and the kernels that dfdx lacks.
//!
//! dfdx has its own kernels as PTX in the binary, but for a few that it compiles at run time with CUDA's headers; of those the
//! ones that the models use are here ([`open`] loads them), so that a GPU machine needs the driver and cuBLAS alone.

pub mod adamw;
pub mod gpu;
mod graph;
pub mod grids;
mod libraries;
pub mod sampler;
pub mod tile_lists;

use crate::error::{Error, Result};
use crate::kernels::Kernels;
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaDevice, DriverError, result, sys};
use cudarc::nvrtc::Ptx;
use dfdx::prelude::{Cuda, Gradients, Tensor, ZerosTensor};
use dfdx::tensor::CudaError;
use gpu::Gpu;
use std::sync::{Arc, OnceLock};

/// (PTX, the module's name, its functions).
type Module = (&'static str, &'static str, &'static [&'static str]);

macro_rules! ptx {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx"))
    };
}

/// Under the names that dfdx looks for.
const NEEDED: [Module; 3] = [
    (ptx!("reshape"), "reshape_fwd_float", &["reshape_fwd"]),
    (ptx!("reshape"), "reshape_bwd_float", &["reshape_bwd"]),
    (ptx!("concat"), "concat_float", &["fwd", "bwd"]),
];

/// Under a name that dfdx looks for, in place of what it has there.
const TAKEN: [Module; 1] = [(ptx!("address"), gpu::ADDRESS, &["nans_to_fwd_f32", "set_table"])];

/// Our own, in place of compositions. None has run on a GPU yet.
const EXPERIMENTAL: [Module; 10] = [
    (ptx!("activation"), "activation", &["bias_activation", "activation_backward", "column_sums"]),
    (ptx!("adamw"), "adamw", &["adamw", "add_gradient", "square_parts", "square_sum", "moving_average"]),
    (ptx!("address"), "address", &["note"]),
    (ptx!("attention"), "attention", ATTENTION),
    (ptx!("conv"), "conv", CONV),
    (ptx!("cross_entropy"), "cross_entropy", &["cross_entropy_forward", "cross_entropy_backward"]),
    (ptx!("few_rows"), "few_rows", &["few_rows_f32", "few_rows_bf16", "few_rows_int8"]),
    (ptx!("gumbel"), "gumbel", &["gumbel_forward", "gumbel_backward", "kl_forward", "kl_backward"]),
    (ptx!("norm"), "norm", &["norm_forward", "norm_backward", "norm_backward_sums"]),
    (ptx!("sampler"), "sampler", &["embed_sum", "norm_rows", "store", "attend"]),
];

/// For the widths of heads that are compiled, in f32 and in TF32.
const ATTENTION: &[&str] = &[
    "attention_delta",
    "attention_forward_16",
    "attention_forward_32",
    "attention_forward_64",
    "attention_forward_128",
    "attention_queries_16",
    "attention_queries_32",
    "attention_queries_64",
    "attention_queries_128",
    "attention_keys_16",
    "attention_keys_32",
    "attention_keys_64",
    "attention_keys_128",
    "attention_forward_16_exact",
    "attention_forward_32_exact",
    "attention_forward_64_exact",
    "attention_forward_128_exact",
    "attention_queries_16_exact",
    "attention_queries_32_exact",
    "attention_queries_64_exact",
    "attention_queries_128_exact",
    "attention_keys_16_exact",
    "attention_keys_32_exact",
    "attention_keys_64_exact",
    "attention_keys_128_exact",
];

/// For the sides of tiles, in TF32 and in f32.
const CONV: &[&str] = &[
    "conv_pack",
    "conv_add",
    "conv_forward_64",
    "conv_forward_128",
    "conv_input_64",
    "conv_input_128",
    "conv_weight_64",
    "conv_weight_128",
    "conv_forward_64_exact",
    "conv_forward_128_exact",
    "conv_input_64_exact",
    "conv_input_128_exact",
    "conv_weight_64_exact",
    "conv_weight_128_exact",
];

static GPU: OnceLock<Gpu> = OnceLock::new();

/// The GPU, once it was opened with experimental kernels: operations take them from then on.
pub fn experimental() -> Option<&'static Gpu> {
    GPU.get()
}

/// The first GPU, with every kernel that the models need.
///
/// # Errors
/// [`Error::Device`] where a library, the GPU or the right driver is missing: one line that says which.
pub fn open(kernels: Kernels) -> Result<Cuda> {
    libraries::open()?;
    // dfdx unwraps these two.
    result::init().map_err(failed("the driver does not start"))?;
    if result::device::get_count().map_err(failed("the driver does not say what GPUs there are"))? == 0 {
        return Err(Error::Device("no GPU: the driver sees none (CUDA_VISIBLE_DEVICES hides them)".into()));
    }
    let device = Cuda::try_build(0, 0).map_err(failed("the GPU cannot be opened"))?;
    let driver = driver(&device)?;
    load(&driver, &NEEDED)?;
    if kernels == Kernels::Experimental {
        load(&driver, &TAKEN)?;
        let gpu = match GPU.get() {
            Some(gpu) => gpu,
            None => {
                let gpu =
                    Gpu::new(driver.clone(), &EXPERIMENTAL).map_err(failed("the GPU's libraries do not start"))?;
                GPU.get_or_init(|| gpu)
            }
        };
        gpu.attach(&driver).map_err(failed("the GPU takes no kernels of our own"))?;
    }
    Ok(device)
}

fn load(driver: &Arc<CudaDevice>, modules: &[Module]) -> Result<()> {
    for &(ptx, module, functions) in modules {
        let loaded = driver.load_ptx(Ptx::from_src(ptx), module, functions);
        loaded.map_err(failed(
            "the driver takes no kernels of CUDA 13: expected driver 580 or newer and a GPU from sm_80 on",
        ))?;
    }
    Ok(())
}

/// Bytes that are free on the GPU, and all of them.
///
/// # Errors
/// [`Error::Device`] where the driver does not say.
pub fn memory(device: &Cuda) -> Result<(usize, usize)> {
    driver(device)?.bind_to_thread().map_err(failed("the GPU is gone"))?;
    result::mem_get_info().map_err(failed("the driver does not say what memory is free"))
}

/// The first GPU's name, as `nvidia-smi` writes it.
///
/// # Errors
/// [`Error::Device`] where the driver does not say.
pub fn name() -> Result<String> {
    let device = result::device::get(0).map_err(failed("the driver shows no GPU"))?;
    let mut name = [0u8; 256];
    // SAFETY: the driver writes at most as many bytes, the last of them 0.
    let said = unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32, device) }.result();
    said.map_err(failed("the driver does not name the GPU"))?;
    Ok(name.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect())
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
