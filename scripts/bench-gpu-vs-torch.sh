#!/usr/bin/env bash
# This project and PyTorch (SDPA, eager and compiled) on one NVIDIA GPU, on the same works in the same precision, by turns, each
# in a process of its own; then a table of medians.
#
#   scripts/bench-gpu-vs-torch.sh [-r ROUNDS] [-o FOLDER] [-t f32|tf32|bf16] [-k composed|experimental] [WORK…]
#
# -t is what products are rounded to: here on their way into the tensor cores, with tensors in f32 (experimental kernels alone
# do so); in PyTorch by autocast or, where nothing is trained, in the weights. -k is our kernels; WORK is what
# `experiment bench --device cuda` offers (all if left out). It needs a GPU that does nothing else, sm_80 or newer, with driver 580
# or newer, and what its two sides need, of which each may be made elsewhere:
#   - ours: what scripts/cuda-env.sh says; or BENCH_EXPERIMENT, a binary built with --features cuda;
#   - PyTorch with CUDA, installed into FOLDER/venv (5 GB); or BENCH_PYTHON, a Python that has it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/bench-rounds.sh

refuse() {
    echo "bench-gpu-vs-torch: $2" >&2
    exit "$1"
}

rounds=3 folder=target/bench-gpu products=f32 kernels=composed
while getopts r:o:t:k: option; do
    case $option in
        r) rounds=$OPTARG ;;
        o) folder=$OPTARG ;;
        t) products=$OPTARG ;;
        k) kernels=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
works=("$@")
[ ${#works[@]} -gt 0 ] || works=(train-s train-l sample-l dvae-train dvae-256 clip-b32)

# By itself PyTorch gives convolutions TF32 and other products f32; in NVIDIA's containers both TF32.
case $products in
    f32) precision=(env NVIDIA_TF32_OVERRIDE=0 TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=0) dtype=f32 ;;
    tf32) precision=(env -u NVIDIA_TF32_OVERRIDE TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1) dtype=f32 ;;
    bf16) precision=(env) dtype=bf16 ;;
    *) refuse 2 "-t $products: expected f32, tf32 or bf16" ;;
esac
case $products:$kernels in
    f32:composed | *:experimental) ;;
    *:composed) refuse 2 "-t $products: expected -k experimental with it, whose kernels round what they multiply" ;;
    *) refuse 2 "-k $kernels: expected composed or experimental" ;;
esac

nvidia-smi -L 2>/dev/null | grep '^GPU ' >/dev/null || refuse 6 "no GPU: expected \`nvidia-smi -L\` to list one"
peers_python
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
    refuse 6 "no PyTorch with CUDA: expected torch.cuda.is_available() of $python"
experiment=${BENCH_EXPERIMENT:-}
if [ -z "$experiment" ]; then
    scripts/cuda-env.sh cargo build --release --features cuda --bin experiment
    experiment=target/release/experiment
fi

ours() {
    "$experiment" bench --device cuda --cuda-kernels "$kernels" --products "$products" "$1" --json
}
theirs() {
    "${precision[@]}" "$python" scripts/peers.py --device cuda --dtype "$dtype" "$1"
}
by_turns
