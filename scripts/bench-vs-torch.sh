#!/usr/bin/env bash
# This project and PyTorch on the same works, by turns, each in a process of its own; then a table of medians.
#
#   scripts/bench-vs-torch.sh [-r ROUNDS] [-o FOLDER] [WORK…]
#
# The works are those of `experiment bench` (all if left out); three rounds unless told otherwise. Run it on a machine that
# does nothing else. PyTorch is installed into FOLDER/venv (5 GB); BENCH_PYTHON names a Python that has it already.
set -euo pipefail
cd "$(dirname "$0")/.."

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

mkdir -p "$folder"
python=${BENCH_PYTHON:-$folder/venv/bin/python}
if [ ! -x "$python" ]; then
    python3 -m venv "$folder/venv"
    "$python" -m pip install -q torch==2.15.0 numpy attrs einops requests
    "$python" -m pip install -q --no-deps DALL-E==0.1 blobfile==3.3.0 dalle-pytorch==1.6.6 \
        rotary-embedding-torch==0.8.9 axial-positional-embedding==0.3.12
fi
cargo build --release --bin experiment

lines=$folder/lines.jsonl
: >"$lines"
for round in $(seq "$rounds"); do
    for work in "${works[@]}"; do
        echo "round $round: $work" >&2
        target/release/experiment bench "$work" --json >>"$lines"
        "$python" scripts/peers.py "$work" | tee /dev/stderr | grep '^{' >>"$lines" || echo "no figures of PyTorch for $work" >&2
    done
done
"$python" scripts/bench_table.py "$lines"
