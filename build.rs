//! Writes down what is built, for `run.json`; with the feature `cuda`, compiles the CUDA kernels to PTX, which the binary holds.

use std::env;
use std::path::{Path, PathBuf};
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
    provenance();
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

/// What a build is made of, besides the compiler.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];

/// `DALLE_BUILT_…` for `harness::provenance`: the commit, whether the sources differ from it (both empty where the sources are
/// in no repository of their own), the compiler, the profile and the features; and the versions of the dependencies in `OUT_DIR`.
fn provenance() {
    for name in ["COMMIT", "DIRTY"] {
        println!("cargo:rerun-if-env-changed=DALLE_BUILT_{name}");
    }
    watch(Some("Cargo.lock"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let lock = std::fs::read("Cargo.lock").unwrap_or_default();
    std::fs::write(out.join("Cargo.lock"), lock).expect("OUT_DIR can be written");
    // Whoever builds from sources without a repository, as packagers do, says which they are.
    let told = |name: &str| env::var(format!("DALLE_BUILT_{name}")).ok();
    let commit = if told("COMMIT").is_some() {
        told("COMMIT")
    } else if git(&["ls-files", "--error-unmatch", "build.rs"]).is_some() {
        // A commit, or another branch, makes other facts of the same sources.
        let reference = git(&["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
        for name in ["HEAD", "packed-refs", &reference] {
            let path = if name.is_empty() { None } else { git(&["rev-parse", "--git-path", name]) };
            watch(path.as_deref());
        }
        SOURCES.iter().for_each(|path| watch(Some(path)));
        git(&["rev-parse", "HEAD"])
    } else {
        None
    };
    let changed = git(&[&["status", "--porcelain", "--"][..], &SOURCES].concat());
    let dirty = commit.as_ref().and(changed).map(|changed| (!changed.is_empty()).to_string());
    let dirty = told("DIRTY").or(dirty).or_else(|| told("COMMIT").map(|_| false.to_string()));
    let rustc = env::var_os("RUSTC").and_then(|rustc| said(Command::new(rustc).arg("--version")));
    let mut features: Vec<String> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-")))
        .filter(|name| name != "default")
        .collect();
    features.sort();
    for (name, value) in [
        ("COMMIT", commit.unwrap_or_default()),
        ("DIRTY", dirty.unwrap_or_default()),
        ("RUSTC", rustc.unwrap_or_default()),
        ("PROFILE", env::var("PROFILE").unwrap_or_default()),
        ("FEATURES", features.join(" ")),
    ] {
        println!("cargo:rustc-env=DALLE_BUILT_{name}={value}");
    }
}

/// Only what is there: Cargo would build again and again for a file that is not.
fn watch(path: Option<&str>) {
    if let Some(path) = path.filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={path}");
    }
}

/// What git says of the sources, a hook's settings left aside.
fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    said(command.env("GIT_OPTIONAL_LOCKS", "0").args(arguments))
}

fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
