"""Checkpoints: whole or not there, and the same for one process and for several.

    run/state-00001200.pt   the newest; `keep` of them stay
"""

import os
import pickle
import signal
import threading

import torch

GRACE = 120  # seconds that a data worker outlives SIGTERM, for its trainer's last step


def to_cpu(value):
    """Nested dicts and lists with copies of every tensor on the CPU, without gradients."""
    if isinstance(value, dict):
        return {k: to_cpu(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(to_cpu, value))
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def save_state(path, state):
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


def saved(folder):
    """All checkpoints of a run's folder, the newest last."""
    return sorted(folder.glob("state-*.pt"))


def save_step(folder, step, state, keep):
    """Write the checkpoint of a step, then remove all but the last `keep`."""
    save_state(folder / f"state-{step:08d}.pt", state)
    for path in [*saved(folder)[:-keep], *folder.glob("state-*.partial")]:
        path.unlink()


def load_newest(folder):
    """The newest checkpoint as a dict, None where there is none.

    With GPUs its pages are read when they are copied: the ranks of a machine share them.
    Raises ValueError, saying what to do, for a file that a disk has damaged."""
    paths = saved(folder)
    if not paths:
        return None
    path = paths[-1]
    try:
        return torch.load(path, map_location="cpu", weights_only=True,
                          mmap=torch.cuda.is_available())
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}): delete it to go on "
                         "from the checkpoint before") from None


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
