"""`kill -9`: runs that are killed again and again, each time gone on with, until they are done."""
import json
import random
import re
import shutil
import signal
import threading
import time

from runs import differences, found, lines, names, steps, worth
from tally import Tally, spread

# A run that was killed so often may finish.
MOST = 60


def phase(run, stages):
    """Where a run that was just killed stood."""
    if run is None:
        return "before there is a run"
    status = json.loads((run / "run.json").read_bytes()).get("status")
    checkpoints = run / "checkpoints"
    if any(path.suffix in (".tmp", ".old") for path in checkpoints.glob("*/step-*")):
        return "writing a checkpoint"
    for stage, last in stages.items():
        folder = checkpoints / stage
        if not folder.is_dir() or last not in steps(folder):
            return f"training {stage}"
    if status == "running":
        return "evaluation"
    return "writing the report"


def checkpoint_seen(out):
    return any(path.suffix == ".tmp" for path in out.glob("*/*/checkpoints/*/step-*"))


def pictures_seen(out):
    return next(iter(out.glob("*/*/images/*")), None) is not None


def report_seen(out):
    run = found(out)
    return run is not None and (any(run.glob("report.html*")) or b'"status": "done"' in (run / "run.json").read_bytes())


# How often each moment is chosen: any time, or just when something is seen.
MOMENTS = {None: 14, checkpoint_seen: 3, pictures_seen: 2, report_seen: 2}


def killed(program, process, out, rng, seconds):
    """Kills `process` at a moment that `rng` chooses; False if it ended before."""
    moment = rng.choices(list(MOMENTS), list(MOMENTS.values()))[0]
    # What lay there before this process tells nothing of it.
    moment = None if moment and moment(out) else moment
    delay = rng.uniform(0, 0.8 * seconds) if moment is None else rng.uniform(0, 0.004)
    until = process.since + (delay if moment is None else 4 * seconds)
    while process.poll() is None and time.monotonic() < until and not (moment and moment(out)):
        time.sleep(0.0005)
    if moment:
        time.sleep(delay)
    process.kill()
    return process.wait() == -signal.SIGKILL


def one_run(program, reference, tally, number, seed, left, interval):
    """A run that is killed until it is done; `left()` gives leave for one more kill."""
    rng, out = random.Random(f"{seed}/kill/{number}"), program.folder()
    kills, kept = 0, {}
    while True:
        run = found(out)
        before = newest(run)
        process = program.start(program.training(out, run))
        dead = kills < MOST and left() and killed(program, process, out, rng, reference.seconds)
        session = program.end(process, 6 * program.limit)
        check_start(session, before, tally, f"run {number}, after kill {kills}")
        if not dead:
            break
        kills += 1
        where = f"run {number}, kill {kills}"
        run = found(out)
        tally.count(phase(run, reference.stages), "kills")
        if run is not None:
            check_kept(run, newest(run), kept, tally, where, interval)
            if rng.random() < 0.1:
                check_reader(program, run, tally, where)
    finish(program, reference, tally, out, session, f"run {number}, {kills} kills")


def newest(run):
    """The newest finished checkpoint of each stage."""
    if run is None:
        return {}
    done = {stage.name: steps(stage) for stage in (run / "checkpoints").glob("*") if stage.is_dir()}
    return {stage: found[-1] if found else 0 for stage, found in done.items()}


def check_start(session, before, tally, where):
    """Each stage goes on from the newest checkpoint, and in silence: nothing was damaged."""
    first = {}
    for stage, step in re.findall(r"^(\w+): step (\d+)/", session.err, re.M):
        first.setdefault(stage, int(step))
    for stage, step in first.items():
        tally.count("stages gone on with", "checked")
        if step - 1 != before.get(stage, 0):
            tally.fault("a stage does not go on from its newest checkpoint", f"{where}: {stage} from {step - 1}, not {before.get(stage, 0)}")
    for line in session.err.split("\n"):
        if re.search(r"damaged|no checkpoint|older|passed over", line):
            tally.fault("a checkpoint was passed over", f"{where}: {line}")


def check_kept(run, now, kept, tally, where, interval):
    """No more than one interval is lost, and what was kept once stays."""
    seen = {}
    for line in lines(run):
        seen[line["stage"]] = max(line["step"], seen.get(line["stage"], 0))
    for stage, step in seen.items():
        tally.count("at most one interval lost", "checked")
        if step - now.get(stage, 0) > interval:
            tally.fault("more than one interval was lost", f"{where}: {stage} was at {step}, kept {now.get(stage, 0)}")
    for stage, step in kept.items():
        if now.get(stage, 0) < step:
            tally.fault("a checkpoint was lost", f"{where}: {stage} had {step}, has {now.get(stage, 0)}")
    kept.update(now)


def check_reader(program, run, tally, where):
    """A reader of what a kill left behind gets a report."""
    session = program.call("report", run)
    tally.count("reports of a killed run", "checked")
    if session.code != 0:
        tally.fault("no report of a killed run", f"{where}: exit {session.code}: {session.err.strip()}")


def finish(program, reference, tally, out, session, where, faults=""):
    """What came of a run in the end: the same bits, and nothing left behind. Removes it."""
    run = found(out)
    if session.code != 0 or run is None:
        tally.fault(f"a run cannot be gone on with{faults}", f"{where}: exit {session.code}: {session.err.strip()[-300:]}")
        tally.count("runs", "not finished")
    else:
        differ = differences(reference.worth, worth(run))
        tally.count("runs", "differ" if differ else "bit-equal")
        if differ:
            kinds = ", ".join(sorted({re.split("[/ ]", part)[0] for part in differ}))
            tally.fault(f"a resumed run differs{faults}: {kinds}", f"{where}: {', '.join(differ[:5])}")
        for name in sorted(names(run) - reference.names):
            tally.fault(f"a file is left behind: {re.sub(r'[0-9]+', 'N', name)}", where)
        for stage in sorted((run / "checkpoints").iterdir()):
            if len(steps(stage)) > len(steps(reference.run / "checkpoints" / stage.name)):
                tally.fault("a checkpoint too many is left behind", f"{where}: {stage.name}: {steps(stage)}")
        for path in sorted(path for path in run.parent.iterdir() if path != run):
            tally.fault("a folder that is no run is left behind", f"{where}: {sorted(p.name for p in path.iterdir())}")
    shutil.rmtree(out, ignore_errors=True)


def kills(program, reference, wanted, seed, jobs, interval):
    """`wanted` kills over as many runs as it takes."""
    tally = Tally("kills", f"Kills: `kill -9` at random times and in the midst of writing, a checkpoint every {interval} steps")
    lock, count = threading.Lock(), [0]

    def left():
        with lock:
            return tally.total("kills") < wanted

    def worker(first):
        number = first
        while left():
            one_run(program, reference, tally, number, seed, left, interval)
            number += jobs

    spread(jobs, tally, range(jobs), worker)
    tally.note(f"{tally.total('kills'):,} kills over {sum(tally.rows['runs'].values()):,} runs.")
    return tally
