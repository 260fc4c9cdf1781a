"""Checkpoints: whole or not there, and no kill, at any moment, leaves a trace."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import folder_of

from pbe_lite.training import checkpoint
from pbe_lite.training.checkpoint import (
    StopSignal,
    load_newest,
    save_state,
    save_step,
    saved,
    to_cpu,
)
from pbe_lite.training.sampler import Positions
from pbe_lite.training.trainer import Run

TESTS = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals and fork")


def assert_equal(a, b, where="state"):
    """Nested dicts and lists with the same numbers, to the bit."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for k in a:
            assert_equal(a[k], b[k], f"{where}.{k}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{i}]")
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, where


def numbers_of(folder):
    """A run's newest checkpoint without its clock."""
    state = load_newest(folder)
    return {k: v for k, v in state.items() if k != "seconds"}


# ------------------------------------------------------------------- the last few


def test_only_the_last_few_stay_and_the_newest_is_loaded(tmp_path):
    for step in (3, 20, 100, 99_999_999):
        save_step(tmp_path, step, {"step": step}, keep=2)
    assert [p.name for p in saved(tmp_path)] == ["state-00000100.pt", "state-99999999.pt"]
    assert load_newest(tmp_path)["step"] == 99_999_999
    saved(tmp_path)[-1].unlink()
    assert load_newest(tmp_path)["step"] == 100
    assert load_newest(tmp_path / "nowhere") is None


def test_a_failure_while_writing_leaves_all_others(tmp_path, monkeypatch):
    for step in (1, 2):
        save_step(tmp_path, step, {"step": step}, keep=2)

    def fail_half_way(state, file):
        file.write(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail_half_way)
        with pytest.raises(OSError, match="disk full"):
            save_step(tmp_path, 3, {"step": 3}, keep=2)
    assert load_newest(tmp_path)["step"] == 2 and len(saved(tmp_path)) == 2
    save_step(tmp_path, 3, {"step": 3}, keep=2)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "state-00000002.pt", "state-00000003.pt"]


def test_the_checkpoint_is_on_disk_before_it_replaces_the_old_one(tmp_path, monkeypatch):
    order = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda f: order.append("fsync") or fsync(f))
    monkeypatch.setattr(Path, "replace",
                        lambda self, to: order.append("replace") or rename(self, to))
    save_state(tmp_path / "state.pt", {"step": 1})
    assert order[:2] == ["fsync", "replace"]  # then the folder's entry


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_a_damaged_file_is_named_and_the_one_before_is_taken(tmp_path, content):
    for step in (1, 2):
        save_step(tmp_path, step, {"step": step, "x": torch.randn(1000)}, keep=2)
    path, told = saved(tmp_path)[-1], []
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    assert load_newest(tmp_path, told.append)["step"] == 1
    assert len(told) == 1 and f"{path} is damaged" in told[0]
    saved(tmp_path)[0].unlink()
    with pytest.raises(ValueError, match="all checkpoints in .* are damaged: delete them"):
        load_newest(tmp_path, told.append)


def test_a_run_goes_on_from_before_a_damaged_checkpoint(objective, tmp_path, capsys):
    whole = Run(objective("final"), tmp_path / "whole", 24, workers=0)
    whole.train()
    part = Run(objective("final"), tmp_path / "part", 24, workers=0)
    for _ in range(3):
        part.train(minutes=0)
    saved(part.folder)[-1].write_bytes(b"cut")
    again = Run(objective("final"), tmp_path / "part", 24, workers=0)
    assert again.step == 2 and "state-00000003.pt is damaged" in capsys.readouterr().out
    again.train(minutes=0)  # writes step 3 anew
    Run(objective("final"), tmp_path / "part", 24, workers=0).train()
    assert_equal(numbers_of(tmp_path / "part"), numbers_of(tmp_path / "whole"))


