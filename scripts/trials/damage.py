"""Damage: every kind of byte of every kind of file of a run, finished and interrupted; then every verb that reads it."""
import random
import re
import shutil
import signal
import time

from runs import differences, digest, found, steps, worth
from tally import Tally, spread

CAPTION = "a red circle"
# The verbs, and whether what they make of a changed file must be the same: a report shows figures and pictures as they lie there.
VERBS = ("report", "sample", "eval", "resume")
# Files without a sum of their own, which a report repeats.
PLAIN = re.compile(r"^(run\.json|metrics\.jsonl|masks\.json|evaluation\.json|spec.*\.yaml|images/.*|report\.html)$")

JSON = {"key": rb'"(\w)[^"]*"\s*:', "number": rb'[:\[,]\s*-?(\d)', "text": rb':\s*"(.)', "bracket": rb"([\[\]{}])", "colon": rb"(:)", "space": rb"(\s)"}
STRUCTURE = {
    "json": JSON,
    "jsonl": {**JSON, "line break": rb"(\n)"},
    "yaml": {"key": rb"(?m)^\s*(\w)\w*:", "number": rb":\s*(\d)", "colon": rb"(:)", "indent": rb"\n( )", "line break": rb"(\n)"},
    "safetensors": {"header's length": rb"\A(.)", "length's top": rb"\A.{7}(.)", "name": rb'"(\w)[^"]*":\{', "dtype": rb'"dtype":"(.)', "shape": rb'"shape":\[(\d)', "offset": rb'"data_offsets":\[(\d)', "payload": rb"\}\s*(.)"},
    "png": {"signature": rb"\A.(P)", "width": rb"IHDR...(.)", "sum": rb"IHDR.{13}(.)", "data": rb"IDAT.{4}(.)", "end": rb"(I)END"},
    "html": {"tag": rb"<(\w)", "text": rb">(\w)", "picture": rb"base64,.{8}(.)"},
    "": {"digit": rb"(\d)", "line break": rb"(\n)", "word": rb"([a-z])"},
}


