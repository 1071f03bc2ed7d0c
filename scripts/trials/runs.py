"""Runs of the program: how one is started, stopped and gone on with, and what it is worth when it is done."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# What is measured of the machine, not of the run: it differs from one run to the next.
VOLATILE = re.compile(r"time|second|per_s|rate$|throughput|memory|rss")
# The parts of run.json that an uninterrupted run and a resumed one agree on.
AGREED = ("results", "parameters", "status", "exit", "seeds", "spec_hash", "bad_samples", "preset", "name")


@dataclass
class Session:
    """One process, from its start to its end."""

    code: int  # negative: the signal that ended it
    out: str
    err: str
    seconds: float
    hung: bool = False

    def errors(self):
        """The error and whatever follows it."""
        lines = self.err.strip().split("\n")
        first = next((at for at, line in enumerate(lines) if line.startswith("error")), len(lines))
        return lines[first:]

    def warned(self, usual=""):
        """The lines of warning that `usual`, the stderr of a healthy one, does not have."""
        lines = [line for line in self.err.split("\n") if re.search(r"\b(warning|note|damaged)\b", line, re.I)]
        return [line for line in lines if not line.startswith("error") and line not in usual]

    def crash(self):
        """How it ended where no input may end it, or nothing."""
        if self.hung:
            return "hang"
        if self.code in (101, 134, 139) or self.code in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL):
            return {101: "panic"}.get(self.code, "abort")
        return None


class Program:
    """The program under trial with one spec, on one thread unless told."""

    def __init__(self, binary, spec, sets, scratch, limit=20.0):
        self.binary, self.spec, self.scratch, self.limit = str(binary), str(spec), Path(scratch), limit
        self.sets = [word for each in sets for word in ("--set", each)]
        self.bare_resume = False

    def folder(self):
        """A fresh folder; the caller removes it."""
        return Path(tempfile.mkdtemp(dir=self.scratch))

    def training(self, out, run=None):
        """The command that starts a run, or goes on with `run`."""
        command = [self.binary, self.spec, *self.sets, "--out", str(out)]
        if run is not None and self.bare_resume:
            return [self.binary, f"--resume={run}"]
        return command if run is None else [*command, f"--resume={run}"]

    def start(self, command, prepare=None):
        """Starts `command` with its output in files, so that no pipe fills."""
        out, err = tempfile.TemporaryFile(dir=self.scratch), tempfile.TemporaryFile(dir=self.scratch)
        environment = dict(os.environ, RAYON_NUM_THREADS="1", RUST_BACKTRACE="0")
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment, preexec_fn=prepare)
        process.files, process.since = (out, err), time.monotonic()
        return process

    def end(self, process, limit=None):
        """Waits for `process`; one that takes longer than the limit is killed and said to hang."""
        hung = False
        try:
            process.wait(limit or self.limit)
        except subprocess.TimeoutExpired:
            hung = True
            process.kill()
            process.wait()
        texts = []
        for file in process.files:
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
            file.close()
        return Session(process.returncode, *texts, time.monotonic() - process.since, hung)

    def call(self, *words, prepare=None, limit=None):
        """A verb, from start to end."""
        return self.end(self.start([self.binary, *map(str, words)], prepare), limit)

    def train(self, out, run=None, prepare=None):
        """A run to its end."""
        return self.end(self.start(self.training(out, run), prepare), 6 * self.limit)


def found(out):
    """The run in `out`, once it has its run.json."""
    return next((path.parent for path in sorted(Path(out).glob("*/*/run.json"))), None)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def steps(stage):
    """The finished checkpoints in a stage's folder, by step."""
    names = (re.fullmatch(r"step-(\d+)", path.name) for path in stage.iterdir())
    return sorted(int(name[1]) for name in names if name and (stage / name[0] / "MANIFEST.json").is_file())


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if not VOLATILE.search(key)}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def lines(run):
    """The lines of metrics.jsonl that are whole."""
    path = run / "metrics.jsonl"
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        try:
            yield json.loads(line)
        except ValueError:
            pass


def worth(run):
    """Every part of a run that must be the same, bit by bit, whatever befell it on the way: {part: digest}."""
    parts = {}
    for stage in sorted((run / "checkpoints").iterdir()):
        done = steps(stage)
        for path in sorted(path for path in stage.rglob("*") if path.is_file()):
            inside = path.relative_to(stage)
            older = re.fullmatch(r"step-(\d+)(\..*)?", inside.parts[0])
            # An interrupted run has other older ones.
            if not older or done and inside.parts[0] == f"step-{done[-1]}":
                parts[f"checkpoints/{stage.name}/{inside}"] = digest(path.read_bytes())
    for path in sorted(path for path in run.glob("images/**/*") if path.is_file()):
        parts[str(path.relative_to(run))] = digest(path.read_bytes())
    for name in ("tokenizer.json", "masks.json", "spec.resolved.yaml"):
        path = run / name
        parts[name] = digest(path.read_bytes()) if path.is_file() else "missing"
    # A stage that was gone on with after a later one was done has its lines behind that one's.
    metrics = sorted((without_times(line) for line in lines(run)), key=lambda line: (str(line.get("stage")), line.get("step")))
    parts["metrics.jsonl"] = digest(json.dumps(metrics).encode())
    try:
        facts = json.loads((run / "run.json").read_bytes())
        parts.update((f"run.json {key}", digest(json.dumps(without_times(facts.get(key))).encode())) for key in AGREED)
    except (OSError, ValueError):
        parts["run.json"] = "unreadable"
    return parts


def names(run):
    """The files of a run by kind: numbers of steps and the lock are no difference."""
    all_files = (str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    return {re.sub(r"step-\d+(?=/)", "step-N", name) for name in all_files if name != "lock"}


def differences(one, other, besides=()):
    """The parts that differ, but for those that start with one of `besides`."""
    parts = sorted(part for part in one.keys() | other.keys() if one.get(part) != other.get(part))
    return [part for part in parts if not any(part.startswith(name) for name in besides)]


@dataclass
class Reference:
    """The run that nothing befell."""

    run: Path
    worth: dict
    names: set
    seconds: float
    stages: dict  # stage → steps, in order
    err: str


def reference(program, out):
    """Makes the reference run in `out`; an exit other than 0 ends the trials."""
    session = program.train(out)
    if session.code != 0:
        raise SystemExit(f"the reference run ended with {session.code}: {session.err}")
    run = found(out)
    stages = {}
    for line in lines(run):
        stages[line["stage"]] = max(line["step"], stages.get(line["stage"], 0))
    return Reference(run, worth(run), names(run), session.seconds, stages, session.err)


def bare_resume_works(program, reference):
    """Whether `--resume=DIR` needs no spec."""
    folder = program.folder()
    copy = shutil.copytree(reference.run, folder / reference.run.name)
    session = program.call(f"--resume={copy}")
    shutil.rmtree(folder)
    return session.code == 0
