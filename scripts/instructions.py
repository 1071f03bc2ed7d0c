#!/usr/bin/env python3
"""Instructions that each kernel of benches/kernels.rs takes, counted by callgrind, against those of results/bench/instructions.tsv.

    scripts/instructions.py            compares; exits 1 where a kernel takes 1 % more or fewer
    scripts/instructions.py --update   writes the counts

A count does not depend on what else the machine does. One thread, and AVX2: Valgrind knows no AVX-512. The set-up is left out
by counting two runs that differ only in how often the kernel runs.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT / "results/bench/instructions.tsv"
TOLERANCE = 0.01


def executable():
    command = ["cargo", "bench", "--bench", "kernels", "--no-run", "--message-format=json"]
    for line in subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "kernels":
            return message["executable"]
    sys.exit("cargo built no executable of the bench `kernels`")


def counted(program, name, times):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "--count", name, str(times)]
    run = subprocess.run(command, env={**os.environ, "RAYON_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found:
        sys.exit(f"{name}: {run.stderr}")
    return int(found[1])


def main():
    known = {}
    if "--update" not in sys.argv[1:]:
        known = dict(line.split("\t") for line in KNOWN.read_text().splitlines())
    program = executable()
    names = subprocess.run([program, "--names"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    counts = {name: (counted(program, name, 3) - counted(program, name, 1)) // 2 for name in names}
    if "--update" in sys.argv[1:]:
        KNOWN.parent.mkdir(parents=True, exist_ok=True)
        KNOWN.write_text("".join(f"{name}\t{count}\n" for name, count in counts.items()))
        return
    wrong = 0
    for name in counts | known:
        before, now = int(known.get(name, 0)), counts.get(name, 0)
        change = now / before - 1 if before else 1.0
        wrong += abs(change) > TOLERANCE
        print(f"{name:32} {before:>12} {now:>12} {change:+8.2%}{'  <-' if abs(change) > TOLERANCE else ''}")
    if wrong:
        sys.exit(f"{wrong} kernels take more or fewer instructions: if that is meant, run with --update and say why")


if __name__ == "__main__":
    main()
