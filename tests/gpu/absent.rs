//! A build with CUDA on a machine without a GPU: it runs everything else, and says in one line what is missing. With a GPU, the
//! selftest on it.

use std::process::{Command, Output};

fn experiment(arguments: &[&str]) -> Output {
    let root = env!("CARGO_MANIFEST_DIR");
    Command::new(env!("CARGO_BIN_EXE_experiment")).args(arguments).current_dir(root).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether the selftest finds a device at all.
fn has_gpu() -> bool {
    Command::new("nvidia-smi").arg("-L").output().is_ok_and(|said| text(&said.stdout).contains("GPU 0"))
}

#[test]
fn the_binary_needs_no_library_of_cuda_to_start() {
    let said = Command::new("ldd").arg(env!("CARGO_BIN_EXE_experiment")).output().unwrap();
    let libraries = text(&said.stdout);
    assert!(libraries.contains("libc.so"), "{libraries}");
    assert!(!libraries.contains("libcu") && !libraries.contains("libnvrtc"), "{libraries}");
}

#[test]
fn without_a_gpu_it_refuses_in_one_line_and_starts_nothing() {
    if has_gpu() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    for arguments in [
        &["experiments/ci.yaml", "--device", "cuda", "--out", folder][..],
        &["selftest", "--device", "cuda"],
        &["bench", "train-s", "--json", "--device", "cuda"],
    ] {
        let said = experiment(arguments);
        let stderr = text(&said.stderr);
        assert_eq!(said.status.code(), Some(6), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let names = ["libcuda.so.1", "libcublas.so.13", "driver", "GPU"];
        assert!(stderr.starts_with("error: device: ") && names.iter().any(|name| stderr.contains(name)), "{stderr}");
    }
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}

/// A driver that says that there is no GPU, as the real one does: the binary finds it, calls it and passes on its words.
#[test]
fn the_driver_is_opened_when_it_is_called() {
    const DRIVER: &str = r#"
        int cuInit(unsigned flags) { return flags == 0 ? 100 : 1; }
        int cuGetErrorName(int error, const char **name) { *name = error == 100 ? "NO_DEVICE" : "?"; return 0; }
        int cuGetErrorString(int error, const char **text) { *text = error == 100 ? "none is there" : "?"; return 0; }"#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("driver.c"), DRIVER).unwrap();
    for library in ["libcuda.so.1", "libcublas.so.13", "libcublasLt.so.13"] {
        let mut gcc = Command::new("gcc");
        let built = gcc.args(["-shared", "-fPIC", "driver.c", "-o", library]).current_dir(folder.path()).status();
        assert!(built.unwrap().success());
    }
    let mut experiment = Command::new(env!("CARGO_BIN_EXE_experiment"));
    let said =
        experiment.args(["selftest", "--device", "cuda"]).env("LD_LIBRARY_PATH", folder.path()).output().unwrap();
    assert_eq!(text(&said.stderr), "error: device: the driver does not start: none is there (NO_DEVICE)\n");
    assert_eq!(said.status.code(), Some(6));
}

#[test]
fn the_selftest_passes() {
    let device = if has_gpu() { "cuda" } else { "cpu" };
    let said = experiment(&["selftest", "--device", device]);
    assert_eq!(said.status.code(), Some(0), "{}{}", text(&said.stdout), text(&said.stderr));
    assert!(text(&said.stdout).ends_with(" failed\n"));
}
