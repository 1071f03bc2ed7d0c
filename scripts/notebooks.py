#!/usr/bin/env python3
"""Runs the notebooks as a reader would, in Jupyter with evcxr's kernel, and fails where a reader would see something wrong.

    scripts/notebooks.py [NOTEBOOK…]            checks; exits 1 where a cell fails
    scripts/notebooks.py --write [NOTEBOOK…]    and puts the new outputs into the files
    scripts/notebooks.py --warm                 only makes what the first cell, and the first error, would wait for

Jupyter calls a cell good whose code panicked or returned an error: evcxr only prints them. So a cell fails here if it writes to
stderr anything but progress, if it raises without the tag `raises-exception` or does not raise with it, and the notebook
fails unless a last cell that is not in the file still computes. A panic ends the kernel's child.

Each notebook runs in a process group of its own that is ended as a whole. The time of every cell is printed, and how much of it
was its own work: what the processors did for the code that was compiled, shared among them all. A warm cell should take at most
1.5 s without that (95 % of them); cells tagged `work` train, wait or compile on purpose and are left out.
"""

import argparse
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
LIMIT = 900  # seconds for a notebook: a cold first cell compiles the library
LARGEST = 1 << 20  # bytes of a notebook
PROGRESS = re.compile(r"(training .*; this is done once|\d+ of \d+: .*|starting|"
                      r"(dvae|vqvae|transformer|clip)( step \d+, loss -?\d.*|: taken over from .*))\s*")
# Before the first cell, and not in the file either.
STRICT = """{
    let says = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        says(panic);
        std::process::exit(101);
    }));
}"""
SENTINEL = 'println!("the kernel still computes: {}", 6 * 7);'


def stream(cell, name):
    return "".join("".join(o["text"]) for o in cell.get("outputs", []) if o["output_type"] == "stream" and o["name"] == name)


def wrong_with(cell):
    """What a reader would stumble over in an executed cell, in words."""
    errors = [o for o in cell["outputs"] if o["output_type"] == "error"]
    expected = "raises-exception" in cell["metadata"].get("tags", [])
    if errors and not expected:
        return "error: " + errors[0]["evalue"][:2000]
    if expected and not errors:
        return "compiled, and was expected not to"
    said = cell["metadata"].get("says", "")
    if expected and said not in json.dumps([dict(error) for error in errors], ensure_ascii=False):
        return f"another error than {said!r}: " + errors[0]["evalue"][:2000]
    # Evcxr shows a value by its debug text where the cell moved a variable.
    results = [o["data"] for o in cell["outputs"] if o["output_type"] == "execute_result"]
    if any(list(data) == ["text/plain"] and data["text/plain"] != "()" for data in results):
        return "shows plain text alone: the cell moves a variable (clone it), or the value has no form of its own"
    # A returned error whose line on stderr came too late to be seen leaves its cell without what it showed before.
    if cell["metadata"].get("shown", False) and not cell["outputs"]:
        return "shows nothing, and did so before"
    stderr = [line for line in stream(cell, "stderr").splitlines() if line.strip() and not PROGRESS.fullmatch(line)]
    if stderr and not expected:
        return "wrote to stderr: " + "\n".join(stderr)[:2000]
    return None


def computed(kernel):
    """Seconds for which every processor together has run what this kernel's cells compiled to, in a child of the same name."""
    seconds = 0.0
    for children in Path(f"/proc/{kernel}/task").glob("*/children"):
        for child in children.read_text().split():
            name, _, rest = Path(f"/proc/{child}/stat").read_text().partition("(")[2].rpartition(") ")
            if name.startswith("evcxr"):
                user, system = rest.split()[11:13]
                seconds += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") / os.cpu_count()
    return seconds