def test_what_a_damaged_checkpoint_left_goes_with_the_next_one(tmp_path):
    for step in (1, 7):
        save_step(tmp_path, step, {"step": step}, keep=2)
    saved(tmp_path)[-1].write_bytes(b"cut")
    save_step(tmp_path, 2, {"step": 2}, keep=2)
    assert [p.name for p in saved(tmp_path)] == ["state-00000001.pt", "state-00000002.pt"]


# ----------------------------------------------------------------------- the folder

HOLD = """
import pathlib, sys
from pbe_lite.training.checkpoint import claim
lock = claim(pathlib.Path({folder!r}))
print("held", flush=True)
sys.stdin.read()
"""


@posix
def test_a_folder_that_another_process_trains_in_is_refused(objective, tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD.format(folder=str(tmp_path))],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"in use by another run, process {other.pid} on"):
        Run(objective("final"), tmp_path, 24, workers=0)
    other.kill()  # leaves no lock behind
    other.wait()
    Run(objective("final"), tmp_path, 24, workers=0)


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_loaded(
        command, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("pbe_lite.training.cli.load_data", None)  # must not be called
    with pytest.raises(SystemExit, match="error: out must be a folder that can be written"):
        command("--out", str(tmp_path / "file" / "run"))


# ------------------------------------------------------------------ what is written


def test_states_are_copied_to_the_cpu_in_the_same_shape():
    weight = torch.nn.Parameter(torch.randn(3, 4))
    state = {"a": [weight, {"b": torch.arange(3)}], "n": 7, "none": None, "t": (1.5, "x")}
    copy = to_cpu(state)
    assert_equal(copy, {**state, "a": [weight.detach(), state["a"][1]]})
    assert not copy["a"][0].requires_grad


# ------------------------------------------------------------------------- SIGTERM


@posix
def test_sigterm_is_noted_and_handled_as_before_afterwards():
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append("mine"))
    try:
        with StopSignal() as stop:
            assert not stop.requested
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(.01)
            assert stop.requested and not calls
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(.01)
        assert calls == ["mine"]
        assert not StopSignal().requested
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_it_does_nothing():
    errors = []

    def use():
        try:
            with StopSignal() as stop:
                assert not stop.requested
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not errors


COMMAND = """
import sys, time
sys.path.insert(0, {tests!r})
import torch
from conftest import TINY
from pbe_lite.training import cli, trainer

cli.PRESETS["lite"] = TINY
update = trainer.Run._update

def slow(self, batch):
    time.sleep({pause})
    print("step", self.step, flush=True)
    return update(self, batch)

trainer.Run._update = slow
cli.main(["--data", {data!r}, "--weights", {weights!r}, "--out", {out!r}, "--workers",
            "1", "--samples", "120"])
"""


def command(tmp_path, records, weights, out, pause):
    script = tmp_path / f"{out}.py"
    script.write_text(COMMAND.format(tests=str(TESTS), data=str(folder_of(records)),
                                     weights=str(weights), out=str(tmp_path / out),
                                     pause=pause))
    return subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True,
                            stderr=subprocess.PIPE, env=ENVIRONMENT,
                            start_new_session=True)


@pytest.mark.slow
@posix
def test_sigterm_saves_and_exits_0_and_leaves_no_trace(tmp_path, records, weights):
    """Sent to trainer and data worker alike, as SLURM does."""
    whole = command(tmp_path, records, weights, "whole", 0)
    stopped = command(tmp_path, records, weights, "stopped", .2)
    for line in stopped.stdout:
        if line.startswith("step 4"):
            break
    os.killpg(stopped.pid, signal.SIGTERM)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 0, err[-3000:]
    assert "call again to go on" in out and "no weights were exported" in out
    step = load_newest(tmp_path / "stopped")["step"]
    assert 5 <= step < 30
    again = command(tmp_path, records, weights, "stopped", 0)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err[-3000:]
    assert out.startswith(f"step {step}\n") and "weights in" in out
    out, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, err[-3000:]
    assert_equal(numbers_of(tmp_path / "stopped"), numbers_of(tmp_path / "whole"))


