"""No NaN is let through: not by a step, an export, a load or an edit."""

import json

import pytest
import torch

from pbe_lite import PaintByExamplePipeline
from pbe_lite.models.shipping import share
from pbe_lite.training import trainer
from pbe_lite.training.checkpoint import load_newest
from pbe_lite.training.trainer import Run

SAMPLES = 24


def test_the_first_nan_stops_a_run_before_it_is_stepped(objective, tmp_path, capsys):
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    run.train(minutes=0)
    before = {n: p.detach().clone() for n, p in run.parameters.items()}
    forward = run.objective.forward
    run.objective.forward = lambda batch: forward(batch) * float("nan")
    with pytest.raises(FloatingPointError, match="the loss is nan, .* at step 1 of 6"):
        run.train()
    assert all(torch.equal(p, before[n]) for n, p in run.parameters.items())
    assert not (tmp_path / "run.json").exists() and not (tmp_path / "weights").exists()
    state = load_newest(tmp_path)
    assert state["step"] == 1
    assert all(torch.equal(p, before[n]) for n, p in state["parameters"].items())
    assert Run(objective("final"), tmp_path, SAMPLES, workers=0).train() is True


def test_an_infinite_gradient_under_a_finite_loss_stops_it_too(objective, tmp_path):
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    weight = run.parameters["unet.conv_in.weight"]
    weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FloatingPointError, match="norm (inf|nan) at step 0 of 6"):
        run.train()


def test_the_command_ends_with_one_line_and_exit_code_1(command, tmp_path, monkeypatch):
    update = trainer.Run._update
    monkeypatch.setattr(trainer.Run, "_update", lambda run, batch: update(
        run, {**batch, "noise": batch["noise"] * float("inf")}))
    with pytest.raises(SystemExit) as stopped:
        command("--arm", "final", "--samples", "24")
    assert str(stopped.value.code).startswith("error: the loss is nan")
    assert not (tmp_path / "run" / "weights").exists()


def test_weights_that_are_no_numbers_are_not_exported(objective, tmp_path):
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    run.train(minutes=0)
    run.ema.shadow_params[0].view(-1)[0] = float("nan")
    with pytest.raises(FloatingPointError, match="nothing exported: .* hold NaN"):
        run.export()
    assert not (tmp_path / "run.json").exists() and not (tmp_path / "weights").exists()


def test_the_record_is_strict_json(objective, tmp_path):
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    run.train(minutes=0)
    run.export()
    no_number = lambda text: pytest.fail(f"{text} is no JSON")
    json.loads((tmp_path / "run.json").read_text(), parse_constant=no_number)
    run.history.append((4, float("nan")))
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.export()


@pytest.mark.parametrize("part", ["unet", "image_encoder", "vae"])
def test_weights_with_a_nan_are_not_loaded(pipe, tmp_path, part):
    model = getattr(pipe, part)
    name, weight = list(model.named_parameters())[-1]
    with torch.no_grad():
        weight.view(-1)[0] = float("nan")
    pipe.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"{part} hold NaN .*{name}.*damaged"):
        PaintByExamplePipeline.from_pretrained(tmp_path)


def test_a_shipped_arm_with_a_nan_is_not_loaded(pipe, weights, tmp_path, objective):
    for part in ("clip", "codec"):
        (tmp_path / part).symlink_to(weights / part)
    built = objective("final")
    with torch.no_grad():
        built.encoder.proj_out.weight[0, 0] = float("inf")
    built.export(tmp_path / "arm")
    share(tmp_path / "arm", tmp_path)
    assert not (tmp_path / "arm" / "vae").exists()
    with pytest.raises(ValueError, match="image_encoder hold NaN or infinite numbers"):
        PaintByExamplePipeline.from_pretrained(tmp_path / "arm")


def test_an_edit_that_is_no_number_is_told(pipe, question):
    with pytest.raises(ValueError, match="painted holds NaN .*guidance_scale"):
        pipe(**question, num_inference_steps=2, guidance_scale=1e30)
    with torch.no_grad():
        pipe.unet.conv_out.bias[0] = float("nan")
    with pytest.raises(ValueError, match="painted holds NaN .*the weights"):
        pipe(**question, num_inference_steps=2)
