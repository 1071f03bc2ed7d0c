#!/usr/bin/env bash
# What `--features cuda` needs to build, without a GPU, root or an installed toolkit; x86-64 Linux with g++ and Python 3.
#
#     scripts/cuda-env.sh cargo build --release --features cuda     runs a command with it
#     eval "$(scripts/cuda-env.sh)"                                 or puts it into this shell
#
# It lies in target/cuda and is made once:
#   - nvcc and CUDA's headers: an installed toolkit's (CUDA_PATH, nvcc's own folder, /usr/local/cuda) if that is CUDA 13 or newer,
#     else from PyPI's wheels of CUDA 13.0 (180 MB, a minute);
#   - `nvidia-smi` as dfdx's build asks it: it says 8.0, so that the kernels run on every GPU from sm_80 on;
#   - libcuda, libcublas, libcublasLt and libnvrtc as static libraries of trampolines, each of which opens the real library when
#     it is first called: so one binary runs with a GPU and without (scripts/cuda/trampolines.py).
set -euo pipefail
cd "$(dirname "$0")/.."

tree=$PWD/target/cuda
wheels=(nvidia-cuda-nvcc==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-crt==13.0.* nvidia-cuda-runtime==13.0.* nvidia-cuda-cccl==13.0.*
    nvidia-curand==10.4.0.*)

say() { printf 'cuda-env: %s\n' "$*" >&2; }

# The root of an installed toolkit that is new enough, or nothing.
installed() {
    local root nvcc
    nvcc=$(command -v nvcc || true)
    for root in "${CUDA_PATH:-}" "${nvcc:+$(dirname "$(dirname "$(readlink -f "$nvcc")")")}" /usr/local/cuda; do
        [ -n "$root" ] && [ "$root" != "$tree" ] && [ -x "$root/bin/nvcc" ] && [ -f "$root/include/cuda.h" ] || continue
        [ "$("$root/bin/nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')" -ge 13 ] || continue
        echo "$root"
        return
    done
}

toolkit() {
    local root packages
    root=$(installed)
    if [ -n "$root" ]; then
        say "the toolkit in $root"
    else
        say "no CUDA 13 toolkit here: taking nvcc and the headers from PyPI's wheels"
        packages=$tree/wheels
        python3 -m venv "$tree/venv" >&2
        "$tree/venv/bin/pip" install --quiet --no-deps --target "$packages" "${wheels[@]}" >&2
        root=$packages/nvidia/cu13
        chmod +x "$root"/bin/* "$root"/nvvm/bin/*
    fi
    ln -sfn "$root/include" "$tree/include"
    printf '#!/bin/sh\nexec "%s/bin/nvcc" "$@"\n' "$root" >"$tree/bin/nvcc"
    printf '#!/bin/sh\necho compute_cap\necho 8.0\n' >"$tree/bin/nvidia-smi"
    chmod +x "$tree/bin/nvcc" "$tree/bin/nvidia-smi"
}

trampolines() {
    local sources
    sources=$(cargo metadata --format-version 1 --locked --features cuda |
        python3 -c 'import json, os, sys
for p in json.load(sys.stdin)["packages"]:
    if p["name"] == "cudarc": print(os.path.dirname(p["manifest_path"]))')
    python3 scripts/cuda/trampolines.py "$sources/src" "$tree/lib64" >&2
}

# Made again when what makes it changes.
stamp=$(cat "$0" scripts/cuda/* | cksum)
if [ "$(cat "$tree/stamp" 2>/dev/null)" != "$stamp" ]; then
    mkdir -p "$tree/bin" "$tree/lib64"
    toolkit
    trampolines
    echo "$stamp" >"$tree/stamp"
fi

export CUDA_PATH=$tree CUDA_ROOT=$tree PATH=$tree/bin:$PATH
unset CUDA_TOOLKIT_ROOT_DIR CUDA_COMPUTE_CAP
if [ $# -gt 0 ]; then
    exec "$@"
fi
printf 'export CUDA_PATH=%q CUDA_ROOT=%q PATH=%q:"$PATH"\nunset CUDA_TOOLKIT_ROOT_DIR CUDA_COMPUTE_CAP\n' "$tree" "$tree" "$tree/bin"
