"""Ranks and accumulation share a batch out, and change nothing."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import folder_of

from pbe_lite.training import trainer
from pbe_lite.training.checkpoint import load_newest
from pbe_lite.training.optim import trainable
from pbe_lite.training.trainer import Run

STEPS = 20
BATCH = 4
SCRIPT = """
import glob, pathlib, sys
sys.path.insert(0, {tests!r})
import test_scale
from pbe_lite.data import open_images

records = open_images.load_open_images({data!r})
for accumulate in (1, 2):
    run = test_scale.train_logged(records, pathlib.Path({weights!r}),
                                  pathlib.Path({out!r}) / str(accumulate), accumulate)

def gloo():
    return [path for path in glob.glob("/proc/self/task/*/comm")
            if "gloo" in pathlib.Path(path).read_text()]

assert gloo() or not glob.glob("/proc/self/task/*")  # there is no /proc on a Mac
run.close()
assert not gloo(), "threads that may abort a Python that is ending"
"""


def plain_descent(objective):
    """[SGD], whose step is as exact as the gradient.  AdamW and Muon scale every step to
    one size, so where the true gradient is zero (the key's bias under a softmax, say)
    they blow rounding up to a whole step."""
    optimizer = torch.optim.SGD(trainable(objective).values(), lr=.5)
    optimizer.param_groups[0]["peak"] = .5
    return [optimizer]


def digest(sample):
    """What a sample is: picture, hole, augmented exemplar, timestep, noise, drop."""
    parts = [sample[k] for k in ("image", "hole", "exemplar", "noise", "timestep", "drop")]
    whole = b"".join(torch.as_tensor(part).numpy().tobytes() for part in parts)
    return hashlib.sha256(whole).hexdigest()


def train_logged(records, weights, out, accumulate=1):
    """20 steps of plain descent; each rank writes the digests of its samples."""
    from conftest import TINY

    from pbe_lite.training import losses
    torch.manual_seed(0)
    trainer.build_optimizers, trainer.LOG_EVERY = plain_descent, 1
    built = losses.build_objective("final", TINY, records, weights)
    run = Run(built, out, STEPS * BATCH, workers=0, accumulate=accumulate)
    update, seen = run._update, []

    def logged(batch):
        seen.append([digest({k: v[i] for k, v in batch.items()})
                     for i in range(len(batch["drop"]))])
        return update(batch)

    run._update = logged
    run.train()
    rank = run.accelerator.process_index
    (out / f"samples-{rank}.json").write_text(json.dumps(seen))
    run.accelerator.wait_for_everyone()
    return run


def launch(script, ranks=2):
    """Run a script on several ranks of one thread each, by torchrun."""
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone",
            f"--nproc-per-node={ranks}", str(script)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=600, env={
        **os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def one(records, weights, tmp_path, monkeypatch):
    """The run of one rank: (weights at first, the folder)."""
    for name in ("build_optimizers", "LOG_EVERY"):
        monkeypatch.setattr(trainer, name, getattr(trainer, name))  # put back later
    run = train_logged(records, weights, tmp_path / "one")
    return run, tmp_path / "one"


def assert_same_run(folder, reference):
    found, expected = load_newest(folder), load_newest(reference)
    assert found["step"] == expected["step"] == STEPS
    for name, value in found["parameters"].items():
        torch.testing.assert_close(value, expected["parameters"][name], atol=1e-5,
                                   rtol=1e-4, msg=name)
    losses, wanted = ([loss for _, loss in s["history"]] for s in (found, expected))
    assert len(losses) == STEPS
    assert losses == pytest.approx(wanted, abs=1e-6, rel=1e-5)


def samples(folder):
    """Per step the digests of all ranks' samples, in the order of the ranks."""
    files = sorted(folder.glob("samples-*.json"))
    return [sum(parts, []) for parts in
            zip(*(json.loads(f.read_text()) for f in files), strict=True)]


def test_the_weights_move_far_enough_to_tell(one, objective):
    run, _ = one
    begun = trainable(objective("final"))
    moved = [float((p - begun[n]).detach().abs().max()) for n, p in run.parameters.items()]
    assert max(moved) > .05


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_changes_nothing(one, records, weights, tmp_path, accumulate):
    _, reference = one
    train_logged(records, weights, tmp_path / "parts", accumulate)
    assert_same_run(tmp_path / "parts", reference)
    assert samples(tmp_path / "parts") == samples(reference)


@pytest.mark.slow
def test_two_ranks_with_and_without_accumulation_are_one(one, records, weights, tmp_path):
    _, reference = one
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(
        tests=str(Path(__file__).parent), data=str(folder_of(records)),
        weights=str(weights), out=str(tmp_path / "two")))
    launch(script)
    for accumulate in ("1", "2"):
        folder = tmp_path / "two" / accumulate
        assert len(list(folder.glob("samples-*.json"))) == 2
        assert_same_run(folder, reference)
        assert samples(folder) == samples(reference)


