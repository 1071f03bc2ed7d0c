//! The whole CUDA path without a GPU: a driver and a cuBLAS of software (driver.cpp, blas.cpp) run dfdx's kernels and ours from
//! their sources, so that launches, parameters, memory and arithmetic are tested on any machine. It needs g++.

#![cfg(feature = "cuda")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::{env, fs};

/// The folder of the libraries, for every test of this file.
static GPU: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("software-gpu");
    fs::create_dir_all(&folder).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu");
    build(&sources.join("driver.cpp"), &folder.join("libcuda.so.1"));
    build(&sources.join("blas.cpp"), &folder.join("libcublas.so.13"));
    fs::copy(folder.join("libcublas.so.13"), folder.join("libcublasLt.so.13")).unwrap();
    kernels(&folder);
    folder
});

fn build(source: &Path, library: &Path) {
    let arguments = ["-std=c++17", "-O2", "-shared", "-fPIC", "-o"];
    let built = Command::new("g++").args(arguments).args([library, source]).output().expect("g++");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// For each module whose PTX this build embeds, the source that the driver compiles when the module is loaded.
fn kernels(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = Path::new(env!("OUT_DIR"));
    let headers =
        format!("#include \"{0}/tests/kernels/shim.h\"\n#include \"{0}/tests/gpu/entries.h\"\n", root.display());
    let theirs = format!("{headers}#include \"{}/tests/gpu/intrinsics.h\"\n", root.display());
    for ptx in files(ours, "ptx") {
        register(
            folder,
            &ptx,
            &root.join("src/kernels/cuda").join(ptx.file_stem().unwrap()).with_extension("cu"),
            &headers,
        );
    }
    let sources = files(&dfdx(), "cu");
    // Which dfdx's sources include.
    for header in files(&dfdx(), "cuh").into_iter().chain([root.join("tests/gpu/cuda_fp16.h")]) {
        fs::copy(&header, folder.join(header.file_name().unwrap())).unwrap();
    }
    let builds = ours.parent().and_then(Path::parent).unwrap();
    let theirs_built = files(builds, "ptx").into_iter().filter(|ptx| ptx.to_string_lossy().contains("/dfdx-"));
    for ptx in theirs_built {
        let source = sources.iter().find(|source| source.file_stem() == ptx.file_stem());
        register(folder, &ptx, source.unwrap(), &theirs);
    }
}

/// Every file below `folder` with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path, extension) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .collect()
}

/// dfdx's sources, where cargo keeps them.
fn dfdx() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let said = Command::new(cargo).args(["metadata", "--format-version", "1", "--offline"]).output().unwrap();
    let metadata: Value = serde_json::from_slice(&said.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let manifest = packages.iter().find(|package| package["name"] == "dfdx").unwrap()["manifest_path"].as_str();
    Path::new(manifest.unwrap()).with_file_name("src")
}

/// Writes the source of a module under the name by which driver.cpp knows it: a hash of its kernels' names.
fn register(folder: &Path, ptx: &Path, source: &Path, headers: &str) {
    let text = fs::read_to_string(ptx).unwrap();
    let names: BTreeSet<&str> =
        text.split(".entry ").skip(1).map(|rest| rest.split(['(', ' ', '\n']).next().unwrap()).collect();
    let bytes = names.iter().flat_map(|name| name.bytes().chain([b'\n']));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let entries: String = names
        .iter()
        .map(|name| {
            format!(
                "    if (!std::strcmp(name, \"{name}\")) {{\n        *count = sizes({name}, bytes);\n        \
                 return [](void **parameters) {{ call({name}, parameters); }};\n    }}\n"
            )
        })
        .collect();
    let text = format!(
        "{headers}#include \"{}\"\nextern \"C\" Entry entry(const char *name, size_t *bytes, int *count) {{\n{entries}    return nullptr;\n}}\n",
        source.display()
    );
    let path = folder.join(format!("{hash:016x}.cpp"));
    // What was built from it before may be of another source.
    let _ = fs::remove_file(path.with_extension("so"));
    fs::write(path, text).unwrap();
}

/// `experiment` with the GPU of software.
fn experiment(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiment"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("LD_LIBRARY_PATH", &*GPU).env("SOFTWARE_GPU", &*GPU).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_selftest_passes() {
    for kernels in ["composed", "experimental"] {
        let said = experiment(&["selftest", "--device", "cuda", "--cuda-kernels", kernels]);
        assert_eq!(said.status.code(), Some(0), "{kernels}: {}{}", text(&said.stdout), text(&said.stderr));
    }
}