# ------------------------------------------------------------------------- SIGKILL

KILLS = 20
STEPS = 160  # at two hundredths of a second and more: not over in 20 sittings
SITTINGS = """
import io, json, os, pathlib, random, signal, sys, time
sys.path.insert(0, {tests!r})
import torch
from conftest import TINY
from pbe_lite.data import open_images
from pbe_lite.training import checkpoint, cli, losses, sampler, trainer

records = open_images.load_open_images({data!r})
folder, log = pathlib.Path({folder!r}), pathlib.Path({folder!r}) / "keys.jsonl"
save = torch.save

def slowly(state, file):
    "Half of a checkpoint, a pause, the other half: a kill may well fall between."
    whole = io.BytesIO()
    save(state, whole)
    data = whole.getvalue()
    for part in (data[:len(data) // 2], data[len(data) // 2:]):
        file.write(part)
        file.flush()
        time.sleep(.01)

class Logged(sampler.Positions):
    def __iter__(self):
        for step, keys in zip(self.steps, super().__iter__()):
            with open(log, "a") as file:
                file.write(json.dumps([step, keys]) + "\\n")
            yield keys

def sitting(out, minutes, started=None):
    torch.manual_seed(0)
    built = losses.build_objective("final", TINY, records, pathlib.Path({weights!r}))
    run = trainer.Run(built, out, 4 * {steps}, workers=0)
    if started:
        started.touch()
    run.train(checkpoint_minutes=minutes)

def child(*arguments, killable=False):
    pid = os.fork()
    if pid == 0:
        try:
            if killable:
                torch.save, sampler.Positions = slowly, Logged
            sitting(*arguments)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return pid

wait = lambda pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert wait(child(folder / "whole", 5)) == 0
rng, halves = random.Random(0), 0
for kill in range({kills}):
    started = folder / f"started-{{kill}}"
    pid = child(folder / "parts", 0, started, killable=True)
    while not started.exists():
        time.sleep(.001)
    time.sleep(rng.uniform(0, .3))
    os.kill(pid, signal.SIGKILL)
    assert wait(pid) == -signal.SIGKILL, "it ended before it was killed: more steps"
    halves += any((folder / "parts").glob("*.partial"))
(folder / "halves").write_text(str(halves))
sampler.Positions = Logged
assert wait(child(folder / "parts", 5)) == 0
"""


@pytest.mark.slow
@posix
def test_twenty_kills_at_random_moments_leave_no_trace(tmp_path, records, weights):
    script = tmp_path / "script.py"
    script.write_text(SITTINGS.format(
        tests=str(TESTS), data=str(folder_of(records)), weights=str(weights),
        folder=str(tmp_path), steps=STEPS, kills=KILLS))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True,
                          timeout=600, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int((tmp_path / "halves").read_text()) > 0  # some fell into a checkpoint
    assert_equal(numbers_of(tmp_path / "parts"), numbers_of(tmp_path / "whole"))
    seen = {}
    for line in (tmp_path / "keys.jsonl").read_text().splitlines():
        step, keys = json.loads(line)
        keys = [tuple(key) for key in keys]
        assert seen.setdefault(step, keys) == keys  # done again, a step is the same
    expected = list(Positions(len(records), 4, 0, 0, STEPS))
    assert [seen[step] for step in range(STEPS)] == expected
    assert seen.keys() == set(range(STEPS))


@posix
def test_a_data_worker_outlives_sigterm_for_a_while(monkeypatch):
    """Forked, as PyTorch's are; with a grace of a second it is gone after that."""
    monkeypatch.setattr(checkpoint, "GRACE", 1)
    pid = os.fork()
    if pid == 0:
        checkpoint.outlive_sigterm()
        while True:
            time.sleep(.01)
    time.sleep(.1 + random.random() / 10)
    os.kill(pid, signal.SIGTERM)
    time.sleep(.3)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)  # still there
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGALRM
