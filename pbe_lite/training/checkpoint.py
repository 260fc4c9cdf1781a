"""Checkpoints: whole or not there, and the same for one process and for several.

    run/state-00001200.pt   the newest; `keep` of them stay
    run/lock                held by the process that trains in the folder
"""

import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

GRACE = 120  # seconds that a data worker outlives SIGTERM, for its trainer's last step


def to_cpu(value: Any) -> Any:
    """Nested dicts and lists with copies of every tensor on the CPU, without gradients."""
    if isinstance(value, dict):
        return {k: to_cpu(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(to_cpu, value))
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def save_state(path: Path, state: dict) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old or the new one."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    partial.replace(path)
    if os.name == "posix":  # the folder's entry too, lest a power cut undoes the rename
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def saved(folder: Path) -> list[Path]:
    """All checkpoints of a run's folder, the newest last."""
    return sorted(folder.glob("state-*.pt"))


def save_step(folder: Path, step: int, state: dict, keep: int) -> None:
    """Write the checkpoint of a step, then remove all but the last `keep`, and those of
    later steps, which were damaged: the run went on from before them."""
    path = folder / f"state-{step:08d}.pt"
    save_state(path, state)
    paths = saved(folder)
    this = paths.index(path) + 1
    for other in [*paths[:this][:-keep], *paths[this:], *folder.glob("state-*.partial")]:
        other.unlink()


def load_newest(folder: Path, say: Callable = print) -> dict | None:
    """The newest checkpoint that can be read, as a dict, None where there is none.

    With GPUs its pages are read when they are copied: the ranks of a machine share them.
    One that a disk has damaged is told by `say`, and the one before is taken.  Raises
    ValueError, saying what to do, where none can be read."""
    paths = saved(folder)
    for path in reversed(paths):
        try:
            return torch.load(path, map_location="cpu", weights_only=True,
                              mmap=torch.cuda.is_available())
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            say(f"{path} is damaged ({type(error).__name__}): it is left out")
    if paths:
        raise ValueError(f"all checkpoints in {folder} are damaged: delete them to begin "
                         "anew, or give another --out")
    return None


def claim(folder: Path) -> TextIO:
    """Make a run's folder and hold it for this process, which must keep what is returned.

    Raises ValueError for a folder that another process holds, and for one that cannot be
    written to.  The lock goes with the process, however that ends.  Windows has none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / "lock", "a+")
    except OSError as error:
        raise ValueError(f"out must be a folder that can be written to; {folder}: "
                         f"{error.strerror}") from None
    if fcntl:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise ValueError(f"{folder} is in use by another run, {file.read().strip()}: "
                             "wait for it, or give another --out") from None
        except OSError:
            pass  # a file system that knows no locks
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


class StopSignal:
    """`with StopSignal() as stop`: SIGTERM sets `stop.requested` and ends nothing.

    Schedulers send it some time before they kill.  Outside the main thread, where Python
    handles no signals, it does as it did."""

    requested = False

    def __enter__(self):
        self.before = None
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGTERM, self._request)
        return self

    def _request(self, *_):
        self.requested = True

    def __exit__(self, *_):
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)


def outlive_sigterm(worker=0):
    """In a data worker: go on for `GRACE` seconds after SIGTERM.  Schedulers send it to
    all processes, and a trainer whose worker has died cannot finish its step."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
