#!/usr/bin/env bash
# Everything that the notebooks need, step by step; what is there already is skipped. On two cores, from nothing:
#   1. evcxr's Jupyter kernel, built from source                      12 to 20 minutes, once for all projects
#   2. JupyterLab in a Python environment under target/               1 minute
#   3. the run that the notebooks look at, in results/notebook/       4 minutes to build, 3 to train
#   4. the library as kernels use it, so that first cells are quick   5 minutes
# Afterwards: target/notebook-venv/bin/jupyter lab notebooks
# With the argument `kernel` only the first step.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.22.0
venv=target/notebook-venv

say() { printf '== %s\n' "$*"; }

say "1. kernel: evcxr_jupyter $version"
if cargo install --list | grep -q "^evcxr_jupyter v$version"; then
    echo "there already"
else
    echo "building it takes 12 to 20 minutes on two cores"
    # Into a folder of its own: this repository's settings are not meant for it.
    (cd / && env -u CARGO_TARGET_DIR cargo install evcxr_jupyter --locked --version "$version")
fi
[ "${1:-}" != kernel ] || exit 0
kernel="${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}/bin/evcxr_jupyter"

# Evcxr reads the standard library's sources to tell the types of a cell's variables.
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
    rustup component add rust-src
fi

say "2. JupyterLab in $venv"
if [ -x "$venv/bin/jupyter-lab" ] && "$venv/bin/python" -c 'import nbclient' 2>/dev/null; then
    echo "there already"
else
    python3 -c 'import ensurepip' || { echo "Python's venv is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet jupyterlab==4.6.6 nbclient==0.11.0
fi
JUPYTER_PATH="$PWD/$venv/share/jupyter" "$kernel" --install >/dev/null

say "3. the run of experiments/notebook.yaml"
# One that is there is not trained again.
cargo run --release --bin experiment -- experiments/notebook.yaml --resume-or-start

say "4. the library as kernels use it"
"$venv/bin/python" scripts/notebooks.py --warm

say "ready: $venv/bin/jupyter lab notebooks"
