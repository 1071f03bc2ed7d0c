"""Tries to break runs by number, and writes what came of it: kills, sweeps that are killed, damage, a failing disk, signals, mutations.

    cargo build --release --bin experiment && cargo test --release --test fuzz --no-run
    python3 scripts/trials --kills 1000 --sweeps 200 --damage 0 --disk 300 --signals 300 --mutations 100000 --out results/trials

A part that is not named is not run, and stays in `--out` as it is; `--quick` runs a little of each in about a minute. Exits with 1 where there was a fault.
Needs Python 3.9 on Linux, nothing else; as root it also mounts small file systems to fill.
"""
import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from damage import damage
from disk import disk
from interrupts import signals
from kills import kills
from mutations import mutations
from runs import Program, bare_resume_works, reference
from sweeps import sweeps
from tally import markdown

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"kills": 30, "sweeps": 10, "damage": 30, "disk": 12, "signals": 10, "mutations": 300}


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/trials", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", type=Path, default=ROOT / "target/release/experiment", help="the program")
    parser.add_argument("--spec", type=Path, default=ROOT / "experiments/ci.yaml", help="the spec of each run")
    parser.add_argument("--quick", action="store_true", help="a little of each part")
    parser.add_argument("--kills", type=int, metavar="N", help="so many kills")
    parser.add_argument("--sweeps", type=int, metavar="N", help="so many kills of a sweep's processes")
    parser.add_argument("--damage", type=int, metavar="N", help="so many damages, drawn from all of them; 0: all")
    parser.add_argument("--disk", type=int, metavar="N", help="so many failures of the disk")
    parser.add_argument("--signals", type=int, metavar="N", help="so many signals")
    parser.add_argument("--mutations", type=int, metavar="N", help="so many mutations of each kind of file that reach its parser")
    parser.add_argument("--targets", nargs="*", default=[], help="only these targets of tests/fuzz")
    parser.add_argument("--every-file", action="store_true", help="damage all files, not the first and the last of each kind")
    parser.add_argument("--interval", type=int, default=5, help="steps between two checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trials at a time")
    parser.add_argument("--scratch", type=Path, help="where the runs are; a disk without real syncs, as /dev/shm, is fastest")
    parser.add_argument("--out", type=Path, help="the folder for README.md and trials.json; standard output if left out")
    asked = parser.parse_args()
    if asked.quick:
        for part, size in QUICK.items():
            setattr(asked, part, size if getattr(asked, part) is None else getattr(asked, part))
    if all(getattr(asked, part) is None for part in QUICK):
        parser.error(f"nothing to do: name a part ({', '.join('--' + part for part in QUICK)}) or --quick")
    return asked


def parts(asked, scratch):
    """Runs what was asked for, part by part: each tally and its seconds."""
    on_runs = {
        "kills": lambda p, r: kills(p, r, asked.kills, asked.seed, asked.jobs, asked.interval),
        "sweeps": lambda p, r: sweeps(p, asked.sweeps, asked.seed),
        "damage": lambda p, r: damage(p, r, asked.damage, asked.seed, asked.jobs, asked.every_file),
        "disk": lambda p, r: disk(p, r, asked.disk, asked.seed, asked.jobs),
        "signals": lambda p, r: signals(p, r, asked.signals, asked.seed, asked.jobs),
    }
    wanted = [part for part in on_runs if getattr(asked, part) is not None]
    if wanted:
        # A copy: the program under trial must not change while it is tried.
        binary = shutil.copy2(asked.experiment, scratch / "experiment")
        spec = shutil.copy2(asked.spec, scratch / asked.spec.name)
        stages = ("first_stage", "transformer", "clip")
        program = Program(binary, spec, [f"{stage}.checkpoint_every={asked.interval}" for stage in stages], scratch)
        undisturbed = reference(program, program.folder())
        program.bare_resume = bare_resume_works(program, undisturbed)
        say(f"reference: {undisturbed.seconds:.1f} s, {undisturbed.stages}, --resume=DIR alone: {program.bare_resume}")
    for part in wanted:
        yield timed(lambda: on_runs[part](program, undisturbed))
    if asked.mutations is not None:
        yield timed(lambda: mutations(asked.mutations, ROOT, asked.targets, asked.seed, asked.jobs))


def timed(run):
    started = time.monotonic()
    tally = run()
    seconds = round(time.monotonic() - started)
    faults = sum(map(len, tally.faults.values()))
    say(f"{tally.part}: {seconds} s, {faults} faults")
    return tally, seconds


def machine(asked):
    """What the trials ran on."""
    def ask(*command):
        answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        return answer.stdout.strip() if answer.returncode == 0 else None

    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().split("\n") if line.startswith("model name")]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": "python3 scripts/trials " + " ".join(sys.argv[1:]),
        "seed": asked.seed,
        "jobs": asked.jobs,
        "commit": ask("git", "rev-parse", "HEAD"),
        "dirty": bool(ask("git", "status", "--porcelain", "--untracked-files=no")),
        "program": ask(str(asked.experiment.resolve()), "--version"),
        "rustc": ask("rustc", "--version"),
        "python": platform.python_version(),
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
    }


def page(result):
    text = "# Trials\n\nEach part says what made it. The counts are in `trials.json` too.\n"
    for part in result["parts"].values():
        text += f"\n{markdown(part)}\n{made(part['machine'])}, in {part['seconds']} s.\n"
    return text


def made(facts):
    """How a part was made."""
    commit = f"commit `{(facts['commit'] or 'unknown')[:12]}`{' with changes' if facts['dirty'] else ''}"
    return (
        f"`{facts['command']}`, {facts['date']}, {commit}, seed {facts['seed']}, {facts['program']}, {facts['rustc']}, "
        f"Python {facts['python']}, {facts['cores']} cores of {facts['cpu']}, {facts['system']}"
    )


def earlier(out):
    """The parts that lie in `out`: those that are run now take their place."""
    there = out and out / "trials.json"
    if not there or not there.is_file():
        return {}
    before = json.loads(there.read_text())
    return {name: {"machine": before.get("machine"), **part} for name, part in before["parts"].items()}


def say(line):
    print(line, file=sys.stderr, flush=True)


def main():
    asked = arguments()
    facts, result = machine(asked), {"parts": earlier(asked.out)}
    scratch = Path(tempfile.mkdtemp(prefix="trials-", dir=asked.scratch))
    # A trial runs as another user.
    scratch.chmod(0o755)
    try:
        for tally, seconds in parts(asked, scratch):
            result["parts"][tally.part] = {**tally.to_json(), "seconds": seconds, "machine": facts}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "README.md").write_text(page(result))
        (asked.out / "trials.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    else:
        print(page(result))
    return any(part["faults"] for part in result["parts"].values())


if __name__ == "__main__":
    sys.exit(main())
