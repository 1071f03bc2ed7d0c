"""Mutations of every kind of file that is read, in process: the targets of tests/fuzz, and what they count."""
import json
import os
import subprocess
from collections import Counter

from tally import Tally, spread

# Executions that tell which share of a target's mutations reaches its parser.
PROBE = 1000
# More than the share asks for: it is an estimate.
MARGIN = 1.05
# Runs of one target.
TURNS = 5
HOURS = 4


def built(root):
    """The test program, built."""
    command = ["cargo", "test", "--release", "--test", "fuzz", "--no-run", "--message-format=json"]
    process = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in process.stdout.split("\n") if line.startswith("{")]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "fuzz")


def run(program, target, executions, seed):
    """One target: its counts, or nothing, and its output."""
    environment = dict(os.environ, BOLERO_RANDOM_ITERATIONS=str(executions), BOLERO_RANDOM_SEED=str(seed))
    environment["BOLERO_RANDOM_TEST_TIME_MS"] = str(HOURS * 3_600_000)
    command = [program, target, "--exact", "--nocapture", "--include-ignored"]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    found = [line for line in process.stdout.split("\n") if "fuzz: {" in line]
    counts = json.loads(found[0][found[0].index("{") :]) if found else None
    return counts if process.returncode == 0 else None, process.stdout, process.returncode


def reached(counts):
    return counts["accepted"] + sum(counts["refused"].values())


def merged(total, counts):
    """The counts of two runs of a target."""
    if total is None:
        return counts
    refused = Counter(total["refused"]) + Counter(counts["refused"])
    most = max(total["slowest_ms"], counts["slowest_ms"])
    summed = {key: total[key] + counts[key] for key in ("executions", "unchanged", "outside", "accepted", "seconds")}
    return {**summed, "refused": dict(refused), "slowest_ms": most}


def one(program, target, probe, wanted, seed, tally):
    """As many executions of a target as it takes."""
    counts, output, code = probe
    if counts:
        # The share is an estimate, so that it may take another run.
        total = None
        for turn in range(1, TURNS + 1):
            share = max(reached(counts), 1) / counts["executions"]
            left = wanted - (reached(total) if total else 0)
            counts, output, code = run(program, target, int(left / share * MARGIN) + 50, seed + turn)
            if counts is None:
                break
            total = merged(total, counts)
            if reached(total) >= wanted:
                break
        counts = counts and total
    row = f"`{target.rsplit('::', 1)[-1]}`"
    if counts is None:
        said = [line for line in output.split("\n") if any(word in line for word in ("panicked", "no answer", "allocation", "BOLERO"))]
        tally.count(row, "executions", 0)
        tally.count(row, "failed")
        tally.fault(f"the target {row} failed, exit {code}", " ".join(said[:4])[:600] or output[-300:])
        return
    for column in ("executions", "unchanged", "outside"):
        tally.count(row, column, counts[column])
    tally.count(row, "reached", reached(counts))
    tally.count(row, "accepted", counts["accepted"])
    tally.count(row, "refused", sum(counts["refused"].values()))
    tally.count(row, "slowest, ms", counts["slowest_ms"])
    tally.count(row, "seconds", round(counts["seconds"]))
    if reached(counts) < wanted:
        tally.fault("fewer mutations than wanted reached a parser", f"{row}: {reached(counts):,}")
    most = sorted(counts["refused"].items(), key=lambda item: -item[1])[:3]
    if most:
        tally.note(f"{row} was refused for " + "; ".join(f"{reason} ({number:,})" for reason, number in most) + ".")


def mutations(wanted, root, only, seed, jobs):
    """At least `wanted` mutations that reach the parser, of each kind of file."""
    tally = Tally("mutations", "Mutations: changed files, in process; counted by how far they got")
    program = built(root)
    listed = subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    targets = [line[: -len(": test")] for line in listed.split("\n") if line.endswith(": test")]
    chosen = [target for target in targets if not only or target.rsplit("::", 1)[-1] in only]
    probes = {}
    spread(jobs, tally, chosen, lambda target: probes.update({target: run(program, target, PROBE, seed)}))
    # The slowest first, so that none is left to run alone at the end.
    chosen.sort(key=lambda target: -(probes[target][0] or {"seconds": HOURS})["seconds"])
    spread(jobs, tally, chosen, lambda target: one(program, target, probes[target], wanted, seed, tally))
    tally.notes.sort()
    return tally
