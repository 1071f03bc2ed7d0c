//! The whole CUDA path without a GPU: a driver and a cuBLAS of software (driver.cpp, blas.cpp) run dfdx's kernels and ours from
//! their sources, so that launches, parameters, memory and arithmetic are tested on any machine. It needs g++.

#![cfg(all(feature = "cli", feature = "cuda"))]

mod absent;

use dalle::data::Picture;
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

/// A spec of every stage, in steps that software can do; and with what it trained, pictures as the CPU draws them.
#[test]
fn every_stage_trains_and_what_it_trained_is_used() {
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let short: Vec<String> = ["first_stage", "transformer", "clip"]
        .iter()
        .flat_map(|stage| {
            [("steps", 2), ("batch", 2), ("validate_every", 2)].map(|(key, n)| format!("{stage}.{key}={n}"))
        })
        .chain(["pairs", "seen", "held_out", "two_objects"].map(|key| format!("evaluate.{key}=2")))
        .chain(
            ["sample.candidates=2", "sample.shown=2", "data.validation_scenes=2", "data.train_scenes=32"]
                .map(String::from),
        )
        .flat_map(|set| ["--set".to_owned(), set])
        .collect();
    for kernels in ["composed", "experimental"] {
        let device = ["--device", "cuda", "--cuda-kernels", kernels].map(String::from);
        let runs = path(kernels);
        let said = done(&[&["experiments/ci.yaml", "--out", &runs].map(String::from)[..], &short, &device].concat());
        let run = Path::new(said.trim_end().lines().last().unwrap()).parent().unwrap().to_owned();
        let facts: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
        assert_eq!(
            (facts["status"].as_str(), facts["gpu"].as_str()),
            (Some("done"), Some("a GPU of software")),
            "{facts}"
        );
        assert!(facts["device"].as_str().unwrap().starts_with("cuda"), "{facts}");

        let run = run.to_str().unwrap();
        let sample = |name: &str, device: &[String]| -> PathBuf {
            let folder = path(&format!("{kernels}-{name}"));
            let asked = ["sample", run, "--caption", "a red circle", "--n", "2", "--out", &folder].map(String::from);
            done(&[&asked[..], device].concat());
            Path::new(&folder).join("sheet.png")
        };
        let (here, there) = (sample("cpu", &[]), sample("cuda", &device));
        assert!(alike(&here, &there), "{} {}", here.display(), there.display());
        let picture = here.with_file_name("0-0.png");
        let coded = |device: &[String]| {
            done(&[&["encode", run, picture.to_str().unwrap()].map(String::from)[..], device].concat())
        };
        assert_eq!(coded(&[]), coded(&device));
        let asked = ["rerank", run, "--caption", "a red circle", picture.to_str().unwrap()].map(String::from);
        assert_eq!(done(&asked), done(&[&asked[..], &device].concat()));
        let asked = ["eval", run, "--pairs", "2", "--resamples", "0"].map(String::from);
        done(&[&asked[..], &device].concat());
    }
}

/// What a command that succeeds prints.
fn done(arguments: &[String]) -> String {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = experiment(&arguments);
    assert_eq!(said.status.code(), Some(0), "{arguments:?}: {}{}", text(&said.stdout), text(&said.stderr));
    text(&said.stdout)
}

/// Whether two pictures differ by no more than rounding.
fn alike(one: &Path, other: &Path) -> bool {
    let (one, other) = (Picture::open(one).unwrap(), Picture::open(other).unwrap());
    one.rgb.len() == other.rgb.len() && one.rgb.iter().zip(&other.rgb).all(|(&a, &b)| a.abs_diff(b) <= 1)
}
