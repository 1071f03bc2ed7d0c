"""The disk: full, without inodes, read-only, with a limit on files' sizes or on open files; then room again, and the run goes on."""
import os
import random
import resource
import shutil
import subprocess
import time

from kills import finish
from runs import found
from tally import Tally, spread


def sized(reference):
    """Bytes and files of a finished run."""
    files = [path for path in reference.run.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files), max(path.stat().st_size for path in files)


class Mount:
    """A file system of its own in a folder; None where this user may not mount."""

    def __init__(self, folder):
        self.folder = folder

    def set(self, options, again=True):
        command = ["mount", *(["-o", f"remount,{options}"] if again else ["-t", "tmpfs", "-o", options, "none"]), str(self.folder)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def leave(self):
        for _ in range(50):
            if subprocess.run(["umount", str(self.folder)], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)


def limit(kind, value):
    return lambda: resource.setrlimit(kind, (value, value))


def trial(program, reference, tally, number, seed, kind):
    """One run that meets the failure `kind`, and then goes on without it."""
    rng, folder = random.Random(f"{seed}/disk/{kind}/{number}"), program.folder()
    size, files, largest = sized(reference)
    mount, prepare, later, ample = Mount(folder), None, None, f"rw,size={8 * size},nr_inodes={16 * files}"
    mounted = False
    if kind == "disk full":
        # Checkpoints are written beside those they replace.
        mounted = mount.set(f"size={rng.randrange(4096, 2 * size)}", False)
    elif kind == "no inodes":
        mounted = mount.set(f"size={8 * size},nr_inodes={rng.randrange(4, files + 20)}", False)
    elif kind == "read-only from the start":
        mounted = mount.set(ample, False) and mount.set("ro")
    elif kind == "read-only while it runs":
        prepare, later = nobody(folder), rng.uniform(0, reference.seconds)
    elif kind == "files' sizes":
        prepare = limit(resource.RLIMIT_FSIZE, rng.randrange(1, largest))
    else:
        prepare = limit(resource.RLIMIT_NOFILE, rng.randrange(4, 10))
    try:
        process = program.start(program.training(folder / "results"), prepare)
        if later is not None:
            time.sleep(later)
            writable(folder, False)
        session = program.end(process, 6 * program.limit)
        where = f"{kind}, trial {number}"
        judge(session, kind, prepare, folder, tally, where)
        if later is not None:
            writable(folder, True)
        if mounted and not mount.set(ample):
            raise OSError("the file system could not be given room again")
        again = program.train(folder / "results", found(folder / "results"))
        finish(program, reference, tally, folder / "results", again, where, f" after {kind}")
    finally:
        if mounted:
            mount.leave()
        shutil.rmtree(folder, ignore_errors=True)


def nobody(folder):
    """Root may write anywhere, so the run is a user's that may not."""
    if os.geteuid() != 0:
        return None
    os.chown(folder, NOBODY, NOBODY)
    return lambda: (os.setgid(NOBODY), os.setuid(NOBODY))


def writable(folder, may):
    """Lets the folders be written to, or not."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755 if may else 0o555)


def judge(session, kind, prepare, folder, tally, where):
    """How the run took it."""
    tally.count(kind, "trials")
    if session.crash():
        column = session.crash()
        tally.fault(f"{kind}: {column}", f"{where}: {session.err.strip()[-200:]}")
    elif session.code == 6:
        column, errors = "exit 6", session.errors()
        if len(errors) != 1:
            tally.fault(f"{kind}: an error of several lines", f"{where}: {errors}")
        # What cannot be opened may lie anywhere.
        if ("/" if kind == "open files" else str(folder)) not in errors[0]:
            tally.fault(f"{kind}: the error names no path", f"{where}: {errors[0]}")
    elif session.code == 0:
        column = "room enough"
    elif session.code == 127 and prepare:
        column = "not even loaded"
    else:
        column = f"exit {session.code}"
        tally.fault(f"{kind}: {column}", f"{where}: {session.err.strip()[-200:]}")
    tally.count(kind, column)


MOUNTED = ("disk full", "no inodes", "read-only from the start")
OTHERS = ("read-only while it runs", "files' sizes", "open files")
NOBODY = 65534


def disk(program, reference, wanted, seed, jobs):
    """`wanted` trials over the kinds of failure."""
    tally = Tally("disk", "Disk: the run meets the failure, then has room and goes on")
    probe = program.folder()
    may_mount = Mount(probe).set("size=64k", False)
    if may_mount:
        Mount(probe).leave()
    os.rmdir(probe)
    kinds = (*MOUNTED, *OTHERS) if may_mount else OTHERS
    if not may_mount:
        tally.note(f"Not run, as this user may not mount: {', '.join(MOUNTED)}.")
    spread(jobs, tally, range(wanted), lambda n: trial(program, reference, tally, n // len(kinds), seed, kinds[n % len(kinds)]))
    return tally
