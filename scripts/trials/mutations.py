"""Mutations of every kind of file that is read, in process: the targets of tests/fuzz, and what they count."""
import json
import os
import subprocess

from tally import Tally

# Some mutations change nothing, or do not reach the parser: so many more are made.
MORE = 1.3


def mutations(wanted, command, only):
    """At least `wanted` mutations that reach the parser, of each kind of file."""
    tally = Tally("mutations", "Mutations: changed files, in process; those that reached the parser are counted")
    executions = int(wanted * MORE)
    environment = dict(os.environ, BOLERO_RANDOM_ITERATIONS=str(executions), BOLERO_RANDOM_TEST_TIME_MS="36000000")
    words = [*command, "--nocapture", "--include-ignored", *only]
    process = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    for line in process.stdout.split("\n"):
        if "fuzz: {" in line:
            count(json.loads(line[line.index("{") :]), wanted, tally)
    if process.returncode != 0:
        tail = [line for line in process.stdout.split("\n") if "panicked" in line or "FAILED" in line or "allocation" in line]
        tally.fault("a target failed", f"exit {process.returncode}: {'; '.join(tail[:8])}")
    if not tally.rows:
        tally.fault("no target counted anything", process.stdout[-500:])
    return tally


def count(found, wanted, tally):
    """One target's line."""
    row, reached = f"`{found['target']}`", found["accepted"] + sum(found["refused"].values())
    for column in ("executions", "unchanged", "outside", "accepted"):
        tally.count(row, column, found[column])
    tally.count(row, "refused", sum(found["refused"].values()))
    tally.count(row, "reached", reached)
    tally.count(row, "slowest, ms", found["slowest_ms"])
    tally.count(row, "seconds", round(found["seconds"]))
    if reached < wanted:
        tally.fault("fewer mutations than wanted reached a parser", f"{row}: {reached:,}")
    most = sorted(found["refused"].items(), key=lambda item: -item[1])[:4]
    tally.note(f"{row} refused: " + ("; ".join(f"{number:,} × {reason}" for reason, number in most) or "nothing") + ".")
