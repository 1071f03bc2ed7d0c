//! `bench` and the scripts around it: what they refuse, and what they run. Nothing here is timed.

use crate::support::{Place, Said};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn what_a_device_does_not_offer_is_a_wrong_use() {
    let bench = |arguments: &[&str]| Place::new().experiment(&[&["bench"], arguments].concat());
    bench(&["train-xl"]).failed(2, "expected one of gemm, attention, train-s");
    let offered = "not offered on cuda: expected one of train-s, train-l, sample-l, dvae-train, dvae-256, clip-b32";
    bench(&["gemm", "--device", "cuda"]).failed(2, offered);
    bench(&["train-s", "attention", "--device", "cuda"]).failed(2, offered);
    bench(&["malevich", "--device", "cuda"]).failed(2, offered);
    bench(&["train-s", "--products", "tf32"]).failed(2, "--products tf32: expected f32 or bf16");
    bench(&["train-s", "--device", "cuda", "--products", "bf16"]).failed(2, "--products bf16: expected f32");
    for peak in ["0", "-1", "inf", "fast"] {
        bench(&["gemm", &format!("--peak-tflops={peak}")]).failed(2, "expected a number above 0");
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_without_cuda_says_so_in_one_line() {
    let said = Place::new().experiment(&["bench", "train-s", "--json", "--device", "cuda"]);
    said.failed(6, "no CUDA in this build");
    assert_eq!((said.stdout.as_str(), said.stderr.lines().count()), ("", 1));
}

/// Programs that stand in for those of the same name.
fn with(programs: &[(&str, &str)]) -> Place {
    programs.iter().fold(Place::new(), |place, (name, body)| {
        let name = format!("bin/{name}");
        let place = place.write(&name, format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(place.path(&name), fs::Permissions::from_mode(0o755)).unwrap();
        place
    })
}

/// The script against PyTorch on a GPU, with the place's programs before all others.
fn against_pytorch(place: &Place, arguments: &[&str]) -> Said {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
    let mut script = Command::new(root.join("scripts/bench-gpu-vs-torch.sh"));
    script.arg("-o").arg(place.path("out")).args(arguments).env("PATH", path);
    script.env("BENCH_PYTHON", place.path("bin/python")).env("BENCH_EXPERIMENT", place.path("bin/experiment"));
    script.output().unwrap().into()
}

#[test]
fn the_comparison_on_a_gpu_refuses_in_one_line_and_starts_nothing() {
    let gpu = ("nvidia-smi", "echo 'GPU 0: NVIDIA H200 (UUID: GPU-0)'");
    let no_gpu = with(&[("nvidia-smi", "echo 'No devices were found'; exit 6")]);
    let no_torch = with(&[gpu, ("python", "echo 'No module named torch' >&2; exit 1")]);
    for (place, arguments, code, needle) in [
        (&no_gpu, &[][..], 6, "no GPU: expected `nvidia-smi -L` to list one"),
        (&no_torch, &[], 6, "no PyTorch with CUDA"),
        (&no_gpu, &["-t", "f64"], 2, "-t f64: expected f32, tf32 or bf16"),
        (&no_gpu, &["-t", "tf32"], 2, "expected -k experimental"),
        (&no_gpu, &["-k", "fast"], 2, "-k fast: expected composed or experimental"),
    ] {
        let said = against_pytorch(place, arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{said:?}");
        assert!(said.stderr.lines().count() == 1 && said.stderr.contains(needle), "{said:?}");
        assert!(!place.path("out/lines.jsonl").exists());
    }
    assert!(!no_gpu.path("out").exists());
}

#[test]
fn the_comparison_on_a_gpu_takes_turns_and_prints_medians() {
    let ours = r#"echo "ours $*" >>"$(dirname "$0")/../said"
echo '{"work":"train-s","value":300.0,"unit":"tokens/s","peak_rss_mib":9,"fraction_of_peak":null,"tflops":49.5,"tb_per_s":0.6,"share_of_flops_bound":0.1,"share_of_bytes_bound":0.125,"device":"cuda, experimental kernels","card":"NVIDIA H200","products":"tf32"}'"#;
    // Python itself makes the table.
    let theirs = r#"case $1 in
    -c) exit 0 ;;
    scripts/peers.py) ;;
    *) exec python3 "$@" ;;
esac
echo "theirs $* $TORCH_ALLOW_TF32_CUBLAS_OVERRIDE" >>"$(dirname "$0")/../said"
echo '{"peer":"torch-sdpa","work":"train-s","value":200.0,"unit":"tokens/s","peak_rss_mib":9}'
echo '{"peer":"torch-sdpa-compiled","work":"train-s","value":240.0,"unit":"tokens/s","peak_rss_mib":9}'"#;
    let gpu = ("nvidia-smi", "echo 'GPU 0: NVIDIA H200 (UUID: GPU-0)'");
    let place = with(&[gpu, ("experiment", ours), ("python", theirs)]);
    let said = against_pytorch(&place, &["-r", "2", "-t", "tf32", "-k", "experimental", "train-s"]);
    let table = "NVIDIA H200 (cuda, experimental kernels), products in tf32\n\n\
        | work | unit | ours | best peer | ratio | TFLOP/s | share | TB/s | share |\n|---|---|---|---|---|---|---|---|---|\n\
        | `train-s` | tokens/s | 300 | 240 (torch-sdpa-compiled) | 1.25× | 49.5 | 10 % | 0.6 | 12 % |\n";
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), table), "{said:?}");
    let round = "ours bench --device cuda --cuda-kernels experimental --products tf32 train-s --json\n\
        theirs scripts/peers.py --device cuda --dtype f32 train-s 1\n";
    assert_eq!(fs::read_to_string(place.path("said")).unwrap(), round.repeat(2));
}
