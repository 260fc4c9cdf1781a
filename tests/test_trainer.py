"""The training loop: every sample once, and a stop that leaves no trace."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import folder_of  # noqa: F401

from pbe_lite import PaintByExamplePipeline
from pbe_lite.config import FULL, LITE
from pbe_lite.training import cli, trainer
from pbe_lite.training.optim import learning_rate
from pbe_lite.training.sampler import Positions
from pbe_lite.training.trainer import Run

SAMPLES = 24  # six steps of a batch of four, more than two epochs of ten scenes


def state_of(run):
    """All numbers of a run: parameters, averages, optimiser."""
    states = [o.state_dict()["state"] for o in run.optimizers]
    return {
        **{f"parameter {n}": p.detach().clone()
           for n, p in run.objective.named_parameters()},
        **{f"average {i}": p.clone() for i, p in enumerate(run.ema.shadow_params)},
        **{f"optimizer {o} {i} {k}": torch.as_tensor(v).clone()
           for o, state in enumerate(states)
           for i, s in state.items() for k, v in s.items()},
    }


def assert_identical(a, b):
    a, b = state_of(a), state_of(b)
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]


# ----------------------------------------------------------------------- positions


def keys_of(*args, **kwargs):
    return [key for batch in Positions(*args, **kwargs) for key in batch]


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (7, 3), (3, 8), (16, 16)])
def test_every_sample_has_its_turn_exactly_once_an_epoch(size, batch):
    keys = keys_of(size, batch, 0, 0, 5 * size)
    for epoch in range(5 * batch):
        part = keys[epoch * size:(epoch + 1) * size]
        assert sorted(part) == [(epoch, i) for i in range(size)]


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [[i for _, i in keys_of(50, 10, seed, 5 * epoch, 5 * epoch + 5)]
              for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert orders[0] == [i for _, i in keys_of(50, 10, 0, 0, 5)]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_each_batch(ranks):
    whole = list(Positions(10, 8, 3, 2, 9))
    shares = [list(Positions(10, 8, 3, 2, 9, rank, ranks)) for rank in range(ranks)]
    joined = [sum(batches, []) for batches in zip(*shares, strict=True)]
    assert joined == whole
    assert all(len(batch) == 8 // ranks for share in shares for batch in share)


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(ValueError, match="batch_size 8 must be divisible by 3 ranks"):
        Positions(10, 8, 0, 0, 5, rank=0, ranks=3)


def test_resumed_it_goes_on_where_it_was():
    whole = list(Positions(10, 4, 0, 0, 9))
    assert len(Positions(10, 4, 0, 0, 9)) == 9
    for step in (0, 1, 5, 9):
        assert list(Positions(10, 4, 0, step, 9)) == whole[step:]


# ------------------------------------------------------------------- learning rate


def test_the_rate_warms_up_then_falls_to_zero():
    preset = replace(LITE, warmup_steps=10, decay_from=.5)
    rates = [learning_rate(step, 100, preset) for step in range(101)]
    assert rates[0] == pytest.approx(.1)
    assert rates[4] == pytest.approx(.5) and (np.diff(rates[:10]) > 0).all()
    assert rates[9:51] == [1] * 42
    assert rates[75] == pytest.approx(.5) and rates[100] == pytest.approx(0)
    assert np.diff(rates[50:]) == pytest.approx(-.02)
    share = replace(preset, warmup_steps=0, warmup_share=.1)
    assert [learning_rate(step, 100, share) for step in range(101)] == rates


def test_the_papers_rate_warms_up_over_10000_steps_and_stays():
    rates = [learning_rate(s, 10 ** 6, FULL) for s in (0, 4999, 9999, 10_000, 10 ** 6 - 1)]
    assert rates == pytest.approx([1e-4, .5, 1, 1, 1])
    assert FULL.lr == 1e-5 and FULL.batch_size == 8 * 4 and FULL.ema_decay == 0


def test_the_optimisers_are_given_that_rate(objective, tmp_path, tiny):
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    for step in range(3):
        run.train(minutes=0)
        share = learning_rate(step, 6, tiny)
        rates = [o.param_groups[0]["lr"] for o in run.optimizers]
        assert rates == pytest.approx([share * tiny.lr, share * tiny.muon_lr])


# -------------------------------------------------------------------------- resume


@pytest.mark.parametrize("arm", ["final", "naive", "prior"])
def test_stopped_and_resumed_it_ends_bit_identical(objective, tmp_path, arm):
    whole = Run(objective(arm), tmp_path / "whole", SAMPLES, workers=0)
    assert whole.train() is True
    for sitting in range(3):  # each in a run of its own, from the file alone
        run = Run(objective(arm), tmp_path / "parts", SAMPLES, workers=sitting % 2)
        assert run.step == sitting
        assert run.train(minutes=0) is False  # one step, then its time is up
    run = Run(objective(arm), tmp_path / "parts", SAMPLES, workers=0)
    assert run.train() is True and run.step == whole.step == 6
    assert_identical(run, whole)


def test_killed_between_checkpoints_it_ends_bit_identical_too(
        objective, tmp_path, monkeypatch):
    whole = Run(objective("final"), tmp_path / "whole", SAMPLES, workers=0)
    whole.train()
    killed = Run(objective("final"), tmp_path / "parts", SAMPLES, workers=0)
    killed.train(minutes=0)
    monkeypatch.setattr(killed, "save", lambda: None)  # the rest of this sitting is lost
    killed.train()
    resumed = Run(objective("final"), tmp_path / "parts", SAMPLES, workers=0)
    assert resumed.step == 1
    resumed.train()
    assert_identical(resumed, whole)


def test_what_is_not_trained_stays_as_it_was(objective, tmp_path):
    before = {n: p.clone() for n, p in objective("final").named_parameters()}
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    run.train()
    for name, parameter in run.objective.named_parameters():
        changed = not torch.equal(parameter, before[name])
        assert changed == parameter.requires_grad, name


def test_a_finished_run_does_no_more(objective, tmp_path):
    run = Run(objective("final"), tmp_path, 8, workers=0)
    run.train()
    again = Run(objective("final"), tmp_path, 8, workers=0)
    assert again.train() is True and again.step == 2
    assert_identical(again, run)


def test_another_number_of_samples_is_refused(objective, tmp_path):
    Run(objective("final"), tmp_path, SAMPLES, workers=0).train(minutes=0)
    with pytest.raises(ValueError, match="begun with 6 steps, not 12.*--samples.*--out"):
        Run(objective("final"), tmp_path, 2 * SAMPLES, workers=0)


def test_another_seed_is_refused(objective, tmp_path):
    Run(objective("final"), tmp_path, SAMPLES, workers=0).train(minutes=0)
    with pytest.raises(ValueError, match="begun with seed 0, not 1.*--seed.*--out"):
        Run(objective("final", seed=1), tmp_path, SAMPLES, seed=1, workers=0)


def test_the_clock_goes_on_over_sittings(objective, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 60))  # a minute passes at every look
    monkeypatch.setattr(trainer.time, "monotonic", lambda: next(clock))
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    run.train(minutes=1.5)
    assert run.step == 2 and run.seconds == 120
    resumed = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    assert resumed.seconds == 120
    resumed.train(minutes=0)
    assert resumed.step == 3 and resumed.seconds == 180


# ---------------------------------------------------------------------- checkpoint


def test_a_run_saves_as_often_as_it_is_told(objective, tmp_path, monkeypatch):
    steps = []
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    save = run.save
    monkeypatch.setattr(run, "save", lambda: steps.append(run.step) or save())
    run.train(checkpoint_minutes=0)
    assert steps == [1, 2, 3, 4, 5, 6, 6]
    run = Run(objective("final"), tmp_path / "other", SAMPLES, workers=0)
    monkeypatch.setattr(run, "save", lambda: steps.append(-run.step))
    run.train(checkpoint_minutes=60)
    assert steps[7:] == [-6]


# --------------------------------------------------------------- history and export


def test_the_history_is_the_mean_loss(objective, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "LOG_EVERY", 2)
    losses, seen = [], []
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    update = run._update
    monkeypatch.setattr(run, "_update", lambda b: losses.append(update(b)) or losses[-1])
    run.train(minutes=0)  # a sitting that ends between two entries
    run.train(callback=seen.append)
    means = [float(losses[i] + losses[i + 1]) / 2 for i in (0, 2, 4)]
    assert [n for n, _ in run.history] == [8, 16, 24]
    assert [loss for _, loss in run.history] == pytest.approx(means)
    assert [(s["step"], s["samples"], s["loss"]) for s in seen] == [
        (n // 4, n, loss) for n, loss in run.history]


def test_the_history_does_not_show_where_a_run_was_stopped(
        objective, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "LOG_EVERY", 3)
    whole = Run(objective("final"), tmp_path / "whole", SAMPLES, workers=0)
    whole.train()
    while not (run := Run(objective("final"), tmp_path, SAMPLES, workers=0)).train(0):
        pass
    assert len(run.history) == 2 and run.history == whole.history


def test_the_averaged_weights_are_exported_and_the_others_go_on(objective, tmp_path):
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    run.train()
    before = state_of(run)
    run.export("a command")
    after = state_of(run)
    assert all(torch.equal(before[name], after[name]) for name in before)
    pipe = PaintByExamplePipeline.from_pretrained(tmp_path / "weights")
    exported = {**{f"unet.{k}": v for k, v in pipe.unet.named_parameters()},
                **{f"encoder.{k}": v for k, v in pipe.image_encoder.named_parameters()}}
    for (name, live), average in zip(run.parameters.items(), run.ema.shadow_params,
                                     strict=True):
        assert torch.equal(exported[name], average), name
        if name.endswith("conv_in.weight"):
            assert not torch.equal(average, live)


def test_the_average_is_an_exponential_one(objective, tmp_path):
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    name = "unet.conv_out.weight"
    index = list(run.parameters).index(name)
    average = run.parameters[name].detach().clone()
    for step in range(4):
        run.train(minutes=0)
        # diffusers' warm-up: no memory at first, then 2/11, 3/12, ... up to .999
        decay = min(.999, (1 + step) / (10 + step)) if step else 0
        average = decay * average + (1 - decay) * run.parameters[name].detach()
        torch.testing.assert_close(run.ema.shadow_params[index], average)


def test_without_an_average_the_weights_themselves_are_exported(objective, tmp_path, tiny):
    run = Run(objective("final", preset=replace(tiny, ema_decay=0)), tmp_path, 8, workers=0)
    run.train()
    run.export()
    pipe = PaintByExamplePipeline.from_pretrained(tmp_path / "weights")
    assert torch.equal(pipe.unet.conv_in.weight, run.objective.unet.conv_in.weight)


def test_a_run_says_how_it_came_about(objective, tmp_path):
    run = Run(objective("final", seed=3), tmp_path, SAMPLES, seed=3, workers=0)
    run.train(minutes=0)
    run.export("python -m pbe_lite.train --arm final")
    record = json.loads((tmp_path / "run.json").read_text())
    assert {k: record[k] for k in ("arm", "command", "seed", "samples", "of")} == {
        "arm": "final", "command": "python -m pbe_lite.train --arm final", "seed": 3,
        "samples": 4, "of": SAMPLES}
    assert record["minutes"] >= 0 and record["history"] == []


# --------------------------------------------------------------------- the command


def test_the_command_trains_in_sittings_and_exports(command, tmp_path, capsys):
    command("--arm", "final", "--samples", "12", "--minutes", "0")
    out = capsys.readouterr().out
    assert out.startswith("4 samples in 0.0 min") and "call again to go on" in out
    command("--arm", "final", "--samples", "12")
    out = capsys.readouterr().out
    assert out.startswith("12 samples") and "call again" not in out
    PaintByExamplePipeline.from_pretrained(tmp_path / "run" / "weights")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "--arm final --samples 12" in record["command"]


def test_the_command_starts_from_a_trained_model(command, tmp_path):
    command("--arm", "final", "--samples", "12")
    first = PaintByExamplePipeline.from_pretrained(tmp_path / "run" / "weights")
    command("--arm", "final", "--samples", "4", "--init", str(tmp_path / "run" / "weights"),
            "--out", str(tmp_path / "second"))
    second = PaintByExamplePipeline.from_pretrained(tmp_path / "second" / "weights")
    moved = (first.unet.conv_out.weight - second.unet.conv_out.weight).abs().max()
    assert 0 < moved < .01  # one small step away from the first, not from the prior


def test_a_start_is_refused_where_it_does_not_fit(command, tmp_path, capsys):
    command("--arm", "bottleneck", "--samples", "4")
    weights = str(tmp_path / "run" / "weights")
    with pytest.raises(SystemExit):
        command("--arm", "prior", "--init", weights)
    assert "--init is for the arms scratch, naive" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="error: init must be a model with 'all' tokens"):
        command("--arm", "naive", "--init", weights, "--out", str(tmp_path / "naive"))


def test_the_command_refuses_an_unknown_arm(command, capsys):
    with pytest.raises(SystemExit):
        command("--arm", "fnal")
    assert "--arm: invalid choice: 'fnal'" in capsys.readouterr().err


def test_lite_records_are_the_training_scenes(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "RUNS", tmp_path)
    load = lambda *options, scenes=3: cli.load_records(
        replace(tiny, scenes=scenes), cli.read_options(options)[1])
    records = load()
    ids = [records.dataset[i]["image_id"] for i in range(3)]
    assert ids == [f"{seed:016x}" for seed in (1000, 1001, 1002)] and len(records) == 3
    assert (tmp_path / "tabletop-64" / "train-annotations-bbox.csv").exists()
    few = load("--kinds", "owl", "pizza slice", scenes=40)
    kinds = {few[i]["labels"][0].split(" ", 1)[1] for i in range(len(few))}
    assert kinds == {"owl", "pizza slice"}
    assert load("--arm", "clip") is None  # it renders scenes of its own
