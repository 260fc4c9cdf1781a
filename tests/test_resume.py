"""A run goes on as what it was begun, or is told what differs."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from pbe_lite.training.checkpoint import load_newest, save_state, saved
from pbe_lite.training.identity import boxes_digest, check_same
from pbe_lite.training.trainer import Run

SAMPLES = 24
BEGIN = ("--arm", "final", "--samples", "24", "--minutes", "0")


def refused(command, *options):
    """The one line that a call ends with."""
    with pytest.raises(SystemExit) as stopped:
        command(*BEGIN, *options)
    text = str(stopped.value.code)
    assert text.startswith("error: ") and "\n" not in text
    return text


# --------------------------------------------------------------------- another option


@pytest.mark.parametrize(("begun", "again", "expected"), [
    (("--arm", "naive"), ("--arm", "naive_augment"), "arm 'naive', not 'naive_augment'"),
    (("--arm", "naive"), ("--arm", "final"), "arm 'naive', not 'final'"),
    (("--lr", "1e-4"), ("--lr", "1e-2"), "lr 0.0001, not 0.01: give the same --lr, or"),
    (("--ema", ".99"), ("--ema", ".5"), "ema_decay 0.99, not 0.5: give the same --ema,"),
    (("--ema", "0"), ("--ema", ".99"), "ema_decay 0.0, not 0.99"),
    ((), ("--batch-size", "8", "--samples", "48"), "batch_size 4, not 8"),
    ((), ("--warmup", "2"), "warmup_steps 4, not 2: give the same --warmup"),
    ((), ("--seed", "1"), "seed 0, not 1"),
    ((), ("--area", ".02", ".5"), r"area \(0.02, 0.8\), not \(0.02, 0.5\)"),
])
def test_another_option_is_refused_with_both_values(command, begun, again, expected):
    command(*BEGIN, *begun)
    with pytest.raises(SystemExit, match=f"error: .* was begun with .*{expected}"):
        command(*BEGIN, *again)


def test_another_start_is_refused(command, tmp_path):
    command(*BEGIN)
    weights = str(tmp_path / "run" / "weights")
    command(*BEGIN, "--out", str(tmp_path / "tuned"), "--init", weights)
    assert f"init '{weights}', not ''" in refused(command, "--out", str(tmp_path / "tuned"))


def test_other_pictures_are_refused(objective, records, tmp_path):
    Run(objective("final"), tmp_path, SAMPLES, workers=0).train(minutes=0)
    other = objective("final")
    other.triplets.records = other.records = records.dataset.select(range(9))
    with pytest.raises(ValueError, match="images 10, not 9"):
        Run(other, tmp_path, SAMPLES, workers=0)


def test_other_boxes_have_another_digest(records):
    moved = type("Records", (), {"dataset": [
        {**row, "boxes": [[.1, .1, .5, .5]]} if i == 9 else row
        for i, row in enumerate(records.dataset)]})
    assert boxes_digest(records) != boxes_digest(moved)
    moved.dataset = list(records.dataset)
    assert boxes_digest(records) == boxes_digest(moved)


def test_another_precision_is_refused(objective, tiny, tmp_path):
    engine = Accelerator()  # of one process there is one engine, with one precision
    Run(objective("final"), tmp_path, SAMPLES, 0, engine, workers=0).train(minutes=0)
    other = objective("final", preset=replace(tiny, precision="bf16"))
    with pytest.raises(ValueError, match="precision 'no', not 'bf16': .*--precision"):
        Run(other, tmp_path, SAMPLES, 0, engine, workers=0)


def test_other_frozen_parts_are_refused(objective, tmp_path):
    Run(objective("final"), tmp_path, SAMPLES, workers=0).train(minutes=0)
    other = objective("final")
    with torch.no_grad():
        next(other.encoder.model.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="frozen_parts .* give the same --weights"):
        Run(other, tmp_path, SAMPLES, workers=0)


def test_what_changes_no_number_may_change(objective, tiny, tmp_path):
    """Ranks, accumulation, workers and the sampler; and another name of the same scale."""
    Run(objective("final"), tmp_path, SAMPLES, workers=0).train(minutes=0)
    preset = replace(tiny, sampling_steps=3, guidance_scale=2., name="another")
    run = Run(objective("final", preset=preset), tmp_path, SAMPLES, workers=1,
              accumulate=2, keep=5)
    assert run.step == 1 and run.train(minutes=0) is False
    assert len(saved(tmp_path)) == 2


def test_all_that_differs_is_named_at_once():
    with pytest.raises(ValueError) as told:
        check_same("runs/x", {"arm": "naive", "lr": 1., "unet.a": 1}, {"arm": "final",
                                                                       "lr": 1.})
    assert str(told.value) == (
        "runs/x was begun with arm 'naive', not 'final', unet.a 1, not None: give the same "
        "--arm and --preset, or another --out")


def test_a_checkpoint_without_a_configuration_goes_on(objective, tmp_path, capsys):
    """As version 0.1.0 wrote them; the next one has it."""
    whole = Run(objective("final"), tmp_path / "whole", SAMPLES, workers=0)
    whole.train()
    Run(objective("final"), tmp_path / "old", SAMPLES, workers=0).train(minutes=0)
    (path,) = saved(tmp_path / "old")
    state = load_newest(tmp_path / "old")
    del state["config"]
    save_state(path, state)
    run = Run(objective("final"), tmp_path / "old", SAMPLES, workers=0)
    assert "does not say with which options it was begun" in capsys.readouterr().out
    run.train()
    for name, value in whole.parameters.items():
        assert torch.equal(run.parameters[name], value)
    assert load_newest(tmp_path / "old")["config"] == run.config
    save_state(path, state)
    with pytest.raises(ValueError, match="begun with seed 0, not 1"):
        saved(tmp_path / "old")[-1].unlink()
        Run(objective("final", seed=1), tmp_path / "old", SAMPLES, seed=1, workers=0)


# ------------------------------------------------------------------------- user errors


@pytest.mark.parametrize(("options", "expected"), [
    (("--batch-size", "0"), "--batch-size must be at least 1"),
    (("--samples", "0"), "--samples must be at least 1"),
    (("--seed", "-1"), "--seed must be at least 0"),
    (("--workers", "-1"), "--workers must be at least 0"),
    (("--minutes", "nan"), "--minutes must be at least 0"),
    (("--lr", "-1"), "--lr must be a positive number"),
    (("--ema", "1"), "--ema must be at least 0 and below 1"),
    (("--arm", "clip", "--batch-size", "8"), "--batch-size is not for clip"),
    (("--arm", "codec", "--lr", "1"), "--lr is not for codec"),
])
def test_numbers_that_cannot_be_are_told(command, capsys, options, expected):
    with pytest.raises(SystemExit) as stopped:
        command(*BEGIN, *options)
    assert stopped.value.code == 2 and expected in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pbe_lite.train", "--data", str(tmp_path / "nowhere"),
         "--out", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: folder") and len(done.stderr.splitlines()) == 1