def places(name, data, rng):
    """The structural parts of a file: {part: offset}."""
    if not data:
        return {}
    at = {"first byte": 0, "middle": len(data) // 2, "last byte": len(data) - 1}
    ending = name.rsplit(".", 1)[1] if "." in name.rsplit("/", 1)[-1] else ""
    for part, pattern in STRUCTURE.get(ending, {}).items():
        hits = [match.start(1) for match in re.finditer(pattern, data, re.S)][:500]
        if hits:
            at[part] = rng.choice(hits)
    return at


def damages(name, data, rng):
    """Every damage of a file: (what, what makes the new bytes of the old, or None where it is deleted)."""
    yield from (("cut to nothing", lambda old: b""), ("cut to half", lambda old: old[: len(old) // 2]))
    yield from (("last byte cut", lambda old: old[:-1]), ("deleted", None))
    yield from (("a byte more", lambda old: old + b"\0"), ("a line more", lambda old: old + b"x\n"))
    for part, at in places(name, data, rng).items():
        changes = {"a bit flipped": data[at] ^ 1 << rng.randrange(8), "set to 0": 0, "set to 255": 255}
        if chr(data[at]).isdigit():
            changes["another digit"] = ord("0") + (data[at] - ord("0") + rng.randint(1, 9)) % 10
        for change, byte in changes.items():
            if byte != data[at]:
                yield f"{part} {change}", lambda old, at=at, byte=byte: old[:at] + bytes([byte]) + old[at + 1 :]


def files(run, every):
    """The files of a run; without `every` the first and the last of each kind, where a number makes no kind."""
    kinds = {}
    for name in sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()):
        kinds.setdefault(re.sub(r"\d+", "N", name), []).append(name)
    for of_kind in kinds.values():
        yield from of_kind if every else sorted({of_kind[0], of_kind[-1]})


class Bench:
    """A run to damage, and what each verb makes of it undamaged."""

    def __init__(self, program, title, run, end):
        self.program, self.title, self.run, self.end = program, title, run, end
        folder = program.folder()
        copy = shutil.copytree(run, folder / run.name)
        self.usual = {verb: self.call(verb, copy) for verb in VERBS}
        shutil.rmtree(folder)

    def call(self, verb, copy):
        """Runs a verb on a copy of the run: its session and the digest of what it made."""
        program, out = self.program, copy.parent / "drawn"
        if verb == "report":
            session, made = program.call("report", copy), copy / "report.html"
        elif verb == "sample":
            session = program.call("sample", copy, "--caption", CAPTION, "--n", 4, "--keep", 2, "--out", out)
            pictures = sorted(out.iterdir()) if session.code == 0 else []
            return session, digest(b"".join(path.read_bytes() for path in pictures))
        elif verb == "eval":
            session, made = program.call("eval", copy, "--pairs", 8, "--resamples", 0), copy / "evaluation.json"
        else:
            session = program.end(program.start(program.training(copy.parent, copy)))
            return session, worth(copy) if session.code == 0 else None
        return session, digest(made.read_bytes()) if session.code == 0 else None

    def same(self, verb, made, name):
        """Whether a verb made what it makes of the undamaged run; its own damaged file is not its doing."""
        if verb != "resume":
            return made == self.usual[verb][1]
        return not differences(self.end, made, besides=(name,))

    def outcome(self, verb, session, made, name):
        """The column of a verb's end."""
        if session.crash():
            return session.crash()
        if session.code in (4, 6):
            return "refused" if len(session.errors()) == 1 else "refused in several lines"
        if session.code != 0:
            return f"exit {session.code}"
        said = bool(session.warned(self.usual[verb][0].err))
        if self.same(verb, made, name):
            return "said, bit-equal" if said else "bit-equal"
        if verb == "report" and (PLAIN.match(name) or self.usual[verb][0].code != 0):
            return "shown as it lies there"
        return "said, other bits" if said else "other bits in silence"


GOOD = ("refused", "said, bit-equal", "bit-equal", "shown as it lies there")


def trial(bench, name, what, change, tally):
    """Damages one file of a copy and runs every verb on it."""
    folder = bench.program.folder()
    copy = shutil.copytree(bench.run, folder / bench.run.name)
    path = copy / name
    data = change and change(path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    for verb in VERBS:
        session, made = bench.call(verb, copy)
        column = bench.outcome(verb, session, made, name)
        tally.count(f"{bench.title}, {verb}", "trials")
        tally.count(f"{bench.title}, {verb}", column)
        kind = re.sub(r"\d+", "N", name)
        if column not in GOOD:
            told = (session.err.strip().split("\n") or [""])[-1][:200]
            if verb == "resume" and made:
                told = f"{', '.join(differences(bench.end, made, (name,))[:5])} differ; {told}"
            tally.fault(f"{verb} of a run that is {bench.title}, {kind} damaged: {column}", f"{name}, {what}: {told}")
        if verb == "resume" and session.code == 0:
            lost_lines(bench, copy, name, data, session, tally, what)
        if verb == "report" and data is not None and name != "report.html" and not (path.is_file() and path.read_bytes() == data):
            tally.fault("report changes a file", f"{name}, {what}")
    shutil.rmtree(folder)


def lost_lines(bench, copy, name, data, session, tally, what):
    """A line of metrics.jsonl that cannot be read is not dropped without a word."""
    if name != "metrics.jsonl" or not data:
        return
    before = set((bench.run / name).read_bytes().split(b"\n"))
    kept = (copy / name).read_bytes()
    strange = [line for line in data.split(b"\n") if line not in before and line not in kept]
    if strange and not session.warned(bench.usual["resume"][0].err):
        tally.fault("resume drops a line of metrics.jsonl in silence", what)


def interrupted(program, reference, rng):
    """A run that was stopped in the midst of its second stage."""
    for _ in range(20):
        out = program.folder()
        process = program.start(program.training(out))
        stage = list(reference.stages)[1]
        while process.poll() is None and not any(out.glob(f"*/*/checkpoints/{stage}/step-*5")):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        session, run = program.end(process), found(out)
        if session.code == 75 and steps(run / "checkpoints" / stage)[-1] < reference.stages[stage]:
            return run
        shutil.rmtree(out)
    raise SystemExit("no run could be interrupted in its second stage")


def damage(program, reference, wanted, seed, jobs, every):
    """`wanted` damages (0: all of them) of a finished and of an interrupted run."""
    tally = Tally("damage", "Damage: flips, zeros, 255s, cuts, deletions, additions at the start, the middle, the end and in each structural part of the files of a run")
    rng = random.Random(f"{seed}/damage")
    benches = [
        Bench(program, "finished", reference.run, reference.worth),
        Bench(program, "interrupted", interrupted(program, reference, rng), reference.worth),
    ]
    trials = [
        (bench, name, what, change)
        for bench in benches
        for name in files(bench.run, every)
        for what, change in damages(name, (bench.run / name).read_bytes(), rng)
    ]
    all_of_them = len(trials)
    if wanted:
        trials = rng.sample(trials, min(wanted, all_of_them))
    spread(jobs, tally, trials, lambda each: trial(*each, tally))
    touched = len({(bench.title, name) for bench, name, _, _ in trials})
    tally.note(f"{len(trials):,} damages (of {all_of_them:,}) of {touched} files, {len(VERBS)} verbs each.")
    shutil.rmtree(benches[1].run.parent.parent)
    return tally
