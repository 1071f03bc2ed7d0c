//! Compiles the CUDA kernels to PTX, which the binary holds. Nothing to do without the feature `cuda`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Each is src/kernels/cuda/NAME.cu.
const KERNELS: [&str; 12] = [
    "activation",
    "adamw",
    "address",
    "attention",
    "concat",
    "conv",
    "cross_entropy",
    "few_rows",
    "gumbel",
    "norm",
    "reshape",
    "sampler",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for header in ["device", "functions", "tile"] {
        println!("cargo:rerun-if-changed=src/kernels/cuda/{header}.h");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for name in KERNELS {
        let (source, ptx) = (format!("src/kernels/cuda/{name}.cu"), out.join(format!("{name}.ptx")));
        println!("cargo:rerun-if-changed={source}");
        if env::var_os("CARGO_FEATURE_CUDA_CHECK").is_some() {
            std::fs::write(&ptx, "").expect("OUT_DIR can be written");
            continue;
        }
        // PTX for the oldest GPU that is supported; the driver compiles it for the one that is there.
        let status = Command::new("nvcc").args(["--ptx", "-O3", "-arch=compute_80", &source, "-o"]).arg(&ptx).status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("nvcc on {source}: {status}"),
            Err(error) => {
                panic!("nvcc: {error}; build with scripts/cuda-env.sh cargo …, or check with --features cuda-check")
            }
        }
    }
}