def run_one(path, write):
    """Executes one notebook; prints a JSON line with what it found."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    class Client(NotebookClient):
        seconds, own = {}, {}

        async def async_start_new_kernel(self, **options):
            await super().async_start_new_kernel(**options)
            print("KERNEL", self.km.provisioner.pid, flush=True)

        async def async_execute_cell(self, cell, index, **options):
            started, before = time.monotonic(), computed(self.km.provisioner.pid)
            try:
                return await super().async_execute_cell(cell, index, **options)
            finally:
                self.seconds[index] = time.monotonic() - started
                self.own[index] = max(0.0, computed(self.km.provisioner.pid) - before)
                if cell.cell_type == "code" and not cell.outputs:
                    await self.hear(cell, index)

        async def hear(self, cell, index):
            """What a silent cell says after its end: evcxr passes stderr on when it comes to it, a returned error with it."""
            until = time.monotonic() + 1
            while (left := until - time.monotonic()) > 0:
                try:
                    message = await self.kc.iopub_channel.get_msg(timeout=left)
                except queue.Empty:
                    return
                if message["msg_type"] == "stream":
                    self.process_message(message, cell, index)

    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if cell.get("outputs"):
            cell.metadata["shown"] = True
    book.cells = [nbformat.v4.new_code_cell(STRICT), *book.cells, nbformat.v4.new_code_cell(SENTINEL)]
    client = Client(book, timeout=LIMIT, startup_timeout=LIMIT, kernel_name="rust", record_timing=False,
                    resources={"metadata": {"path": str(path.parent)}})
    started, failure = time.monotonic(), None
    try:
        client.execute()
    except CellExecutionError as error:
        failure = str(error)[-2000:]
    cells = [(i, c) for i, c in enumerate(book.cells) if c.cell_type == "code"]
    found = [{"cell": number, "wrong": wrong_with(cell), "seconds": round(client.seconds.get(i, 0.0), 2),
              "own": round(client.own.get(i, 0.0), 2), "work": "work" in cell.metadata.get("tags", [])} for number, (i, cell) in enumerate(cells)]
    done = stream(cells[-1][1], "stdout").strip() == "the kernel still computes: 42"
    if not done and not failure and not any(cell["wrong"] for cell in found):
        failure = "the last cell did not compute: the kernel's child was lost"
    book.cells = book.cells[1:-1]
    for number, (_, cell) in enumerate(cells[1:-1], 1):
        cell.metadata.pop("shown", None)
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
            # As a viewer without a terminal shows it.
            if output.output_type == "error":
                output.traceback = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in output.traceback]
    book.metadata["language_info"] = {"name": "Rust", "file_extension": ".rs", "mimetype": "text/rust"}
    text = nbformat.writes(book) + "\n"  # as Jupyter itself saves it
    if len(text.encode()) > LARGEST:
        failure = failure or f"{len(text.encode())} bytes: expected at most {LARGEST}"
    if write and not failure and not any(cell["wrong"] for cell in found):
        path.write_text(text)
    result = {"cells": found[:-1], "failure": failure, "seconds": round(time.monotonic() - started, 1), "bytes": len(text.encode())}
    print("RESULT " + json.dumps(result), flush=True)


def warm_up():
    """Compiles the library as kernels use it, for running and for explaining an error, and trains the run of the notebooks."""
    import nbformat
    from nbclient import NotebookClient

    first = nbformat.v4.new_code_cell("use dalle::notebook::*;\nlet run = Run::trained(\"../experiments/notebook.yaml\")?;\nrun")
    wrong = nbformat.v4.new_code_cell("let number: u32 = Mask::paper_layers(4, 5);", metadata={"tags": ["raises-exception"]})
    book = nbformat.v4.new_notebook(cells=[first, wrong])
    started = time.monotonic()
    client = NotebookClient(book, timeout=4 * LIMIT, startup_timeout=LIMIT, kernel_name="rust",
                            resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    if wrong_with(book.cells[0]) or wrong_with(book.cells[1]):
        sys.exit(wrong_with(book.cells[0]) or wrong_with(book.cells[1]))
    print(f"{time.monotonic() - started:.0f} s")


def supervised(path, write, log):
    """The same in a process group of its own, with all that it prints in a file."""
    command = [sys.executable, __file__, "--one", str(path)] + (["--write"] if write else [])
    child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        child.wait(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"cells": [], "failure": f"not done after {LIMIT} s", "seconds": LIMIT, "bytes": 0}
    finally:
        # Jupyter starts the kernel in a group of its own.
        log.seek(0)
        kernels = [int(line.split()[1]) for line in log.read().splitlines() if line.startswith("KERNEL ")]
        for group in [child.pid, *kernels]:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass
        child.wait()
    log.seek(0)
    lines = log.read().splitlines()
    for line in lines:
        if line.startswith("RESULT "):
            return json.loads(line[7:])
    return {"cells": [], "failure": "\n".join(lines[-15:]), "seconds": 0, "bytes": 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the outputs into the files")
    parser.add_argument("--warm", action="store_true", help="compile the library as kernels use it, and train the notebooks' run")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("notebooks", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.warm:
        return warm_up()
    paths = [path.resolve() for path in arguments.notebooks] or sorted(FOLDER.glob("*.ipynb"))
    if arguments.one:
        return run_one(paths[0], arguments.write)
    failed, warm = [], []
    for path in paths:
        with tempfile.TemporaryFile("w+") as log:
            result = supervised(path, arguments.write, log)
        print(f"{path.name}: {result['seconds']} s, {result['bytes'] / 1024:.0f} KiB")
        for cell in result["cells"]:
            name = f"cell {cell['cell']:2}" if cell["cell"] else "start  "
            print(f"  {name}  {cell['seconds']:7.2f} s, own work {cell['own']:5.2f} s{'  work' if cell['work'] else ''}")
            if cell["wrong"]:
                print("    " + cell["wrong"].replace("\n", "\n    "))
        if result["failure"]:
            print("  " + result["failure"].replace("\n", "\n  "))
        if result["failure"] or any(cell["wrong"] for cell in result["cells"]):
            failed.append(path.name)
        warm += [cell for cell in result["cells"] if cell["cell"] and not cell["work"]]
    for what, seconds in [("", [cell["seconds"] for cell in warm]), (" without their own work", [cell["seconds"] - cell["own"] for cell in warm])]:
        if seconds:
            seconds.sort()
            most = seconds[-(-19 * len(seconds) // 20) - 1]
            print(f"{len(seconds)} warm cells{what}: median {seconds[len(seconds) // 2]:.2f} s, 95 % within {most:.2f} s")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
