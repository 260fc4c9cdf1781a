"""The options of training: what they change, and what is told before anything begins."""

import sys
import types
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from test_trainer import SAMPLES

from pbe_lite.config import FULL, LITE
from pbe_lite.training import cli, distributed, trainer
from pbe_lite.training.cli import read_options
from pbe_lite.training.distributed import build_accelerator
from pbe_lite.training.optim import build_optimizers
from pbe_lite.training.trainer import Run


def message(capsys, *arguments):
    """What argparse says when it gives up."""
    with pytest.raises(SystemExit):
        read_options(arguments)
    return capsys.readouterr().err


# ------------------------------------------------------------------------- presets


def test_without_options_a_preset_is_as_it_is():
    preset, options = read_options([])
    assert preset == LITE and options.preset == "lite"
    preset, options = read_options(["--preset", "full", "--data", "/photographs"])
    assert preset == FULL and options.arm == "final"


def test_options_change_the_preset_and_nothing_else():
    preset, _ = read_options([
        "--preset", "full", "--data", "x", "--batch-size", "64", "--lr", "3e-5",
        "--precision", "bf16", "--ema", "0.9999", "--adam8bit", "--init", "sd", "--tower",
        "clip", "--area", "0.1", "0.5"])
    assert preset == replace(
        FULL, batch_size=64, lr=3e-5, precision="bf16", ema_decay=.9999, adam8bit=True,
        init="sd", tower="clip", area=(.1, .5))
    preset, _ = read_options(["--ema", "0"])
    assert preset.ema_decay == 0


def test_a_run_lasts_as_long_as_the_preset_or_the_shipped_weights_say():
    assert cli.default_samples("final", FULL, range(100)) == 40 * 100  # the paper's epochs
    assert cli.default_samples("final", LITE, range(100)) == cli.SAMPLES["final"]
    assert cli.default_samples("clip", LITE, None) == cli.SAMPLES["clip"]
    assert cli.default_samples("naive", LITE, range(100)) == cli.ARM_SAMPLES


def test_data_without_alpha_are_trained_on_without_its_loss():
    said = []
    bare, drawn = types.SimpleNamespace(alphas=None), types.SimpleNamespace(alphas="x")
    assert cli.fit_loss("final", LITE, bare, said.append) == replace(LITE, alpha_weight=0)
    assert len(said) == 1 and "no alpha" in said[0]
    assert cli.fit_loss("final", LITE, drawn, said.append) == LITE
    assert cli.fit_loss("codec", LITE, bare, said.append) == LITE
    assert cli.fit_loss("final", FULL, bare, said.append) == FULL
    assert len(said) == 1


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--arm", "fnal"], "--arm: invalid choice: 'fnal'"),
    (["--arm", "clip", "--init", "x"], "--init is for the arms scratch, naive"),
    (["--preset", "full", "--arm", "prior", "--data", "x"], "prior is a lite part"),
    (["--preset", "full"], "--preset full needs --data"),
    (["--arm", "codec", "--checkpointing"], "--checkpointing is for U-Nets"),
    (["--arm", "clip", "--data", "x"], "--data is not for clip"),
    (["--arm", "clip", "--kinds", "owl"], "not for clip, which sees all sprites"),
    (["--kinds", "owl", "--data", "x"], "not for --data"),
    (["--kinds", "robot"], "--kinds: invalid choice: 'robot'"),
    (["--accumulate", "0"], "--accumulate must be at least 1"),
    (["--keep", "0"], "--keep must be at least 1"),
    (["--precision", "fp16"], "--precision: invalid choice"),
])
def test_what_does_not_go_together_is_told(capsys, arguments, expected):
    assert expected in message(capsys, *arguments)


# -------------------------------------------------------------------------- engine


def test_more_processes_than_gpus_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    with pytest.raises(ValueError, match="4 processes .* 2 GPUs .*--nproc-per-node 2"):
        build_accelerator(LITE, tmp_path)


def test_a_tracker_whose_package_is_missing_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="log 'tensorboard' needs a package; run: pip"):
        build_accelerator(LITE, tmp_path, "tensorboard")


def test_adamw_of_8_bits_is_bitsandbytes(objective, tiny, monkeypatch):
    built = objective("final", preset=replace(tiny, muon_lr=0, adam8bit=True))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(ValueError, match="adam8bit needs bitsandbytes; run: pip install"):
        build_optimizers(built)
    fake = types.ModuleType("bitsandbytes.optim")
    fake.AdamW8bit = type("AdamW8bit", (torch.optim.AdamW,), {})
    monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", fake)
    (adam,) = build_optimizers(built)
    assert type(adam) is fake.AdamW8bit
    assert adam.param_groups[0]["lr"] == adam.param_groups[0]["peak"] == tiny.lr


# -------------------------------------------------------------------------- trackers


class Notebook(GeneralTracker):
    """Keeps what it is told."""

    name, requires_logging_directory = "notebook", False

    def __init__(self):
        super().__init__()
        self.config, self.entries = None, []

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step, **kwargs):
        self.entries.append((step, values))


def test_a_tracker_is_told_the_loss_and_the_rate(objective, tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(trainer, "LOG_EVERY", 2)
    notebook = Notebook()
    accelerator = Accelerator(mixed_precision="no", log_with=notebook)
    accelerator.init_trackers("log", {"lr": tiny.lr})
    run = Run(objective("final"), tmp_path, SAMPLES, 0, accelerator, workers=0)
    run.train()
    assert notebook.config == {"lr": tiny.lr}
    assert [step for step, _ in notebook.entries] == [2, 4, 6]
    for (_, values), (_, loss) in zip(notebook.entries, run.history, strict=True):
        assert values["loss"] == loss and 0 <= values["lr"] <= tiny.lr
        assert values["skipped_images"] == 0 and values["samples_per_second"] >= 0


def test_tensorboard_files_are_written(objective, tmp_path, monkeypatch, tiny):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(trainer, "LOG_EVERY", 2)
    accelerator = build_accelerator(tiny, tmp_path, "tensorboard")
    accelerator.init_trackers("log", {"lr": tiny.lr})
    Run(objective("final"), tmp_path, SAMPLES, 0, accelerator, workers=0).train()
    accelerator.end_training()
    assert list((tmp_path / "log").rglob("events.out.tfevents*"))
