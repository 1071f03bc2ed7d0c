#!/usr/bin/env bash
# Everything that the notebooks need, step by step; what is there already is skipped. On two cores, from nothing:
#   1. evcxr's Jupyter kernel, built from source, and JupyterLab in a Python environment under target/       7 minutes
#   2. the library as kernels use it, so that first cells are quick, and with it
#      the run that the notebooks look at, in results/notebook/                       at most 8 minutes to build, 6 to train
# Afterwards: target/notebook-venv/bin/jupyter lab notebooks
# With the argument `kernel` only the first half of the first step.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.22.0
venv=target/notebook-venv

say() { printf '== %s\n' "$*"; }

# As a package it asks for the slowest build there is; at these settings it takes less than half of that, and cells are as quick.
install_kernel() {
    # From a folder of its own: this repository's settings are not meant for it.
    cd /
    env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_OPT_LEVEL=2 CARGO_PROFILE_RELEASE_LTO=off \
        cargo install evcxr_jupyter --locked --version "$version"
}

install_jupyter() {
    python3 -c 'import ensurepip' || { echo "Python's venv is missing; on Debian: apt-get install python3-venv" >&2; return 1; }
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet jupyterlab==4.6.6 nbclient==0.11.0
}

say "1. kernel: evcxr_jupyter $version; JupyterLab in $venv"
jupyter=
if [ "${1:-}" != kernel ]; then
    if [ -x "$venv/bin/jupyter-lab" ] && "$venv/bin/python" -c 'import nbclient' 2>/dev/null; then
        echo "JupyterLab is there already"
    else
        # Mostly a download: beside the build.
        install_jupyter &
        jupyter=$!
    fi
fi
if cargo install --list | grep -q "^evcxr_jupyter v$version"; then
    echo "the kernel is there already"
else
    echo "building the kernel takes 7 minutes on two cores, once for all projects"
    (install_kernel)
fi
[ "${1:-}" != kernel ] || exit 0
[ -z "$jupyter" ] || wait "$jupyter"
kernel="${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}/bin/evcxr_jupyter"
JUPYTER_PATH="$PWD/$venv/share/jupyter" "$kernel" --install >/dev/null

# Evcxr reads the standard library's sources to tell the types of a cell's variables.
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
    rustup component add rust-src
fi

say "2. the library as kernels use it, and the run of experiments/notebook.yaml"
# A run that is there is not trained again.
"$venv/bin/python" scripts/notebooks.py --warm

say "ready: $venv/bin/jupyter lab notebooks"
