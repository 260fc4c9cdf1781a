"""Run a sheet in a kernel of its own, confined, and live with whatever it does.

    python -I -m pbe_lite.classroom.runner SHEET OUT FOLDER CELL_SECONDS SECONDS CONFINED

nbgrader executes a submission beside its gradebook, and a kernel that dies takes the whole
submission with it.  Here a cell that takes too long is interrupted and fails; when the
kernel dies, or does not react, the cells that are left fail, and what ran before counts.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from pbe_lite.classroom import sandbox

PRINTED = 20_000_000  # characters of output a sheet may have
TIMEOUT = {"ename": "CellTimeout", "evalue": "this cell took too long", "traceback": []}
KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH")


class Limits(NamedTuple):
    """Whole seconds for a cell and for the sheet; `confined`: see sandbox.py."""

    cell: int = 60
    sheet: int = 600
    confined: bool = True


def failure(name, text):
    """An error as a kernel would report it."""
    return {"output_type": "error", "ename": name, "evalue": text,
            "traceback": [f"{name}: {text}"]}


def run_apart(sheet, limits, files=None):
    """A copy of the sheet with its outputs, run in a process and a folder of its own.

    `files`: a folder whose other files the submission may need.  Whatever happens, a
    sheet comes back; its cells that did not run hold an error."""
    with TemporaryDirectory(prefix="pbe-run-") as desk, \
            TemporaryDirectory(prefix="pbe-sheet-", ignore_cleanup_errors=True) as box:
        given, out, log = (Path(desk, n) for n in ("given.ipynb", "out.ipynb", "log"))
        given.write_text(json.dumps(sheet))
        prepare(Path(box), files)
        command = [sys.executable, "-I", "-m", "pbe_lite.classroom.runner", given, out, box,
                   limits.cell, limits.sheet, int(limits.confined)]
        with open(log, "wb") as errors:
            worker = subprocess.Popen(list(map(str, command)), start_new_session=True,
                                      stdout=subprocess.DEVNULL, stderr=errors)
            try:
                worker.wait(limits.sheet + 10 * limits.cell + 120)
            except subprocess.TimeoutExpired:
                end(psutil.Process(worker.pid).children(recursive=True))
                worker.kill()
                worker.wait()
        if out.exists():
            return json.loads(out.read_text())
        said = log.read_bytes()[-300:].decode(errors="replace").strip()
        return unrun(sheet, f"the sheet did not run: {said or 'no reason given'}")


def end(processes):
    """Kill what a submission has left behind."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def prepare(box, files):
    """`box/work`, where the sheet runs, with the submission's other files, and
    `box/home`, where programs keep their things."""
    home = box / "home"
    (home / "matplotlib").mkdir(parents=True)
    ours = os.environ.get("MPLCONFIGDIR") or Path.home() / ".cache" / "matplotlib"
    for fonts in Path(ours).glob("fontlist-*.json"):  # else each kernel looks for fonts
        shutil.copy(fonts, home / "matplotlib")
    work = box / "work"
    work.mkdir()
    if files is not None:
        with contextlib.suppress(OSError):  # a pipe, or what may not be read, is not copied
            shutil.copytree(files, work, symlinks=True, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("*.ipynb", ".*"))
        work.chmod(0o700)  # copytree gives it the rights of the student's folder


def unrun(sheet, text):
    """The sheet, every code cell failed."""
    cells = [{**c, "outputs": [failure("NotRun", text)], "execution_count": None}
             if c["cell_type"] == "code" else c for c in sheet["cells"]]
    return {**sheet, "cells": cells}


# ------------------------------------------------------------------- in the other process


def environment(box):
    """What a kernel gets to know of this machine: little."""
    home = Path(box, "home")
    return {**{k: os.environ[k] for k in KEPT if k in os.environ},
            "HOME": str(home), "TMPDIR": str(home), "IPYTHONDIR": str(home / "ipython"),
            "MPLCONFIGDIR": str(home / "matplotlib"), "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(home),
            "TQDM_DISABLE": "1", "PBE_PROFILE": "smoke"}


def kernel(box, confined):
    """A manager of a Python kernel that starts inside the sandbox."""
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(kernel_name="python3")
    manager.connection_file = str(Path(box, "home", "kernel.json"))
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    if confined:
        start = [sys.executable, "-I", "-m", "pbe_lite.classroom.sandbox", str(box), *start]
    manager.kernel_spec.argv = start
    return manager


def client(sheet, box, limits):
    """A notebook client that stops listening to a cell which never stops printing."""
    from nbclient import NotebookClient

    class Client(NotebookClient):
        heard = 0

        def output(self, outs, msg, display_id, cell_index):
            self.heard += len(str(msg["content"]))
            if self.heard > PRINTED and msg["msg_type"] != "error":
                return None
            return super().output(outs, msg, display_id, cell_index)

    def note_failure(cell, cell_index, execute_reply):
        reply = execute_reply["content"]
        told = any(o["output_type"] == "error" for o in cell["outputs"])
        if reply["status"] == "error" and not told:
            cell["outputs"].append(failure(reply["ename"], reply["evalue"]))

    return Client(
        sheet, km=kernel(box, limits.confined), timeout=limits.cell, allow_errors=True,
        interrupt_on_timeout=True, error_on_timeout=TIMEOUT, raise_on_iopub_timeout=True,
        iopub_timeout=10, startup_timeout=120, shutdown_kernel="immediate",
        coalesce_streams=True, on_cell_executed=note_failure)


def execute(sheet, box, limits):
    """Run all code cells of an nbformat notebook, in place."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    runner, stopped = client(sheet, box, limits), None
    with runner.setup_kernel(cleanup_kc=True, env=environment(box),
                             cwd=str(Path(box, "work"))):
        deadline = time.monotonic() + limits.sheet
        for index, cell in enumerate(sheet.cells):
            if cell.cell_type != "code":
                continue
            if time.monotonic() > deadline:
                stopped = stopped or "the time of the whole sheet was over"
            if stopped:
                cell.outputs, cell.execution_count = [failure("NotRun", stopped)], None
                continue
            try:
                runner.execute_cell(cell, index)
            except (DeadKernelError, CellTimeoutError, RuntimeError) as error:
                stopped = "the kernel died or hung in an earlier cell"
                cell.outputs.append(failure(type(error).__name__, "the kernel is gone"))
    return sheet


def main(arguments):
    import nbformat

    given, out, box, cell, whole, confined = arguments
    sandbox.control(sandbox.ADOPT_ORPHANS, 1)
    sheet = nbformat.reads(Path(given).read_text(), as_version=4)
    try:
        execute(sheet, box, Limits(int(cell), int(whole), confined == "1"))
    finally:
        end(psutil.Process().children(recursive=True))
    partial = Path(out).with_suffix(".partial")
    partial.write_text(json.dumps(sheet))
    partial.replace(out)


if __name__ == "__main__":
    main(sys.argv[1:])
