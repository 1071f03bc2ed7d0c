"""Signals at random times: once, twice, and ignored; each followed by going on."""
import random
import signal
import time

from kills import finish, newest
from runs import found, lines
from tally import Tally, spread

CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGHUP: 75}
IGNORED = (signal.SIGINT, signal.SIGHUP)


def trial(program, reference, tally, number, seed, kind):
    """One run that gets the signal of `kind`: (signal, how)."""
    sent, how = kind
    rng, out = random.Random(f"{seed}/signals/{sent.name}/{how}/{number}"), program.folder()
    row, where = f"{sent.name} {how}", f"{sent.name} {how}, trial {number}"
    delay, between = rng.uniform(0, reference.seconds), rng.uniform(0, 0.05)
    ignore = (lambda: signal.signal(sent, signal.SIG_IGN)) if how == "ignored" else None
    process = program.start(program.training(out), ignore)
    time.sleep(delay)
    running = process.poll() is None
    started = found(out) is not None
    process.send_signal(sent)
    if how == "twice":
        time.sleep(between)
        process.send_signal(sent)
    session = program.end(process, 6 * program.limit)
    run = found(out)
    if session.crash():
        column = session.crash()
        tally.fault(f"{row}: {column}", f"{where}: {session.err.strip()[-200:]}")
    elif session.code == 0:
        # Ignored, or the last work was done already.
        column = "done"
    elif how == "ignored":
        column = f"exit {session.code}"
        tally.fault(f"{row}: it was not ignored", f"{where}: exit {session.code}")
    elif session.code == CODES[sent]:
        column = f"exit {session.code}"
        if how == "once" and run is not None:
            check_kept(run, tally, where)
    elif session.code == -sent and not started:
        column = "before it is caught"
    else:
        column = f"exit {session.code}"
        tally.fault(f"{row}: exit {session.code}, not {CODES[sent]}", f"{where}, after {delay:.2f} s: {session.err.strip()[-200:]}")
    tally.count(row, "trials")
    tally.count(row, column if running else "too late")
    finish(program, reference, tally, out, program.train(out, run), where, f" after {row}")


def check_kept(run, tally, where):
    """A run that stops after a checkpoint loses no step."""
    kept = newest(run)
    for line in lines(run):
        if line["step"] > kept.get(line["stage"], 0):
            tally.fault("a step that was done is not in the checkpoint", f"{where}: {line['stage']} {line['step']}, kept {kept}")


def signals(program, reference, wanted, seed, jobs):
    """`wanted` signals."""
    tally = Tally("signals", "Signals: at random times, then the run goes on")
    kinds = [(sent, how) for how in ("once", "twice") for sent in CODES] + [(sent, "ignored") for sent in IGNORED]
    spread(jobs, tally, range(wanted), lambda n: trial(program, reference, tally, n // len(kinds), seed, kinds[n % len(kinds)]))
    return tally
