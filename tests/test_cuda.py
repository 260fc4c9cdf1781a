"""On an NVIDIA GPU: what a CPU computes, and half precision.  Skipped without one."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from conftest import folder_of, pixels
from layouts import published
from test_scale import plain_descent

from pbe_lite.config import WEIGHTS
from pbe_lite.evaluation import evaluate
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training import trainer
from pbe_lite.training.checkpoint import load_newest, saved
from pbe_lite.training.trainer import Run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """accelerate takes the GPU here, and is asked anew before every run."""
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=True)  # as conftest left it


def trained(objective, folder, samples=32, **options):
    run = Run(objective, folder, samples, workers=0, **options)
    run.train()
    return run


@pytest.mark.parametrize("arm", ["final", "naive", "prior", "codec"])
def test_a_run_on_the_gpu_has_the_losses_of_one_on_a_cpu(
        objective, tmp_path, arm, monkeypatch):
    monkeypatch.setattr(trainer, "build_optimizers", plain_descent)
    samples = 8 * (objective(arm).batch_size or 4)
    gpu = trained(objective(arm), tmp_path / "gpu", samples)
    assert {p.device.type for p in gpu.parameters.values()} == {"cuda"}
    AcceleratorState._reset_state(reset_partial_state=True)
    cpu = trained(objective(arm), tmp_path / "cpu", samples,
                  accelerator=Accelerator(cpu=True))
    ours, theirs = ([loss for _, loss in run.history] for run in (gpu, cpu))
    assert len(ours) == 8 and ours == pytest.approx(theirs, rel=5e-3)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_stopped_and_resumed_on_the_gpu_it_ends_the_same(
        objective, tiny, tmp_path, precision, monkeypatch):
    monkeypatch.setattr(trainer, "build_optimizers", plain_descent)
    build = lambda: objective("final", preset=replace(tiny, precision=precision))
    whole = trained(build(), tmp_path / "whole")
    part = Run(build(), tmp_path / "parts", 32, workers=0)
    part.train(minutes=0)  # one step
    assert 0 < part.step < part.steps
    again = trained(build(), tmp_path / "parts")
    assert again.step == whole.step and len(again.history) == len(whole.history)
    for name, value in whole.parameters.items():
        torch.testing.assert_close(again.parameters[name], value, atol=1e-4, rtol=1e-2)


def test_what_the_gpu_saved_a_cpu_takes_up(objective, tmp_path):
    part = Run(objective("final"), tmp_path, 32, workers=0)
    part.train(minutes=0)
    AcceleratorState._reset_state(reset_partial_state=True)
    cpu = trained(objective("final"), tmp_path, accelerator=Accelerator(cpu=True))
    assert cpu.step == cpu.steps
    assert {p.device.type for p in cpu.parameters.values()} == {"cpu"}
    assert {v.device.type for v in load_newest(tmp_path)["parameters"].values()} == {"cpu"}


def test_adamw_of_8_bits_learns_and_is_taken_up(objective, tiny, tmp_path):
    pytest.importorskip("bitsandbytes")
    build = lambda: objective("final", preset=replace(tiny, muon_lr=0, adam8bit=True))
    whole = trained(build(), tmp_path / "whole", samples=200)
    losses = [loss for _, loss in whole.history]
    assert np.mean(losses[-10:]) < .8 * np.mean(losses[:3])
    states = load_newest(tmp_path / "whole")["optimizers"][0]["state"].values()
    kinds = {state["__bnb_optimizer_quant_state__"]["state1"].dtype for state in states}
    assert kinds == {torch.uint8, torch.float32}  # small tensors stay whole
    part = Run(build(), tmp_path / "parts", 200, workers=0)
    part.train(minutes=0)
    again = trained(build(), tmp_path / "parts", samples=200)
    assert 0 < part.step < again.step == whole.step
    first = [loss for _, loss in again.history[:10]]
    assert first == pytest.approx(losses[:10], rel=.05)


def test_the_command_is_stopped_resumed_and_its_model_edits(records, tmp_path, question):
    """The lite preset itself, in bf16 and with both optimisers."""
    out = tmp_path / "run"
    call = [sys.executable, "-m", "pbe_lite.train", "--data", str(folder_of(records)),
            "--samples", "800", "--batch-size", "8", "--checkpoint-minutes", ".01",
            "--workers", "2", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(call, env=environment)
    limit = time.monotonic() + 120
    while not saved(out) and process.poll() is None and time.monotonic() < limit:
        time.sleep(.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    reached = load_newest(out)["step"]
    assert 0 < reached < 100
    subprocess.run(call, env=environment, check=True)
    state = load_newest(out)
    assert state["step"] == 100 and state["history"][-1][1] < state["history"][0][1]
    pipe = PaintByExamplePipeline.from_pretrained(out / "weights").to("cuda")
    (found,), hole = pixels(pipe(**question)), question["mask_image"]
    assert (found[~hole] == np.array(question["image"])[~hole]).all()


def test_the_gpu_paints_what_the_cpu_paints(question):
    """The shipped model: same seed, same picture; 16 bits change it by little."""
    load = lambda kind: PaintByExamplePipeline.from_pretrained(
        WEIGHTS / "final", torch_dtype=kind)
    paint = lambda pipe: pixels(pipe(**question, num_images_per_prompt=2))
    cpu = paint(load(torch.float32))
    hole, source = question["mask_image"], np.array(question["image"])
    for kind, mean, most in ((torch.float32, .5, 8), (torch.float16, .5, 8),
                             (torch.bfloat16, 2, 32)):
        gpu = paint(load(kind).to("cuda"))
        for ours, theirs in zip(gpu, cpu, strict=True):
            gap = np.abs(ours[hole].astype(int) - theirs[hole])
            assert gap.mean() < mean and gap.max() <= most, kind
            assert (ours[~hole] == source[~hole]).all()
    assert np.abs(gpu[0].astype(int) - gpu[1])[hole].mean() > 1  # seeds do matter


def test_a_published_folder_is_used_in_half_precision(tmp_path, question):
    published(tmp_path, checker=True)
    pipe = PaintByExamplePipeline.from_pretrained(
        tmp_path, torch_dtype=torch.float16).to("cuda")
    found = pipe(**question, num_inference_steps=3, num_images_per_prompt=2)
    assert len(found.images) == 2 and len(found.nsfw_content_detected) == 2
    hole, source = question["mask_image"], np.array(question["image"])
    assert all((image[~hole] == source[~hole]).all() for image in pixels(found))
    assert pipe.unet.dtype == torch.float16 and pipe.unet.device.type == "cuda"


def test_the_benchmark_judges_a_model_on_the_gpu():
    pipe = PaintByExamplePipeline.from_pretrained(WEIGHTS / "final")
    pipe.set_progress_bar_config(disable=True)
    cpu = evaluate.evaluate(pipe, "final", 8, None, 4, 0)
    gpu = evaluate.evaluate(pipe.to("cuda"), "final", 8, None, 4, 0)
    for split, row in cpu["rows"]["final"].items():
        score = row["clip_score"]["mean"]
        assert gpu["rows"]["final"][split]["clip_score"]["mean"] == pytest.approx(
            score, abs=1)
