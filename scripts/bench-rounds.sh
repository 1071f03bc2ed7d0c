# What bench-vs-torch.sh and bench-gpu-vs-torch.sh share: they source it in the repository's root, after they set `rounds`,
# `folder` and `works`.

# Sets `python`: BENCH_PYTHON, or one in the folder, into which the peers' packages are installed once (5 GB).
peers_python() {
    mkdir -p "$folder"
    python=${BENCH_PYTHON:-$folder/venv/bin/python}
    if [ ! -x "$python" ]; then
        python3 -m venv "$folder/venv"
        "$python" -m pip install -q torch==2.15.0 numpy attrs einops requests
        "$python" -m pip install -q --no-deps DALL-E==0.1 blobfile==3.3.0 dalle-pytorch==1.6.6 \
            rotary-embedding-torch==0.8.9 axial-positional-embedding==0.3.12
    fi
}

# Runs the functions `ours` and `theirs` on each work by turns, each in processes of its own; then prints a table of medians.
by_turns() {
    local lines=$folder/lines.jsonl round work
    : >"$lines"
    for round in $(seq "$rounds"); do
        for work in "${works[@]}"; do
            echo "round $round: $work" >&2
            ours "$work" >>"$lines"
            theirs "$work" | tee /dev/stderr | grep '^{' >>"$lines" || echo "no figures of PyTorch for $work" >&2
        done
    done
    "$python" scripts/bench_table.py "$lines"
}
