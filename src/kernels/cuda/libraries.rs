//! CUDA's libraries, which the binary opens when it first calls them: a machine without them runs everything else.

use crate::error::{Error, Result};
use libloading::Library;

/// What is opened, in the order in which it is missing most often, and who brings it.
const NEEDED: [(&str, &str); 3] = [
    ("libcuda.so.1", "NVIDIA's driver, 580 or newer"),
    ("libcublas.so.13", "CUDA 13: its toolkit, or `pip install nvidia-cublas==13.*` and its folder in LD_LIBRARY_PATH"),
    ("libcublasLt.so.13", "CUDA 13, with libcublas"),
];

/// Opens them for good.
///
/// # Errors
/// [`Error::Device`] that names those that are missing and who brings them.
pub fn open() -> Result<()> {
    let missing = NEEDED.iter().filter(|(name, _)| {
        // SAFETY: NVIDIA's libraries have initialisers that may run at any time; these are the first to be called.
        let opened = unsafe { Library::new(*name) };
        // Never closed: the trampolines keep addresses in it.
        opened.map(std::mem::forget).is_err()
    });
    let missing: Vec<String> = missing.map(|(name, from)| format!("{name} ({from})")).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Device(format!("no CUDA here: missing {}", missing.join(", "))))
    }
}