# ------------------------------------------------------------- with the real optimisers

REAL_STEPS = 8
REAL = """
import pathlib, sys
sys.path.insert(0, {tests!r})
import test_scale
from pbe_lite.data import open_images

records = open_images.load_open_images({data!r})
run = test_scale.train_really(records, pathlib.Path({weights!r}), pathlib.Path({out!r}))
run.close()
"""


def train_really(records, weights, out):
    """A few steps of Muon and AdamW, as the preset has them, in float32 throughout:
    Muon's bf16 rounds what differs by 1e-7 to what differs by 4e-3, now and then."""
    from conftest import TINY

    from pbe_lite.training import losses
    torch.manual_seed(0)
    torch.Tensor.bfloat16, trainer.LOG_EVERY = torch.Tensor.float, 1
    run = Run(losses.build_objective("final", TINY, records, weights), out,
              REAL_STEPS * BATCH, workers=0)
    run.train()
    return run


def test_two_ranks_train_every_weight_as_one_process_does(
        objective, records, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "LOG_EVERY", trainer.LOG_EVERY)  # both put back later
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.bfloat16)
    begun = {n: p.detach().clone() for n, p in trainable(objective("final")).items()}
    run = train_really(records, weights, tmp_path / "one")
    assert len(run.optimizers) == 2  # Muon and AdamW
    script = tmp_path / "script.py"
    script.write_text(REAL.format(tests=str(Path(__file__).parent), weights=str(weights),
                                  data=str(folder_of(records)), out=str(tmp_path / "two")))
    launch(script)
    one, two = load_newest(tmp_path / "one"), load_newest(tmp_path / "two")
    assert two["step"] == REAL_STEPS
    still = [n for n, p in two["parameters"].items() if torch.equal(p, begun[n])]
    assert not still
    norm = lambda a, b: float(sum((a[n] - b[n]).square().sum() for n in begun)) ** .5
    moved = norm(one["parameters"], begun)
    assert norm(two["parameters"], one["parameters"]) < 1e-3 * moved
    ours, theirs = ([loss for _, loss in s["history"]] for s in (two, one))
    assert len(ours) == REAL_STEPS and ours == pytest.approx(theirs, rel=1e-4)


def test_a_batch_that_cannot_be_shared_out_is_told(objective, tmp_path):
    with pytest.raises(ValueError, match="batch_size 4 must be divisible by 1 ranks x "
                                         "accumulate 3"):
        Run(objective("final"), tmp_path, 40, accumulate=3)
    with pytest.raises(ValueError, match="samples must be at least a batch of 4, got 3"):
        Run(objective("final"), tmp_path, 3)


def test_a_contrastive_batch_cannot_be_divided(objective, tmp_path):
    with pytest.raises(ValueError, match="clip compares all samples of a batch"):
        Run(objective("clip"), tmp_path, 512, accumulate=2)
