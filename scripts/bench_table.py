#!/usr/bin/env python3
"""The table of scripts/bench-vs-torch.sh and scripts/bench-gpu-vs-torch.sh: medians over their rounds, the best peer of each
work, and the ratio to it; then how near to its bounds a work came.

    python3 scripts/bench_table.py target/bench/lines.jsonl

A ratio above 1 is in this project's favour, whatever the unit. On a processor a work is held against the peers in f32, and one in
fewer bits against the better of the peers' precisions.
"""

import json
import os
import platform
import statistics
import sys

FEWER_IS_BETTER = {"ms", "s/image"}


def main():
    rows = [json.loads(line) for line in open(sys.argv[1])]
    ours, peers, units, theirs = {}, {}, {}, {}
    for row in rows:
        work = row["work"]
        units[work] = row["unit"]
        if "peer" in row:
            name = row["peer"] if row.get("dtype", "f32") == "f32" else f"{row['peer']}, {row['dtype']}"
            peers.setdefault(work, {}).setdefault(name, []).append(row["value"])
            theirs.setdefault(work, {})[name] = row["peak_rss_mib"]
        else:
            ours.setdefault(work, []).append(row)
    gpu = next((row for row in rows if "card" in row), None)
    if gpu:
        print(f"{gpu['card']} ({gpu['device']}), products in {gpu['products']}\n")
        bounds = ["TFLOP/s", "share", "TB/s", "share"]
    else:
        cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
        print(f"{cpu}, {os.cpu_count()} threads, {platform.system()}\n")
        bounds = ["share of peak", "MiB, ours and theirs"]
    header = ["work", "unit", "ours", "best peer", "ratio", *bounds]
    print(f"| {' | '.join(header)} |")
    print("|---" * len(header) + "|")
    for work, measured in ours.items():
        unit = units[work]
        value = statistics.median(row["value"] for row in measured)
        rival = work.removesuffix("-bf16").removesuffix("-int8")
        rivals = {peer: v for peer, v in peers.get(rival, {}).items() if gpu or rival != work or ", " not in peer}
        medians = {peer: statistics.median(v) for peer, v in rivals.items()}
        best, ratio, used = "–", "–", "–"
        if medians:
            name = (min if unit in FEWER_IS_BETTER else max)(medians, key=medians.get)
            gain = medians[name] / value if unit in FEWER_IS_BETTER else value / medians[name]
            best, ratio = f"{medians[name]:.4g} ({name})", f"{gain:.2f}×"
            used = theirs[rival][name]
        if gpu:
            near = [
                rate(measured, "tflops"),
                share(measured, "share_of_flops_bound"),
                rate(measured, "tb_per_s"),
                share(measured, "share_of_bytes_bound"),
            ]
        else:
            near = [share(measured, "fraction_of_peak"), f"{max(row['peak_rss_mib'] for row in measured)}, {used}"]
        print(f"| {' | '.join([f'`{work}`', unit, f'{value:.4g}', best, ratio, *near])} |")


def median(measured, key):
    values = [row[key] for row in measured if row.get(key) is not None]
    return statistics.median(values) if values else None


def rate(measured, key):
    found = median(measured, key)
    return "–" if found is None else f"{found:.3g}"


def share(measured, key):
    found = median(measured, key)
    return "–" if found is None else f"{100 * found:.0f} %"


if __name__ == "__main__":
    main()
