#!/usr/bin/env bash
# This project and PyTorch on the same works, by turns, each in a process of its own, in f32 and in bf16; then a table of medians.
#
#   scripts/bench-vs-torch.sh [-r ROUNDS] [-o FOLDER] [WORK…]
#
# The works are those of `experiment bench` (all if left out); three rounds unless told otherwise. Run it on a machine that
# does nothing else. PyTorch is installed into FOLDER/venv (5 GB); BENCH_PYTHON names a Python that has it already.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/bench-rounds.sh

rounds=3 folder=target/bench
while getopts r:o: option; do
    case $option in
        r) rounds=$OPTARG ;;
        o) folder=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
works=("$@")
[ ${#works[@]} -gt 0 ] || works=(gemm attention train-s train-l sample-l dvae-train dvae-256 clip-b32)

peers_python
cargo build --release --bin experiment
ours() {
    target/release/experiment bench "$1" --json
    # Sampling keeps its weights in fewer bits by itself.
    [ "$1" = sample-l ] || target/release/experiment bench "$1" --products bf16 --json
}
theirs() {
    "$python" scripts/peers.py --dtype f32 "$1"
    "$python" scripts/peers.py --dtype bf16 "$1"
}
by_turns
