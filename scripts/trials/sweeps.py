"""`kill -9` of a sweep: of the process that starts the others, of those, and of all at once, until every index is done."""
import os
import random
import shutil
import signal
import time
from pathlib import Path

from runs import differences, worth
from tally import Tally, spread

# A sweep that was killed so often may finish.
MOST = 20
# The latest kill, of an undisturbed sweep's time: what is left to do is less each time.
SOON = 0.12
SPEC = "extends: {}\nname: sweep\nsweep:\n  grid:\n    transformer.optimizer.lr.from: [0.003, 0.006]\n    seed: [0, 1]\n"
VICTIMS = ("the parent", "a child", "a child", "parent and children")


def children(pid):
    """The processes that `pid` started and that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue  # it has just ended
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def lives(pid, binary):
    """Whether `pid` is still a process of the program: numbers come again."""
    try:
        return os.path.samefile(f"/proc/{pid}/exe", binary)
    except OSError:
        return False


def disturbed(process, rng, seconds, orphans, tally):
    """Kills something of a sweep at a random time; None if the sweep ended before."""
    until = time.monotonic() + rng.uniform(0, SOON * seconds)
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    if process.poll() is not None:
        return None
    victim, there = rng.choice(VICTIMS), children(process.pid)
    if victim == "a child" and not there:
        victim = "the parent"
    if victim != "a child":
        process.kill()
    if victim != "the parent" and there:
        for pid in there if victim == "parent and children" else [rng.choice(there)]:
            kill(pid)
    # A child whose parent is gone goes on.
    orphans.update(there)
    tally.count(victim, "kills")
    return victim


def one_sweep(program, spec, alone, seconds, tally, number, seed, left):
    rng, out = random.Random(f"{seed}/sweep/{number}"), program.folder()
    kills, orphans, command = 0, set(), sweep(program, spec, out)
    while True:
        process, victims = program.start(command), []
        while kills < MOST and left() and set(victims) <= {"a child"}:
            victim = disturbed(process, rng, seconds, orphans, tally)
            if victim is None:
                break
            victims.append(victim)
            kills += 1
        session = program.end(process, 12 * program.limit)
        where = f"sweep {number}, kill {kills}"
        if session.crash():
            tally.fault(session.crash(), f"{where}: {session.err.strip()[-200:]}")
        if not victims:
            break
        # One that lost children finishes the others, and says by its code that some are not done; or they had just ended.
        if set(victims) == {"a child"} and session.code not in (0, 137):
            tally.fault(f"exit {session.code} after children were killed", f"{where}: {session.err.strip()[-200:]}")
    if session.code != 0:
        tally.fault(f"the last call ended with {session.code}", f"sweep {number}: {session.err.strip()[-300:]}")
    for pid in orphans:
        if lives(pid, program.binary):
            tally.fault("a child lives on when all is done", f"sweep {number}")
            kill(pid)
    check(out, alone, tally, f"sweep {number}")
    shutil.rmtree(out, ignore_errors=True)


def sweep(program, spec, out):
    return [program.binary, "sweep", str(spec), *program.sets, "--out", str(out), "--jobs", "2", "--threads", "1"]


def indices(out):
    """The hash of each index of the sweep in `out`."""
    (table,) = out.glob("*/sweeps/*/index.tsv")
    return [line.split("\t")[1] for line in table.read_text().splitlines()[1:]]


def check(out, alone, tally, where):
    """Every index done exactly once, with the bits of a run on its own, and nothing else left behind."""
    runs = sorted(out.glob("sweep/*Z-*"))
    for path in runs:
        if not (path / "run.json").is_file():
            tally.fault("a folder that is no run is left", f"{where}: {path.name}")
    for index, wanted in enumerate(indices(out)):
        own = [run for run in runs if wanted in run.name and (run / "run.json").is_file()]
        if len(own) != 1:
            tally.fault(f"{len(own)} runs of one index", f"{where}, index {index}")
            continue
        differ = differences(worth(own[0]), alone[wanted])
        if differ:
            tally.fault(f"another run than alone: {', '.join(differ[:4])}", f"{where}, index {index}")
        tally.count("indices", "other bits" if differ else "once, bit-equal")


def references(program, spec):
    """What each index is worth when nothing befalls it and no other run shares a stage with it, and the seconds of a whole sweep."""
    out, started = program.folder(), time.monotonic()
    session = program.end(program.start(sweep(program, spec, out)), 12 * program.limit)
    seconds = time.monotonic() - started
    if session.code != 0:
        raise SystemExit(f"the reference sweep ended with {session.code}: {session.err}")
    alone = {}
    for index, wanted in enumerate(indices(out)):
        (frozen,) = out.glob(f"*/sweeps/*/{index:04}.yaml")
        own = program.folder()
        session = program.end(program.start([program.binary, str(frozen), "--out", str(own)]), 6 * program.limit)
        (run,) = own.glob("*/*/run.json")
        if session.code != 0:
            raise SystemExit(f"the reference run of index {index} ended with {session.code}: {session.err}")
        alone[wanted] = worth(run.parent)
        shutil.rmtree(own)
    shutil.rmtree(out)
    return alone, seconds


def sweeps(program, wanted, seed):
    """`wanted` kills, in sweeps of four specs, two processes at a time."""
    tally = Tally("sweeps", "Sweeps: `kill -9` of parent and children of `sweep --jobs 2`, four specs that share stages")
    spec = Path(program.spec).with_name("sweep.yaml")
    spec.write_text(SPEC.format(Path(program.spec).name))
    alone, seconds = references(program, spec)
    number = 0
    # One sweep at a time: each has two processes of its own.
    while tally.total("kills") < wanted and not tally.faults.get("the trial itself failed"):
        left = lambda: tally.total("kills") < wanted
        spread(1, tally, [number], lambda number: one_sweep(program, spec, alone, seconds, tally, number, seed, left))
        number += 1
    tally.note(f"{tally.total('kills')} kills over {number} sweeps; undisturbed, a sweep took {seconds:.1f} s.")
    return tally
