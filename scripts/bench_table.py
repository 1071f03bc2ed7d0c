#!/usr/bin/env python3
"""The table of scripts/bench-vs-torch.sh: medians over its rounds, the best peer of each work, and the ratio to it.

    python3 scripts/bench_table.py target/bench/lines.jsonl

A ratio above 1 is in this project's favour, whatever the unit.
"""

import json
import os
import platform
import statistics
import sys

FEWER_IS_BETTER = {"ms", "s/image"}


def main():
    ours, peers, units, shares, memory, theirs = {}, {}, {}, {}, {}, {}
    for line in open(sys.argv[1]):
        row = json.loads(line)
        work = row["work"]
        units[work] = row["unit"]
        if "peer" in row:
            peers.setdefault(work, {}).setdefault(row["peer"], []).append(row["value"])
            theirs.setdefault(work, {})[row["peer"]] = row["peak_rss_mib"]
        else:
            ours.setdefault(work, []).append(row["value"])
            memory[work] = max(memory.get(work, 0), row["peak_rss_mib"])
            if row["fraction_of_peak"] is not None:
                shares.setdefault(work, []).append(row["fraction_of_peak"])
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    print(f"{cpu}, {os.cpu_count()} threads, {platform.system()}\n")
    print("| work | unit | ours | best peer | ratio | share of peak | MiB, ours and theirs |")
    print("|---|---|---|---|---|---|---|")
    for work, values in ours.items():
        value, unit = statistics.median(values), units[work]
        # Weights of fewer bits stand against the peers' f32.
        rival = work.removesuffix("-bf16").removesuffix("-int8")
        medians = {peer: statistics.median(v) for peer, v in peers.get(rival, {}).items()}
        best, ratio, used = "–", "–", "–"
        if medians:
            name = (min if unit in FEWER_IS_BETTER else max)(medians, key=medians.get)
            gain = medians[name] / value if unit in FEWER_IS_BETTER else value / medians[name]
            best, ratio = f"{medians[name]:.4g} ({name})", f"{gain:.2f}×"
            used = theirs[rival][name]
        share = f"{100 * statistics.median(shares[work]):.0f} %" if work in shares else "–"
        print(f"| `{work}` | {unit} | {value:.4g} | {best} | {ratio} | {share} | {memory[work]}, {used} |")


if __name__ == "__main__":
    main()
